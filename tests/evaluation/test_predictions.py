"""Predictions are loaded from their file as they were saved."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import HeadwayError
from headway.evaluation.predictions import Predictions


def some(rows, classes, seed=0):
    random = np.random.default_rng(seed)
    scores = random.random((rows, classes)).astype(np.float32) + 0.01
    return Predictions(
        [f"row {index}" for index in range(rows)],
        random.integers(0, classes, rows),
        scores / scores.sum(axis=1, keepdims=True),
        [f"class {index}" for index in range(classes)],
    )


@given(st.integers(0, 30), st.integers(1, 7), st.data())
def test_predictions_are_loaded_as_they_were_saved(tmp_path_factory, rows, n_classes, data):
    names = data.draw(st.lists(st.text(st.characters(codec="utf-8")), min_size=n_classes, max_size=n_classes))
    before = some(rows, n_classes)
    before = Predictions(before.ids, before.labels, before.probabilities, names)
    path = tmp_path_factory.getbasetemp() / "folder" / "predictions.parquet"
    before.save(path)
    after = Predictions.load(path, made_by="evaluate")
    assert list(after.ids) == list(before.ids)
    assert list(after.classes) == names
    np.testing.assert_array_equal(after.labels, before.labels)
    np.testing.assert_array_equal(after.probabilities, before.probabilities)
    assert after.probabilities.dtype == np.float32
    assert after.probabilities.shape == (rows, n_classes)


def test_the_same_predictions_are_saved_to_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        some(50, 3).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_the_likeliest_class_is_predicted_and_compared_with_the_label():
    predictions = Predictions(
        ["u", "v", "w"], np.array([1, 0, -1]), np.array([[0.2, 0.8], [0.1, 0.9], [0.6, 0.4]]), ["a", "b"]
    )
    assert predictions.predicted.tolist() == [1, 1, 0]
    assert predictions.correct.tolist() == [True, False, False]


def test_a_label_that_the_model_does_not_know_survives_saving(tmp_path):
    Predictions(["u"], np.array([-1]), np.array([[0.2, 0.8]]), ["a", "b"]).save(tmp_path / "p.parquet")
    loaded = Predictions.load(tmp_path / "p.parquet", made_by="evaluate")
    assert loaded.labels.tolist() == [-1]
    assert not loaded.correct.any()


def test_missing_predictions_are_reported_with_the_stage_that_makes_them(tmp_path):
    with pytest.raises(HeadwayError, match=r"test\.parquet: missing"):
        Predictions.load(tmp_path / "test.parquet", made_by="baseline")


def test_predictions_with_a_gap_are_reported_as_damaged(tmp_path):
    some(2000, 3).save(tmp_path / "test.parquet")
    with (tmp_path / "test.parquet").open("r+b") as file:
        file.seek(200)
        file.write(bytes(2000))
    with pytest.raises(HeadwayError, match="damaged"):
        Predictions.load(tmp_path / "test.parquet", made_by="evaluate")


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_truncated_predictions_are_reported_as_damaged(tmp_path, share):
    some(200, 3).save(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "test.parquet").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(HeadwayError, match=r"test\.parquet: damaged"):
        Predictions.load(tmp_path / "test.parquet", made_by="evaluate")


def test_another_parquet_file_is_reported_as_damaged(tmp_path):
    pq.write_table(pa.table({"text": ["fine"]}), tmp_path / "test.parquet")
    with pytest.raises(HeadwayError, match="damaged"):
        Predictions.load(tmp_path / "test.parquet", made_by="evaluate")
