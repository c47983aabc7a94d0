"""The stage evaluate: the packaged model on the test split, from raw text, as it would be served."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from headway.errors import HeadwayError
from headway.evaluation.predictions import Predictions
from headway.files import sha256_of_file
from headway.layout import Layout
from headway.serving.package import ModelPackage
from headway.stages.evaluate import evaluate, predict_split
from tests.folders import sha256_of_folder


def test_the_candidate_is_scored_on_every_row_of_the_test_split(trained: Any, tmp_path: Path) -> None:
    layout = Layout(Path(shutil.copytree(trained.layout.root, tmp_path / "project")))
    report = evaluate(trained.params, layout)
    rows = pq.read_table(layout.prepared / "test.parquet")
    predictions = Predictions.load(layout.evaluation / "test.parquet", made_by="evaluate")
    assert list(predictions.ids) == rows["id"].to_pylist()
    assert [predictions.classes[label] for label in predictions.labels] == rows["label"].to_pylist()
    expected = ModelPackage.load(layout.candidate).predict_proba(rows["text"].to_pylist())
    np.testing.assert_array_equal(predictions.probabilities, expected)
    assert report == json.loads(layout.metrics("test").read_text(encoding="utf-8"))
    assert report["rows"] == rows.num_rows
    assert report["accuracy"] == round(float((expected.argmax(axis=1) == predictions.labels).mean()), 6)


def test_slices_and_mistakes_are_written_beside_the_predictions(trained: Any, tmp_path: Path) -> None:
    layout = Layout(Path(shutil.copytree(trained.layout.root, tmp_path / "project")))
    evaluate(trained.params.override({"evaluation.slices": {"about films": "'film' in text"}}), layout)
    rows = pq.read_table(layout.prepared / "test.parquet").to_pylist()
    by_slice = json.loads(layout.slices.read_text(encoding="utf-8"))
    assert by_slice["about films"]["rows"] == sum("film" in row["text"] for row in rows) > 0
    assert by_slice["label: positive"]["rows"] == sum(row["label"] == "positive" for row in rows)
    mistakes = json.loads(layout.mistakes.read_text(encoding="utf-8"))
    texts = {row["id"]: row["text"] for row in rows}
    assert mistakes
    assert all(entry["text"] == texts[entry["id"]] and entry["label"] != entry["predicted"] for entry in mistakes)


def test_a_slice_of_an_unknown_column_is_refused_before_anything_is_written(trained: Any, tmp_path: Path) -> None:
    layout = Layout(Path(shutil.copytree(trained.layout.root, tmp_path / "project")))
    with pytest.raises(
        HeadwayError, match=r"evaluation\.slices\.dear: 'price > 3': no column 'price'; known: id, text, label"
    ):
        evaluate(trained.params.override({"evaluation.slices": {"dear": "price > 3"}}), layout)
    assert not layout.evaluation.exists()


def test_the_outs_are_deterministic(trained: Any, tmp_path: Path) -> None:
    layout = Layout(Path(shutil.copytree(trained.layout.root, tmp_path / "project")))
    hashes = []
    for _ in range(2):
        evaluate(trained.params, layout)
        hashes.append([sha256_of_folder(layout.evaluation), sha256_of_file(layout.metrics("test"))])
    assert hashes[0] == hashes[1]


def test_an_unknown_label_counts_as_a_mistake(trained: Any) -> None:
    model = ModelPackage.load(trained.layout.candidate)
    known = predict_split(model, trained.layout, "test")
    model.classes = ["something else", model.classes[1]]
    predictions = predict_split(model, trained.layout, "test")
    unknown = known.labels == 0
    assert unknown.any()
    assert (predictions.labels[unknown] == -1).all()
    assert not predictions.correct[unknown].any()
    assert (predictions.correct[~unknown] == replace(known).correct[~unknown]).all()
