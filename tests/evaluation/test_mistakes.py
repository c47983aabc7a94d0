"""The worst mistakes: the wrong predictions that a model is most confident of."""

import numpy as np
import pytest

from headway.evaluation.mistakes import COUNT, EXCERPT, worst_mistakes
from tests.evaluation.test_resampling import some


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
