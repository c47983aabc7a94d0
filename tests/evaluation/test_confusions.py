"""The most frequent confusions, with the texts of which the model is surest."""

import numpy as np

from headway.evaluation.confusions import COUNT, EXAMPLES, EXCERPT, top_confusions
from headway.evaluation.predictions import Predictions
from tests.evaluation.test_resampling import some


def test_confusions_are_counted_and_the_most_frequent_comes_first():
    predictions = some(300, 4, seed=3)
    labels = [predictions.classes[label] for label in predictions.labels]
    found = top_confusions(predictions, [f"text {row}" for row in range(300)], labels)
    for one in found:
        true, other = predictions.classes.index(one["label"]), predictions.classes.index(one["predicted"])
        rows = (predictions.labels == true) & (predictions.predicted == other)
        assert true != other
        assert one["rows"] == rows.sum() > 0
        assert one["share"] == round(one["rows"] / int((predictions.labels == true).sum()), 6)
        assert len(one["examples"]) == min(EXAMPLES, one["rows"])
        assert {f"text {example['id']}" for example in one["examples"]} == {example["text"] for example in one["examples"]}
    assert [one["rows"] for one in found] == sorted((one["rows"] for one in found), reverse=True)
    assert sum(one["rows"] for one in found) == (~predictions.correct).sum()


def test_the_surest_confusions_are_the_examples_and_long_texts_are_cut():
    probabilities = np.array([[0.4, 0.6], [0.1, 0.9], [0.9, 0.1]], np.float32)
    predictions = Predictions(list("abc"), np.array([0, 0, 0]), probabilities, ["x", "y"])
    (one,) = top_confusions(predictions, ["short", "y" * 1_000_000, "right"], ["x"] * 3)
    assert [example["id"] for example in one["examples"]] == ["b", "a"]
    assert one["examples"][0]["text"] == "y" * EXCERPT + "…"
    assert one["examples"][0]["characters"] == 1_000_000


def test_a_label_unknown_to_the_model_is_confused_too_and_their_number_is_bounded():
    predictions = some(3_000, 200, seed=1, unknown=0.1)
    labels = [predictions.classes[label] if label >= 0 else "unheard of" for label in predictions.labels]
    found = top_confusions(predictions, [""] * 3_000, labels)
    assert len(found) == COUNT
    assert any(one["label"] == "unheard of" for one in found)
