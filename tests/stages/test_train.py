"""The real training stage on real sentences: it trains what the search found, and leaves all that others read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from headway.data.datamodule import subset
from headway.data.encoded import EncodedTexts
from headway.files import write_json
from headway.serving import package
from headway.serving.package import ModelPackage
from headway.stages.evaluate import predict_split
from headway.stages.train import fit_ngrams, train, training_run
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


def test_the_metrics_are_those_of_the_packed_model_and_of_its_parts(trained: Any) -> None:
    written = json.loads(trained.layout.metrics("training").read_text(encoding="utf-8"))
    assert written == trained.report
    history = json.loads((trained.layout.training / "history.json").read_text(encoding="utf-8"))
    best = max(history, key=lambda entry: entry["validation_accuracy"])
    assert written["epoch"] == best["epoch"]
    assert written["attention"]["validation_accuracy"] == round(best["validation_accuracy"], 6)
    model = ModelPackage.load(trained.layout.candidate)
    assert [written[part]["weight"] for part in ("ngrams", "attention")] == np.round(
        model.classifier.mix.tolist(), 6
    ).tolist()
    assert written["ngrams"]["features"] == len(model.classifier.ngrams.keys) > 100
    found = predict_split(model, trained.layout, "validation")
    assert written["validation_accuracy"] == round(float(found.correct.mean()), 6)


def test_a_tokenizer_that_the_search_found_is_the_packages_own(tunable: Any) -> None:
    params, layout = tunable
    params = params.override({"training.max_epochs": 1, "ngrams.max_order": 1})
    found = {"tokenizer.kind": "bpe", "tokenizer.vocabulary_size": 500, "tokenizer.max_length": 64}
    write_json(layout.study / "best_params.json", found)
    (layout.encoded / "test.arrow").unlink()
    report = train(params, layout, Tracker(params, layout))
    config = json.loads((layout.candidate / "config.json").read_text(encoding="utf-8"))
    assert (config["vocabulary_size"], config["max_length"]) == (500, 64)
    fitted = json.loads((layout.candidate / "tokenizer.json").read_text(encoding="utf-8"))
    assert fitted["model"]["type"] == "BPE"
    # From raw texts, through the packed tokenizer, the same comes out as from the rows that were encoded anew.
    scored = predict_split(ModelPackage.load(layout.candidate), layout, "validation")
    assert round(float(scored.correct.mean()), 6) == report["validation_accuracy"]
    run = Tracker(params, layout).find(kind="training")
    assert run is not None
    assert run.data.params["tokenizer.kind"] == "bpe"


def test_without_ngrams_the_package_is_attention_alone(tunable: Any) -> None:
    params, layout = tunable
    params = params.override({"ngrams.max_order": 0, "training.max_epochs": 1})
    write_json(layout.study / "best_params.json", {})
    report = train(params, layout, Tracker(params, layout))
    assert "ngrams" not in report
    assert ModelPackage.load(layout.candidate).classifier.ngrams is None


def test_of_too_many_tokens_the_linear_part_sees_every_kth_text(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = EncodedTexts.open(trained.layout.encoded / "train.arrow")
    monkeypatch.setattr("headway.stages.train.MAX_NGRAM_TOKENS", len(texts.tokens) // 2)
    third = np.arange(0, len(texts), 3)  # a half would still be a token too much
    assert torch.equal(fit_ngrams(texts, 2, trained.params).keys, fit_ngrams(subset(texts, third), 2, trained.params).keys)


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
