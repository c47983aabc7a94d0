"""Metrics of many resamples at once are those of each resample by itself, as scikit-learn computes them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score, roc_auc_score

from headway.evaluation import resampling
from headway.evaluation.calibration import expected_calibration_error
from headway.evaluation.headlines import HEADLINES
from headway.evaluation.metrics import evaluate, likelihood_by_row
from headway.evaluation.predictions import Predictions
from headway.params import EvaluationParams


def some(rows, n_classes, seed, unknown=0.0, digits=2):
    """Predictions with ties (rounded), of which a share has a label that the model does not know."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, rows)
    logits = random.normal(size=(rows, n_classes)) + 2 * np.eye(n_classes)[labels]
    probabilities = np.round(softmax(logits, axis=1), digits)
    labels = np.where(random.random(rows) < unknown, -1, labels)
    return Predictions(np.arange(rows).astype(str), labels, probabilities, [f"class {index}" for index in range(n_classes)])


def repeated(predictions, counts):
    """The rows that a resample has, each as often as it was drawn."""
    rows = np.repeat(np.arange(len(counts)), counts.astype(int))
    return Predictions(
        np.arange(len(rows)).astype(str), predictions.labels[rows], predictions.probabilities[rows], predictions.classes
    )


def plain_metrics(predictions):
    """The slow and obvious way, by scikit-learn, of one table of predictions."""
    labels, predicted = predictions.labels, predictions.predicted
    binary = len(predictions.classes) == 2
    ranked = [1] if binary else [index for index in range(len(predictions.classes)) if (labels == index).any()]
    auc = [
        roc_auc_score(labels == index, predictions.probabilities[:, index])
        for index in ranked
        if 0 < (labels == index).sum() < len(labels)
    ]
    precision = [
        average_precision_score(labels == index, predictions.probabilities[:, index])
        for index in ranked
        if (labels == index).any()
    ]
    present = np.unique(labels)
    return {
        "macro_f1": f1_score(labels, predicted, labels=present, average="macro", zero_division=0),
        "weighted_f1": f1_score(labels, predicted, labels=present, average="weighted", zero_division=0),
        "roc_auc": np.mean(auc) if auc else np.nan,
        "average_precision": np.mean(precision) if precision else np.nan,
        "expected_calibration_error": expected_calibration_error(predictions),
        "negative_log_likelihood": likelihood_by_row(predictions).mean(),
    }


def all_at_once(predictions, weights):
    return {
        **resampling.by_class(predictions.labels, predictions.predicted, len(predictions.classes), weights),
        **resampling.ranking(predictions, weights),
        **resampling.means({"negative_log_likelihood": likelihood_by_row(predictions)}, weights),
        "expected_calibration_error": resampling.calibration_error(predictions, weights),
    }


def test_every_row_is_drawn_equally_often_and_each_resample_has_as_many_rows_as_there_are():
    weights = np.concatenate(list(resampling.draws(50, 4_000, seed=3)), axis=1)
    assert weights.shape == (50, 4_000)
    assert (weights.sum(axis=0) == 50).all()
    np.testing.assert_allclose(weights.mean(axis=1), 1, atol=0.08)
    assert weights.var() == pytest.approx(0.98, abs=0.02)  # binomial of 50 draws


def test_the_draws_are_a_function_of_the_seed_and_not_of_how_many_are_held(monkeypatch):
    at_once = np.concatenate(list(resampling.draws(20, 30, seed=1)), axis=1)
    monkeypatch.setattr(resampling, "CELLS", 100)
    np.testing.assert_array_equal(np.concatenate(list(resampling.draws(20, 30, seed=1)), axis=1), at_once)
    assert (np.concatenate(list(resampling.draws(20, 30, seed=2)), axis=1) != at_once).any()


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 9_999), st.sampled_from([0.0, 0.2]), st.sampled_from([1, 2, 6]))
def test_the_metrics_of_each_resample_are_those_of_its_rows(rows, n_classes, seed, unknown, digits):
    predictions = some(rows, n_classes, seed, unknown, digits)
    (weights,) = resampling.draws(rows, 4, seed)
    found = all_at_once(predictions, weights)
    for sample in range(4):
        resample = repeated(predictions, weights[:, sample])
        for name, expected in plain_metrics(resample).items():
            assert found[name][sample] == pytest.approx(expected, abs=1e-5, nan_ok=True), name


