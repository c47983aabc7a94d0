"""Metrics by hand-worked numbers, and the bootstrap against the plainest way of doing it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.evaluation import plots
from headway.evaluation.metrics import bootstrap_mean, confusion_matrix, evaluate
from headway.evaluation.predictions import Predictions
from headway.params import EvaluationParams

KNOBS = EvaluationParams(bootstrap_samples=500, confidence=0.9, min_slice_rows=2, slices={})

# Seven rows of three classes: a right, a right, a taken for b, b right, c taken for a, c right, c right.
WORKED = Predictions(
    ids=list("tuvwxyz"),
    labels=np.array([0, 0, 0, 1, 2, 2, 2]),
    probabilities=np.array(
        [
            [0.8, 0.1, 0.1],
            [0.5, 0.25, 0.25],
            [0.3, 0.6, 0.1],
            [0.2, 0.7, 0.1],
            [0.5, 0.25, 0.25],
            [0.1, 0.1, 0.8],
            [0.1, 0.3, 0.6],
        ],
        np.float32,
    ),
    classes=["a", "b", "c"],
)


def plain_bootstrap(values, confidence, samples, seed):
    """Draw rows with replacement, take the mean, again and again."""
    random = np.random.default_rng(seed)
    means = [np.mean([values[random.integers(len(values))] for _ in range(len(values))]) for _ in range(samples)]
    tail = (1 - confidence) / 2
    return np.quantile(means, tail), np.quantile(means, 1 - tail)


@pytest.mark.parametrize(
    "values",
    [
        [1] * 90 + [0] * 30,
        [1] * 20 + [0] * 90 + [-1] * 10,
        list(np.random.default_rng(5).normal(size=230)),  # every value another: rows are drawn
    ],
    ids=["accuracy", "difference", "real numbers"],
)
def test_the_interval_is_that_of_resampling_rows_one_by_one(values):
    interval = bootstrap_mean(np.array(values), 0.9, 20_000, seed=1)
    low, high = plain_bootstrap(values, 0.9, 2_000, seed=2)
    width = high - low
    assert interval.value == pytest.approx(np.mean(values))
    assert interval.low == pytest.approx(low, abs=0.06 * width)
    assert interval.high == pytest.approx(high, abs=0.06 * width)


def test_drawing_rows_and_drawing_counts_give_the_same_interval():
    values = np.array([1.0] * 300 + [0.0] * 100)
    counted = bootstrap_mean(values, 0.9, 5_000, seed=1)
    drawn = bootstrap_mean(values + np.linspace(0, 1e-9, 400), 0.9, 5_000, seed=1)  # too many distinct values to count
    assert counted.low == pytest.approx(drawn.low, abs=0.004)
    assert counted.high == pytest.approx(drawn.high, abs=0.004)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    intervals = [bootstrap_mean(random.random(400) < 0.8, 0.9, 500, seed) for seed in range(300)]
    covered = np.mean([interval.low <= 0.8 <= interval.high for interval in intervals])
    assert covered == pytest.approx(0.9, abs=0.06)


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=50), st.floats(0.5, 0.99), st.integers(0, 2**31 - 1))
def test_an_interval_is_ordered_and_lies_within_the_values(values, confidence, seed):
    interval = bootstrap_mean(np.array(values), confidence, 100, seed)
    assert min(values) <= interval.low <= interval.high <= max(values)


def test_more_confidence_is_a_wider_interval():
    values = np.array([1] * 80 + [0] * 20)
    wide, narrow = (bootstrap_mean(values, confidence, 5_000, seed=1) for confidence in (0.99, 0.8))
    assert wide.low < narrow.low < 0.8 < narrow.high < wide.high


def test_rows_that_are_all_alike_leave_no_doubt():
    interval = bootstrap_mean(np.ones(10), 0.95, 100, seed=1)
    assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("values", [[1] * 90 + [0] * 30, list(np.random.default_rng(5).normal(size=300))])
def test_the_interval_is_a_function_of_the_seed(values):
    one, again, other = (bootstrap_mean(np.array(values), 0.9, 300, seed) for seed in (1, 1, 2))
    assert one == again != other


def test_the_metrics_of_seven_rows_worked_by_hand():
    report = evaluate(WORKED, KNOBS, seed=1)
    # a: 2 of 3 found, 2 of the 3 called a; b: 1 of 1 found, 1 of 2; c: 2 of 3 found, 2 of 2.
    assert report["classes"] == {
        "a": {"precision": 0.666667, "recall": 0.666667, "f1": 0.666667, "rows": 3},
        "b": {"precision": 0.5, "recall": 1.0, "f1": 0.666667, "rows": 1},
        "c": {"precision": 1.0, "recall": 0.666667, "f1": 0.8, "rows": 3},
    }
    assert report["rows"] == 7
    assert report["accuracy"] == 0.714286
    assert report["macro_f1"] == 0.711111
    likelihoods = [0.8, 0.5, 0.3, 0.7, 0.25, 0.8, 0.6]
    assert report["negative_log_likelihood"] == pytest.approx(-np.mean(np.log(likelihoods)), abs=2e-6)
    assert report["accuracy_low"] <= report["accuracy"] <= report["accuracy_high"]


def test_the_confusion_matrix_of_seven_rows_worked_by_hand():
    assert confusion_matrix(WORKED).tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_a_class_without_rows_has_a_place_in_every_metric():
    some = Predictions(list("uv"), np.array([0, 2]), WORKED.probabilities[[0, 5]], WORKED.classes)
    report = evaluate(some, KNOBS, seed=1)
    assert report["accuracy"] == report["macro_f1"] == 1.0
    assert report["classes"]["b"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 0}
    assert confusion_matrix(some).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_a_label_that_the_model_does_not_know_is_a_sure_mistake():
    known = Predictions(list("uv"), np.array([0, 2]), WORKED.probabilities[[0, 5]], WORKED.classes)
    unknown = Predictions(list("uvw"), np.array([0, 2, -1]), WORKED.probabilities[[0, 5, 5]], WORKED.classes)
    report = evaluate(unknown, KNOBS, seed=1)
    assert report["accuracy"] == pytest.approx(2 / 3, abs=1e-5)
    assert report["macro_f1"] < evaluate(known, KNOBS, seed=1)["macro_f1"] - 0.3
    assert report["negative_log_likelihood"] > 10


def test_a_sure_mistake_costs_much_but_the_report_stays_finite_json():
    sure = Predictions(["u"], np.array([0]), np.array([[0, 1]], np.float32), ["a", "b"])
    report = evaluate(sure, KNOBS, seed=1)
    assert report["negative_log_likelihood"] > 10
    json.dumps(report, allow_nan=False)


# Plots of these numbers


HISTORY = [
    {"epoch": 0, "train_loss": 0.7, "validation_loss": 0.6, "validation_accuracy": 0.61},
    {"epoch": 1, "train_loss": 0.4, "validation_loss": 0.5, "validation_accuracy": 0.74},
]
PLOTS = {
    "confusion_matrix": lambda path: plots.confusion_matrix(confusion_matrix(WORKED), WORKED.classes, path),
    "learning_curve": lambda path: plots.learning_curve(HISTORY, path),
    "search_history": lambda path: plots.search_history([0.6, None, 0.7, 0.65], path),
}


@pytest.mark.parametrize("name", PLOTS)
def test_the_same_numbers_give_the_same_png_bytes(tmp_path, name):
    for attempt in ("one", "two"):
        PLOTS[name](tmp_path / attempt / "plot.png")
    first = (tmp_path / "one" / "plot.png").read_bytes()
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert first == (tmp_path / "two" / "plot.png").read_bytes()
    assert b"Software" not in first  # whose version would change the bytes


def test_other_numbers_give_another_png(tmp_path):
    plots.confusion_matrix(np.array([[3, 1], [0, 2]]), ["a", "b"], tmp_path / "one.png")
    plots.confusion_matrix(np.array([[2, 2], [0, 2]]), ["a", "b"], tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("classes", [["$", "$$"], ["a_b", "\\frac{"], ["$\\nothing$", "100%"]])
def test_label_names_are_drawn_as_written_and_not_as_formulas(tmp_path, classes):
    plots.confusion_matrix(np.array([[3, 1], [0, 2]]), classes, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_a_script_without_a_font_is_drawn_without_a_word(tmp_path, recwarn):
    plots.confusion_matrix(np.array([[3, 1], [0, 2]]), ["很好", "جيد"], tmp_path / "plot.png")
    assert not recwarn.list


def test_a_search_of_which_no_trial_was_scored_is_still_drawn(tmp_path):
    plots.search_history([None, None], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").is_file()


def test_a_hundred_classes_are_drawn_too(tmp_path):
    plots.confusion_matrix(np.eye(100, dtype=int), [f"class {index}" for index in range(100)], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").is_file()
