"""The stage train on real sentences: it trains what the search found and writes what later stages read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from headway.data.batching import TextBatches, TokenBudgetSampler
from headway.data.batching.datamodule import WholeTexts, in_batches, subset
from headway.data.tokenization import tokenizer
from headway.data.tokenization.encoded import EncodedTexts
from headway.data.tokenization.vectors import FILE
from headway.evaluation.metrics import likelihood_by_row
from headway.evaluation.predictions import Predictions
from headway.files import write_json
from headway.layout import Layout
from headway.model.fitting import fit_ngrams
from headway.model.ngrams import NgramClassifier
from headway.serving import package
from headway.serving.package import ModelPackage
from headway.stages.evaluate import predict_split
from headway.stages.train import train, training_run
from headway.tables import read_table
from headway.tracking import Tracker


def test_the_package_has_the_hyperparameters_that_the_search_found(trained: Any) -> None:
    config = json.loads((trained.layout.candidate / "config.json").read_text(encoding="utf-8"))
    assert config["model"]["d_model"] == trained.found["model.d_model"] != trained.params.model.d_model
    assert config["model"]["similarity"] == trained.found["model.similarity"] != trained.params.model.similarity
    assert config["model"]["dim_feedforward"] == trained.params.model.dim_feedforward  # what was not searched
    assert config["classes"] == json.loads((trained.layout.prepared / "labels.json").read_text(encoding="utf-8"))
    assert config["max_length"] == trained.params.tokenizer.max_length
    probabilities = ModelPackage.load(trained.layout.candidate).predict_proba(["a warm , funny film", "dull"])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_mlflow_has_the_params_the_schedule_and_the_metrics_of_each_evaluation(trained: Any) -> None:
    tracker = Tracker(trained.params, trained.layout)
    run = tracker.find(kind="training")
    assert run is not None
    assert run.info.status == "FINISHED"
    assert {name: run.data.params[name] for name in trained.found} == {k: str(v) for k, v in trained.found.items()}
    assert run.data.params["training.tokens_per_batch"] == "1024"
    assert run.data.params["training.warmup_ratio"] == "auto"
    assert run.data.params["schedule.warmup_ratio"] == "0.1"
    schedule = {name: str(value) for name, value in trained.report["schedule"].items()}
    assert {f"schedule.{name}": value for name, value in schedule.items()}.items() <= run.data.params.items()
    assert not [name for name in run.data.metrics if "schedule" in name]
    buckets = trained.params.model.bigram_buckets
    assert run.data.metrics["joint_attention.bigram_buckets"] == trained.report["attention"]["bigram_buckets"] == buckets
    assert run.data.tags[MLFLOW_PARENT_RUN_ID] == tracker.pipeline_run().id
    assert run.data.tags["headway.model"] == package.fingerprint(trained.layout.candidate)
    history = json.loads((trained.layout.training / "history.json").read_text(encoding="utf-8"))
    assert [entry["progress"] for entry in history][-1] == 1
    assert history[-1]["epoch"] == 2
    for name in ("train_loss", "validation_accuracy", "validation_loss", "validation_macro_f1"):
        logged = tracker.client.get_metric_history(run.info.run_id, name)
        assert [(metric.step, metric.value) for metric in logged] == [(entry["step"], entry[name]) for entry in history]
    assert [artifact.path for artifact in tracker.client.list_artifacts(run.info.run_id, "training")] == [
        "training/history.json"
    ]
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == json.loads((trained.layout.raw / "manifest.json").read_text())["rows_sha256"][:32]


def test_the_metrics_are_those_of_the_packed_model_and_of_its_parts(trained: Any) -> None:
    written = json.loads(trained.layout.metrics("training").read_text(encoding="utf-8"))
    assert written == trained.report
    history = json.loads((trained.layout.training / "history.json").read_text(encoding="utf-8"))
    best = min(history, key=lambda entry: entry["validation_loss_calibrated"])
    assert (written["step"], written["epoch"]) == (best["step"], best["epoch"])
    assert written["schedule"]["tokens_per_batch"] == trained.params.training.tokens_per_batch
    assert written["schedule"]["steps"] == history[-1]["step"]
    assert written["attention"]["validation_accuracy"] == round(best["validation_accuracy"], 6)
    model = ModelPackage.load(trained.layout.candidate)
    assert [written[part]["weight"] for part in ("ngrams", "attention")] == np.round(
        model.classifier.weights.tolist(), 6
    ).tolist()
    assert written["ngrams"]["features"] == len(model.classifier.ngrams.keys) > 100
    assert written["ngrams"]["inverse_regularisation"] in trained.params.ngrams.inverse_regularisation
    found = predict_split(model, trained.layout, "validation")
    assert written["validation_accuracy"] == round(float(found.correct.mean()), 6)


def calibration_error(predictions: Predictions, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over bins of equal width."""
    confidence = predictions.probabilities.max(axis=1)
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=predictions.correct - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def test_the_weights_of_the_parts_are_fitted_on_validation_rows_and_packaged(trained: Any) -> None:
    report, model = trained.report, ModelPackage.load(trained.layout.candidate)
    found = predict_split(model, trained.layout, "validation")
    assert report["validation_nll"]["after"] == pytest.approx(likelihood_by_row(found).mean(), abs=1e-5)
    assert report["validation_calibration_error"]["after"] == pytest.approx(calibration_error(found), abs=1e-5)
    model.classifier.weights = torch.ones(2)
    before = predict_split(model, trained.layout, "validation")
    assert report["validation_nll"]["before"] == pytest.approx(likelihood_by_row(before).mean(), abs=1e-5)
    assert report["validation_calibration_error"]["before"] == pytest.approx(calibration_error(before), abs=1e-5)
    assert report["validation_nll"]["after"] < report["validation_nll"]["before"]