@settings(max_examples=40)
@given(st.integers(2, 40), st.integers(2, 5), st.integers(0, 9_999))
def test_precision_recall_and_f1_of_each_class_are_those_of_the_resamples_rows(rows, n_classes, seed):
    predictions = some(rows, n_classes, seed)
    (weights,) = resampling.draws(rows, 3, seed)
    found = all_at_once(predictions, weights)
    for sample in range(3):
        resample = repeated(predictions, weights[:, sample])
        for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            expected = score(
                resample.labels, resample.predicted, labels=range(n_classes), average=None, zero_division=np.nan
            )
            np.testing.assert_allclose(found[name][:, sample], expected, atol=1e-6)


def test_a_thousand_classes_most_of_which_have_a_row_or_none():
    predictions = some(300, 1_000, seed=3, digits=6)
    (weights,) = resampling.draws(300, 2, seed=1)
    found = all_at_once(predictions, weights)
    for name, expected in plain_metrics(repeated(predictions, weights[:, 1])).items():
        assert found[name][1] == pytest.approx(expected, abs=1e-5), name


@pytest.mark.parametrize("n_classes", [2, 3])
def test_intervals_are_those_of_a_slow_and_obvious_bootstrap(n_classes):
    predictions = some(150, n_classes, seed=7)
    report = evaluate(predictions, EvaluationParams(bootstrap_samples=4_000, confidence=0.9, min_slice_rows=1, slices={}), 1)
    random = np.random.default_rng(2)
    drawn = [
        plain_metrics(repeated(predictions, np.bincount(random.integers(0, 150, 150), minlength=150))) for _ in range(150)
    ]
    for name in set(HEADLINES) & set(drawn[0]):
        low, high = np.quantile([one[name] for one in drawn], [0.05, 0.95])
        if name == "expected_calibration_error":
            low, high = (max(0, 2 * report[name] - bound) for bound in (high, low))
            assert report[f"{name}_low"] in (0, pytest.approx(low, abs=0.25 * (high - low)))  # 0: it may be chance alone
            low = report[f"{name}_low"]
        width = high - low
        assert report[f"{name}_low"] == pytest.approx(low, abs=0.25 * width), name
        assert report[f"{name}_high"] == pytest.approx(high, abs=0.25 * width), name


def test_intervals_of_each_class_are_those_of_a_slow_and_obvious_bootstrap():
    predictions = some(150, 3, seed=7)
    report = evaluate(predictions, EvaluationParams(bootstrap_samples=4_000, confidence=0.9, min_slice_rows=1, slices={}), 1)
    random = np.random.default_rng(2)
    drawn = [repeated(predictions, np.bincount(random.integers(0, 150, 150), minlength=150)) for _ in range(300)]
    for metric, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        scores = [score(one.labels, one.predicted, labels=range(3), average=None, zero_division=np.nan) for one in drawn]
        for name, low, high in zip(predictions.classes, *np.nanquantile(scores, [0.05, 0.95], axis=0), strict=True):
            found = report["classes"][name]
            assert found[f"{metric}_low"] == pytest.approx(low, abs=0.25 * (high - low)), (name, metric)
            assert found[f"{metric}_high"] == pytest.approx(high, abs=0.25 * (high - low)), (name, metric)


@pytest.mark.parametrize("excess", [0.0, 0.05])
def test_the_interval_of_the_calibration_error_covers_the_truth_although_the_estimate_is_biased(excess):
    """Models that are five points too sure by construction, and ones that are not at all."""
    knobs = EvaluationParams(bootstrap_samples=100, confidence=0.9, min_slice_rows=1, slices={})
    covered, above = [], []
    for seed in range(50):
        random = np.random.default_rng(1_000 + seed)
        of_second = np.where(random.random(1_000) < 0.5, random.uniform(0.6, 0.95, 1_000), random.uniform(0.05, 0.4, 1_000))
        right = random.random(1_000) < np.abs(of_second - 0.5) + 0.5 - excess
        labels = np.where(right, of_second > 0.5, of_second <= 0.5).astype(int)
        predictions = Predictions(
            np.arange(1_000).astype(str), labels, np.stack([1 - of_second, of_second], axis=1), ["a", "b"]
        )
        report = evaluate(predictions, knobs, seed)
        covered.append(report["expected_calibration_error_low"] <= excess <= report["expected_calibration_error_high"])
        above.append(report["expected_calibration_error"] > excess)
    assert np.mean(above) > 0.7
    assert np.mean(covered) >= 0.8
