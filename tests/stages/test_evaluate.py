"""The evaluation stage: the packed model on the test split, from raw text, as it would be served."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from headway.evaluation.predictions import Predictions
from headway.layout import Layout
from headway.serving.package import ModelPackage
from headway.stages.evaluate import evaluate, predict_split


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
    assert layout.plot("confusion_matrix").is_file()


def test_a_label_that_the_model_does_not_know_counts_as_a_mistake(trained: Any) -> None:
    model = ModelPackage.load(trained.layout.candidate)
    known = predict_split(model, trained.layout, "test")
    model.classes = ["something else", model.classes[1]]
    predictions = predict_split(model, trained.layout, "test")
    unknown = known.labels == 0
    assert unknown.any()
    assert (predictions.labels[unknown] == -1).all()
    assert not predictions.correct[unknown].any()
    assert (predictions.correct[~unknown] == replace(known).correct[~unknown]).all()
