"""Metrics against numbers by hand."""

import json

import numpy as np
import pytest

from headway.evaluation.headlines import HEADLINES
from headway.evaluation.metrics import evaluate, evaluate_slices
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


def test_the_metrics_of_seven_rows_worked_by_hand():
    report = evaluate(WORKED, KNOBS, seed=1)
    # a: 2 of 3 found, 2 of the 3 called a; b: 1 of 1 found, 1 of 2; c: 2 of 3 found, 2 of 2.
    keys = ("precision", "recall", "f1", "rows")
    assert {name: [entry[key] for key in keys] for name, entry in report["classes"].items()} == {
        "a": [0.666667, 0.666667, 0.666667, 3],
        "b": [0.5, 1.0, 0.666667, 1],
        "c": [1.0, 0.666667, 0.8, 3],
    }
    assert report["rows"] == 7
    assert report["accuracy"] == 0.714286
    assert report["macro_f1"] == 0.711111
    assert report["weighted_f1"] == pytest.approx((3 * 2 / 3 + 2 / 3 + 3 * 0.8) / 7, abs=1e-6)
    likelihoods = [0.8, 0.5, 0.3, 0.7, 0.25, 0.8, 0.6]
    assert report["negative_log_likelihood"] == pytest.approx(-np.mean(np.log(likelihoods)), abs=2e-6)
    # a against the rest: .8 > .5 = .5 > .3 > .2 > .1 = .1, a's rows first, second (tied with c) and fourth: 10.5 of 12 pairs.
    # b: .7 is above all others, 6 of 6. c: .8, .6 and .25 (tied with one of four others): 11.5 of 12.
    assert report["roc_auc"] == pytest.approx((10.5 / 12 + 1 + 11.5 / 12) / 3, abs=1e-6)
    # Precision where each row of the class is reached: a 1/1, 2/3, 3/4; b 1/1; c 1/1, 2/2, 3/4.
    assert report["average_precision"] == pytest.approx(((1 + 2 / 3 + 3 / 4) / 3 + 1 + (1 + 1 + 3 / 4) / 3) / 3, abs=1e-6)
    distances = [0.06, 0.375, 0.86, 0.14, 0.875, 0.06, 0.26]
    assert report["brier_score"] == pytest.approx(np.mean(distances), abs=1e-6)
    # As many bins as different confidences: .5 (half right), .6 (half right), .7, .8 (both right).
    assert report["expected_calibration_error"] == pytest.approx((0 + 2 * 0.1 + 0.3 + 2 * 0.2) / 7, abs=1e-6)
    assert report["positive_class"] is None
    for name in HEADLINES:
        assert report[f"{name}_low"] <= report[f"{name}_high"]


def test_four_rows_of_two_classes_are_ranked_by_the_second_class():
    predictions = Predictions(
        list("uvwx"),
        np.array([1, 0, 1, 0]),
        np.array([[0.1, 0.9], [0.4, 0.6], [0.5, 0.5], [0.8, 0.2]]),
        ["no", "yes"],
    )
    report = evaluate(predictions, KNOBS, seed=1)
    assert report["positive_class"] == "yes"
    assert report["roc_auc"] == 0.75  # three of the four pairs
    assert report["average_precision"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-6)
    assert report["brier_score"] == pytest.approx((0.01 + 0.36 + 0.25 + 0.04) / 4, abs=1e-6)


def test_an_undefined_metric_is_none():
    one_class = Predictions(list("uv"), np.array([0, 0]), np.array([[0.9, 0.1], [0.7, 0.3]], np.float32), ["a", "b"])
    report = evaluate(one_class, KNOBS, seed=1)
    assert report["roc_auc"] is report["roc_auc_low"] is report["average_precision_high"] is None
    assert report["classes"]["b"] | {"rows": 0} == report["classes"]["b"]
    assert [report["classes"]["b"][key] for key in ("precision", "recall", "f1", "f1_low")] == [None] * 4
    assert report["accuracy"] == 1.0
    json.dumps(report, allow_nan=False)


def test_a_class_without_rows_is_part_of_every_metric():
    some = Predictions(list("uv"), np.array([0, 2]), WORKED.probabilities[[0, 5]], WORKED.classes)
    report = evaluate(some, KNOBS, seed=1)
    assert report["accuracy"] == report["macro_f1"] == 1.0
    assert report["classes"]["b"]["rows"] == 0
    assert report["classes"]["b"]["recall"] is None


def test_an_unknown_label_is_a_confident_mistake():
    known = Predictions(list("uv"), np.array([0, 2]), WORKED.probabilities[[0, 5]], WORKED.classes)
    unknown = Predictions(list("uvw"), np.array([0, 2, -1]), WORKED.probabilities[[0, 5, 5]], WORKED.classes)
    report = evaluate(unknown, KNOBS, seed=1)
    assert report["accuracy"] == pytest.approx(2 / 3, abs=1e-5)
    assert report["macro_f1"] < evaluate(known, KNOBS, seed=1)["macro_f1"] - 0.3
    assert report["negative_log_likelihood"] > 10


def test_a_confident_mistake_is_expensive_but_finite():
    sure = Predictions(["u"], np.array([0]), np.array([[0, 1]], np.float32), ["a", "b"])
    report = evaluate(sure, KNOBS, seed=1)
    assert report["negative_log_likelihood"] > 10
    json.dumps(report, allow_nan=False)


# Slices of these rows


def test_a_slice_is_scored_on_its_own_rows_and_a_small_one_is_marked():
    masks = {"first three": np.arange(7) < 3, "the fourth": np.arange(7) == 3}
    report = evaluate_slices(WORKED, masks, KNOBS, seed=1)
    first, fourth = report["first three"], report["the fourth"]
    assert (first["rows"], first["small"], first["accuracy"]) == (3, False, 0.666667)
    assert first["macro_f1"] is first["macro_f1_low"] is first["macro_f1_high"] is None  # all rows are of one label
    assert fourth == {
        "rows": 1,
        "small": True,
        **dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high"), 1.0),
        **dict.fromkeys(("macro_f1", "macro_f1_low", "macro_f1_high")),
    }


def test_the_slice_of_all_rows_is_scored_like_the_whole():
    whole, report = evaluate_slices(WORKED, {"all": np.ones(7, bool)}, KNOBS, seed=1)["all"], evaluate(WORKED, KNOBS, seed=1)
    assert {name: whole[name] for name in ("rows", "accuracy", "macro_f1", "macro_f1_low", "macro_f1_high")} == {
        name: report[name] for name in ("rows", "accuracy", "macro_f1", "macro_f1_low", "macro_f1_high")
    }


def test_a_slice_without_rows_has_no_values():
    found = evaluate_slices(WORKED, {"none": np.zeros(7, bool)}, KNOBS, seed=1)["none"]
    assert {name: found.pop(name) for name in ("rows", "small")} == {"rows": 0, "small": True}
    assert found.keys() == {name + end for name in ("accuracy", "macro_f1") for end in ("", "_low", "_high")}
    assert set(found.values()) == {None}
