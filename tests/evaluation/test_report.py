"""The evaluation report and its curves: drawn from the numbers, the same bytes every time, and safe whatever a text holds."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from headway.evaluation import metrics
from headway.evaluation.headlines import HEADLINES
from headway.evaluation.mistakes import COUNT, EXCERPT, worst_mistakes
from headway.evaluation.slices import slices
from headway.layout import EVALUATION_PLOTS
from headway.params import EvaluationParams
from headway.reporting.evaluation import curves, page
from tests.evaluation.test_resampling import some
from tests.evaluation.test_slices import table

KNOBS = EvaluationParams(bootstrap_samples=100, confidence=0.9, min_slice_rows=20, slices={})
DRAWN = {
    "roc": lambda predictions, report, path: curves.roc(predictions, report, path),
    "precision_recall": lambda predictions, report, path: curves.precision_recall(predictions, report, path),
    "reliability": lambda predictions, report, path: curves.reliability(predictions, report, 0.9, path),
    "scores": lambda predictions, report, path: curves.scores(predictions, path),
}


def report_of(predictions):
    return metrics.evaluate(predictions, KNOBS, seed=1)


# Curves


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("n_classes", [2, 12])
def test_the_same_predictions_give_the_same_png_and_others_another(tmp_path, name, n_classes):
    for file, seed in (("one", 1), ("again", 1), ("other", 2)):
        predictions = some(120, n_classes, seed)
        DRAWN[name](predictions, report_of(predictions), tmp_path / f"{file}.png")
    one, again, other = ((tmp_path / f"{file}.png").read_bytes() for file in ("one", "again", "other"))
    assert one.startswith(b"\x89PNG\r\n\x1a\n")
    assert one == again != other


@pytest.mark.parametrize("name", DRAWN)
def test_rows_of_one_class_or_of_none_that_the_model_knows_are_drawn_too(tmp_path, name):
    predictions = some(30, 2, seed=1)
    for index, labels in enumerate([np.zeros(30, int), np.ones(30, int), np.full(30, -1)]):
        of_one = type(predictions)(predictions.ids, labels, predictions.probabilities, ["_a", "$b_"])
        DRAWN[name](of_one, report_of(of_one), tmp_path / f"{index}.png")
        assert (tmp_path / f"{index}.png").stat().st_size > 1_000


def test_a_curve_on_the_grid_is_a_step_function_with_the_area_that_scikit_learn_gives():
    random = np.random.default_rng(0)
    positive = random.random(400) < 0.3
    values = random.normal(size=400) + positive
    on_grid = curves._on_grid(*curves._precision_of(positive, values), rising=False)
    assert np.mean(on_grid) == pytest.approx(average_precision_score(positive, values), abs=0.02)
    false, true = curves._roc_of(positive, values)
    on_grid = curves._on_grid(false, true, rising=True)
    assert on_grid[0] == true[false == 0].max()
    assert on_grid[-1] == 1
    assert (np.diff(on_grid) >= 0).all()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("broken", [1, 40])
def test_probabilities_that_are_no_numbers_are_told_and_stop_nothing(tmp_path, plots, n_classes, broken):
    predictions = some(40, n_classes, seed=1)
    predictions.probabilities[:broken] = np.nan
    report, _, html = render(plots, predictions, ["text"] * 40)
    for name in ("roc_auc", "average_precision", "negative_log_likelihood", "brier_score", "expected_calibration_error"):
        assert report[name] is report[f"{name}_low"] is report[f"{name}_high"] is None
    json.dumps([report, worst_mistakes(predictions, ["text"] * 40, ["label"] * 40)], allow_nan=False)
    assert cells(html, 'data-metric="brier_score"') == ["Brier score", "undefined", ""]
    for name, draw in DRAWN.items():
        draw(predictions, report, tmp_path / f"{name}.png")


# Mistakes


def test_the_worst_mistakes_are_the_surest_ones_with_their_texts():
    predictions = some(200, 3, seed=4, unknown=0.02, digits=6)
    texts = [f"text {row}" for row in range(200)]
    labels = [predictions.classes[label] if label >= 0 else "unheard of" for label in predictions.labels]
    found = worst_mistakes(predictions, texts, labels)
    rows = [int(entry["id"]) for entry in found]
    wrong = np.flatnonzero(~predictions.correct)
    assert len(found) == min(COUNT, len(wrong))
    of_truth = np.where(predictions.labels >= 0, predictions.probabilities[np.arange(200), predictions.labels], 0)
    assert set(rows) <= set(wrong)
    assert (np.diff(of_truth[rows]) >= 0).all()
    assert of_truth[rows[-1]] <= np.sort(of_truth[wrong])[len(found) - 1] + 1e-9
    for entry, row in zip(found, rows, strict=True):
        assert entry["text"] == texts[row]
        assert entry["label"] == labels[row]
        assert entry["predicted"] == predictions.classes[predictions.predicted[row]]
        assert entry["probability"] == pytest.approx(predictions.probabilities[row].max(), abs=1e-6)


def test_a_long_text_is_cut_and_says_how_long_it_was():
    predictions = type(some(1, 2, 0))(["r"], np.array([0]), np.array([[0.1, 0.9]], np.float32), ["a", "b"])
    (entry,) = worst_mistakes(predictions, ["x" * 5_000], ["a"])
    assert entry["text"] == "x" * EXCERPT + "…"
    assert entry["characters"] == 5_000


def test_a_model_without_a_mistake_has_no_worst_one():
    predictions = type(some(1, 2, 0))(["r"], np.array([1]), np.array([[0.1, 0.9]], np.float32), ["a", "b"])
    assert worst_mistakes(predictions, ["fine"], ["b"]) == []


# The page


@pytest.fixture(scope="module")
def plots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plots")
    predictions = some(60, 3, seed=1)
    for name, draw in DRAWN.items():
        draw(predictions, report_of(predictions), folder / f"{name}.png")
    curves.scores(predictions, folder / "confusion_matrix.png")
    return {name: folder / f"{name}.png" for name in EVALUATION_PLOTS}


def render(plots, predictions, texts):
    labels = [predictions.classes[label] for label in predictions.labels]
    report = report_of(predictions)
    masks = slices(table(texts, labels), predictions.classes, KNOBS)
    by_slice = metrics.evaluate_slices(predictions, masks, KNOBS, seed=1)
    return report, by_slice, page.render(report, by_slice, worst_mistakes(predictions, texts, labels), plots, KNOBS)


def cells(html, words):
    """What stands in the cells of the table row that holds some words."""
    (row,) = [row.partition("</tr>")[0] for row in html.split("<tr")[1:] if words in row.partition("</tr>")[0]]
    return [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]


def test_the_tables_hold_the_numbers_with_their_intervals(plots):
    predictions = some(60, 3, seed=1)
    report, by_slice, html = render(plots, predictions, [f"review number {row}" for row in range(60)])
    for name, title in HEADLINES.items():
        value, low, high = (report[key] for key in (name, f"{name}_low", f"{name}_high"))
        assert cells(html, f'data-metric="{name}"') == [title, f"{value:.4f}", f"{low:.4f} to {high:.4f}"]
    for name, entry in by_slice.items():
        found = cells(html, name)
        assert found[:3] == [f"{name}{' small' if entry['small'] else ''}", str(entry["rows"]), f"{entry['accuracy']:.4f}"]
    assert any(entry["small"] for entry in by_slice.values())
    assert not all(entry["small"] for entry in by_slice.values())
    assert "fewer than 20 rows" in html
    assert "90% intervals from 100 bootstrap resamples" in html


def test_what_is_undefined_is_said_in_words(plots):
    predictions = some(30, 2, seed=1)
    of_one = type(predictions)(predictions.ids, np.zeros(30, int), predictions.probabilities, ["a", "b"])
    _, _, html = render(plots, of_one, ["text"] * 30)
    assert cells(html, 'data-metric="roc_auc"') == ["ROC-AUC", "undefined", ""]
    assert "None" not in html.replace("None: the rows are all alike", "")
    assert "nan" not in re.sub('base64,[^"]+', "", html)


def test_every_plot_is_in_the_page(plots):
    _, _, html = render(plots, some(60, 3, seed=1), ["text"] * 60)
    assert re.findall(r'<img alt="([^"]+)" src="data:image/png;base64,iVBOR', html) == [
        name.replace("_", " ") for name in page.CAPTIONS
    ]
    assert set(page.CAPTIONS) == set(EVALUATION_PLOTS)


def test_the_page_refers_to_nothing_outside_itself_and_runs_nothing(plots):
    _, _, html = render(plots, some(60, 3, seed=1), ["see https://example.org <script src=x>"] * 60)

    class Look(HTMLParser):
        def handle_starttag(self, tag, attrs):
            assert tag not in ("script", "link", "iframe", "object", "a")
            for name, value in attrs:
                assert not name.startswith("on")
                assert name not in ("src", "href") or value.startswith("data:")

    Look().feed(html)
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert "url(" not in html


@settings(max_examples=15)
@given(st.text(max_size=60), st.text(min_size=1, max_size=20))
def test_any_text_and_label_is_shown_and_never_markup(plots, text, label):
    predictions = some(12, 3, seed=1)
    named = type(predictions)(
        predictions.ids, predictions.labels, predictions.probabilities, [label, "<b>bold</b>", "'\"&{{ 1 }}"]
    )
    wrong = type(named)(named.ids, (named.predicted + 1) % 3, named.probabilities, named.classes)
    _, _, html = render(plots, wrong, [f"<script>alert(1)</script>{text}"] * 12)
    tree = ElementTree.fromstring(re.sub("<!DOCTYPE html>", "", html))
    texts = ["".join(cell.itertext()) for cell in tree.iter("td") if cell.get("class") == "text"]
    assert len(texts) == 12
    assert all(shown.startswith("<script>alert(1)</script>") for shown in texts)
    assert "<script>" not in html
    assert "<b>" not in html


def test_the_same_numbers_give_the_same_page(plots):
    pages = [render(plots, some(60, 3, seed=1), ["text"] * 60)[2] for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_thousand_classes_make_a_page_too(plots):
    predictions = some(300, 1_000, seed=1)
    _, by_slice, html = render(plots, predictions, [f"text {row}" for row in range(300)])
    assert len(by_slice) > 200
    assert html.count("<tr") > 1_000 + len(by_slice)
