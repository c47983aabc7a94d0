"""The real training stage on real sentences: it trains what the search found, and leaves all that others read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from headway.serving import package
from headway.serving.package import ModelPackage
from headway.stages.train import training_run
from headway.tracking import Tracker


def test_the_package_is_of_the_model_that_the_search_found(trained: Any) -> None:
    config = json.loads((trained.layout.candidate / "config.json").read_text(encoding="utf-8"))
    assert config["model"]["d_model"] == trained.found["model.d_model"] != trained.params.model.d_model
    assert config["model"]["similarity"] == trained.found["model.similarity"] != trained.params.model.similarity
    assert config["model"]["d_feedforward"] == trained.params.model.d_feedforward  # what was not searched
    assert config["classes"] == json.loads((trained.layout.prepared / "labels.json").read_text(encoding="utf-8"))
    assert config["max_length"] == trained.params.tokenizer.max_length
    probabilities = ModelPackage.load(trained.layout.candidate).predict_proba(["a warm , funny film", "dull"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_mlflow_shows_what_was_trained_and_how_each_epoch_went(trained: Any) -> None:
    tracker = Tracker(trained.params, trained.layout)
    run = tracker.find(kind="training")
    assert run is not None
    assert run.info.status == "FINISHED"
    assert {name: run.data.params[name] for name in trained.found} == {k: str(v) for k, v in trained.found.items()}
    assert run.data.params["training.tokens_per_batch"] == "1024"
    assert run.data.tags[MLFLOW_PARENT_RUN_ID] == tracker.pipeline_run().id
    assert run.data.tags["headway.model"] == package.fingerprint(trained.layout.candidate)
    history = json.loads((trained.layout.training / "history.json").read_text(encoding="utf-8"))
    assert [entry["epoch"] for entry in history] == [1, 2]
    for name in ("train_loss", "validation_accuracy", "validation_loss", "validation_macro_f1"):
        logged = tracker.client.get_metric_history(run.info.run_id, name)
        assert [(metric.step, metric.value) for metric in logged] == [(entry["epoch"], entry[name]) for entry in history]
    assert [artifact.path for artifact in tracker.client.list_artifacts(run.info.run_id, "plots")] == [
        "plots/learning_curve.png"
    ]
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == json.loads((trained.layout.raw / "manifest.json").read_text())["rows_sha256"][:32]


def test_the_metrics_are_those_of_the_best_epoch(trained: Any) -> None:
    history = json.loads((trained.layout.training / "history.json").read_text(encoding="utf-8"))
    best = max(history, key=lambda entry: entry["validation_accuracy"])
    written = json.loads(trained.layout.metrics("training").read_text(encoding="utf-8"))
    assert written == trained.report == {name: round(value, 6) for name, value in best.items()}


def test_checkpoints_are_gone_once_the_package_is_written(trained: Any) -> None:
    assert not (trained.layout.scratch / "checkpoints").exists()
    assert not list(trained.layout.candidate.parent.glob("*.partial"))


def test_a_run_that_was_deleted_is_logged_again_from_the_files(trained: Any) -> None:
    tracker = Tracker(trained.params, trained.layout)
    before = training_run(trained.params, trained.layout, tracker)
    assert training_run(trained.params, trained.layout, tracker) == before  # found, not made
    first = tracker.client.get_run(before)
    tracker.client.delete_run(before)
    try:
        after = training_run(trained.params, trained.layout, tracker)
        again = tracker.client.get_run(after)
        assert after != before
        assert again.info.status == "FINISHED"
        assert again.data.params == first.data.params
        assert again.data.metrics == first.data.metrics
        assert again.data.tags["headway.model"] == first.data.tags["headway.model"]
        tracker.client.delete_run(after)
    finally:
        tracker.client.restore_run(before)
