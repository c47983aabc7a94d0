"""Many classes, and a class with a single row, from ingested rows to the metrics of the test split."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway.data.tokenization.encoded import EncodedTexts
from headway.evaluation.predictions import Predictions
from headway.files import write_json
from headway.layout import Layout
from headway.params import Params
from headway.serving.package import ModelPackage
from headway.stages.baseline import baseline
from headway.stages.evaluate import evaluate
from headway.stages.ingest import ingest
from headway.stages.prepare import prepare
from headway.stages.report import report as draw
from headway.stages.tokenize import tokenize
from headway.stages.train import train
from headway.tracking import Tracker
from tests.real_texts import english, languages, translations
from tests.stages.conftest import SMALL, with_database

TINY = {
    **SMALL,
    "training.max_epochs": 1,
    "tokenizer.kind": "word",
    "tokenizer.vocabulary_size": 2000,
    "ngrams.max_order": 1,
    "evaluation.bootstrap_samples": 100,
    "split.train": 0.6,
    "split.validation": 0.2,
    "split.test": 0.2,
    "data.max_bad_share": 0.2,
}


def through(params: Params, layout: Layout, database: Path, rows: list[tuple[str, str]], **knobs: Any) -> dict[str, Any]:
    """Run all stages on these rows with a small model. Returns the test metrics; the other outputs are in the project."""
    with (layout.root / "own.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    chosen = params.override({**TINY, "data.source": "file", "data.path": "own.csv", "data.max_rows": 0, **knobs})
    with_database(layout, database)
    write_json(layout.study / "best_params.json", {})
    ingest(chosen, layout)
    prepare(chosen, layout)
    baseline(chosen, layout)
    tokenize(chosen, layout)
    train(chosen, layout, Tracker(chosen, layout))
    metrics = evaluate(chosen, layout)
    draw(chosen, layout, ["candidate"])
    return metrics


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_fifty_classes_are_trained_and_evaluated(params: Params, project: Layout, database: Path) -> None:
    chosen = languages()[:50]
    rows = [(text, code) for code in chosen for text in [text for text in translations(code) if len(text) > 25][:60]]
    report = through(params, project, database, rows)
    assert read(project.prepared / "labels.json") == sorted(chosen)
    package = ModelPackage.load(project.candidate)
    assert package.classes == sorted(chosen)
    probabilities = package.predict_proba([text for text, _ in rows[:5]])
    assert probabilities.shape == (5, 50)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert report["rows"] > 400
    assert report["accuracy"] > 0.5  # languages differ in their words, so that even a small model can distinguish them
    assert report["positive_class"] is None
    assert report["roc_auc_low"] < report["roc_auc"] < report["roc_auc_high"] <= 1
    assert set(report["classes"]) == set(chosen)
    by_slice = read(project.slices)
    tested = {code: entry["rows"] for code, entry in report["classes"].items() if entry["rows"]}
    assert {name: by_slice[f"label: {name}"]["rows"] for name in tested} == tested
    assert {"script: Arabic", "script: Cyrillic", "script: Latin"} < set(by_slice)
    assert all(entry["small"] == (entry["rows"] < params.evaluation.min_slice_rows) for entry in by_slice.values())
    assert 'data-metric="roc_auc"' in project.page("candidate").read_text(encoding="utf-8")


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_a_class_with_a_single_row_is_learned_and_never_tested(
    params: Params, project: Layout, database: Path, weights: str
) -> None:
    texts, labels = english(300)
    rows = [(text, ("bad", "good")[label]) for text, label in zip(texts, labels, strict=True)]
    alone = ("一个人的看法，没有别人同意", "alone")
    report = through(params, project, database, [*rows[:150], alone, *rows[150:]], **{"training.class_weights": weights})
    assert read(project.prepared / "labels.json") == ["alone", "bad", "good"]
    counts = {
        split: Counter(EncodedTexts.open(project.encoded / f"{split}.arrow").labels.tolist())
        for split in ("train", "validation", "test")
    }
    assert [counts[split][0] for split in counts] == [1, 0, 0]
    predictions = Predictions.load(project.evaluation / "test.parquet", made_by="evaluate")
    assert predictions.classes == ["alone", "bad", "good"]
    assert predictions.probabilities.shape == (report["rows"], 3)
    assert all(np.isfinite(value) for value in report.values() if isinstance(value, float))
    untested = report["classes"]["alone"]
    assert untested["rows"] == 0
    assert untested["recall"] is untested["recall_low"] is None  # undefined without test rows, and not 0
    assert "label: alone" not in read(project.slices)
    assert read(project.metrics("test")) == report
    written = project.metrics("training").read_text(encoding="utf-8") + project.mistakes.read_text(encoding="utf-8")
    assert "NaN" not in written