def test_training_code_package_and_mlflow_give_the_same_probabilities(trained: Any, tmp_path: Path) -> None:
    """Training has encoded texts in batches of its own; the package has raw ones; MLflow has a table, and its own loader."""
    texts = read_table(trained.layout.prepared / "test.parquet", made_by="prepare")
    loaded = ModelPackage.load(trained.layout.candidate)
    encoded = EncodedTexts.open(trained.layout.encoded / "test.arrow")
    sampler = TokenBudgetSampler(encoded.lengths, 2_000)
    in_training = np.zeros((len(encoded), 2), np.float32)
    with torch.inference_mode():
        for indices in sampler:
            tokens, _ = TextBatches(encoded)[indices]
            parts = loaded.classifier.parts(tokens)
            in_training[indices] = loaded.classifier.combine(*parts).softmax(dim=1)
    in_package = loaded.predict_proba(texts["text"].to_pylist())
    mlflow.pyfunc.save_model(
        tmp_path / "model",
        loader_module="headway.serving.pyfunc",
        data_path=str(trained.layout.candidate),
        pip_requirements=[],
    )
    answer = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(pd.DataFrame({"text": texts["text"].to_pylist()}))
    in_mlflow = answer[[f"probability of {name}" for name in loaded.classes]].to_numpy()
    np.testing.assert_allclose(in_package, in_training, atol=1e-5)
    np.testing.assert_allclose(in_mlflow, in_package, atol=1e-5)
    assert in_package.std(axis=0).min() > 0.01  # the texts do differ


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


def test_embeddings_start_from_the_word_vectors_beside_the_tokenizer(tunable: Any) -> None:
    params, layout = tunable
    frozen = {"tune.space": {}, "training.learning_rate": 1e-12, "training.max_epochs": 1, "ngrams.max_order": 0}
    params = params.override(frozen)
    write_json(layout.study / "best_params.json", {})
    size = tokenizer.load(layout.encoded / "tokenizer.json").get_vocab_size()
    vectors = np.zeros((size, 4), np.float32)
    vectors[5:25] = np.random.default_rng(0).normal(size=(20, 4))
    np.save(layout.encoded / FILE, vectors)
    train(params, layout, Tracker(params, layout))
    embedding = ModelPackage.load(layout.candidate).classifier.attention.embedding.weight.detach().numpy()
    centred = vectors[5:25] - vectors[5:25].mean(axis=0)
    angles, started = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (centred, embedding[5:25, :4]))
    np.testing.assert_allclose(started @ started.T, angles @ angles.T, atol=1e-4)


def test_without_ngrams_the_package_is_attention_alone(tunable: Any) -> None:
    params, layout = tunable
    params = params.override({"ngrams.max_order": 0, "training.max_epochs": 1})
    write_json(layout.study / "best_params.json", {})
    report = train(params, layout, Tracker(params, layout))
    assert "ngrams" not in report
    assert ModelPackage.load(layout.candidate).classifier.ngrams is None


@pytest.mark.parametrize("limit", ["MAX_NGRAM_TOKENS", "MAX_NGRAM_MARGINS"])
def test_the_linear_part_is_fitted_on_every_kth_text_of_a_large_split(
    trained: Any, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    texts = EncodedTexts.open(trained.layout.encoded / "train.arrow")
    numbers = {"MAX_NGRAM_TOKENS": len(texts.tokens), "MAX_NGRAM_MARGINS": len(texts)}[limit]
    monkeypatch.setattr(f"headway.model.fitting.{limit}", (numbers - 1) // 2)
    third = subset(texts, np.arange(0, len(texts), 3))  # every second one would still be too many
    found, expected = (fit_ngrams(WholeTexts(some, third), 2, trained.params) for some in (texts, third))
    assert torch.equal(found.keys, expected.keys)


def test_the_linear_part_is_fitted_on_training_rows_and_chosen_on_validation_rows(trained: Any) -> None:
    splits = [EncodedTexts.open(trained.layout.encoded / f"{name}.arrow") for name in ("train", "validation")]
    params = trained.params.override({"ngrams.inverse_regularisation": [0.1, 10.0, 1000.0, 100_000.0]})
    found = fit_ngrams(WholeTexts(*splits), 2, params)
    expected = NgramClassifier.fit(*map(in_batches, splits), 2, params.ngrams)
    assert torch.equal(found.weight, expected.weight)
    assert found.inverse_regularisation == expected.inverse_regularisation
    assert found.inverse_regularisation < fit_ngrams(WholeTexts(splits[0], splits[0]), 2, params).inverse_regularisation


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


def test_results_of_an_earlier_version_are_logged_again(trained: Any, tmp_path: Path) -> None:
    """Version 0.1.0 evaluated after each epoch, and had no schedule in its results."""
    layout = Layout(Path(shutil.copytree(trained.layout.root, tmp_path / "project")))
    tracker = Tracker(trained.params, layout)
    tracker.client.delete_run(training_run(trained.params, layout, tracker))
    later = {"step", "progress", "validation_loss_calibrated"}
    history = json.loads((layout.training / "history.json").read_text(encoding="utf-8"))
    history = [
        {**{name: value for name, value in entry.items() if name not in later}, "epoch": epoch}
        for epoch, entry in enumerate(history, 1)
    ]
    write_json(layout.training / "history.json", history)
    report = {name: value for name, value in trained.report.items() if name not in ("schedule", "settings", "step")}
    write_json(layout.metrics("training"), report)
    run = training_run(trained.params, layout, tracker)
    logged = tracker.client.get_metric_history(run, "train_loss")
    assert [metric.step for metric in logged] == list(range(1, len(history) + 1))
