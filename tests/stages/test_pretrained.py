"""A frozen pretrained encoder through the stages: features that are computed once, the search, the training and the scores."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headway import encoders
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.model import pretrained
from headway.model.pretrained import POOLINGS
from headway.params import Params
from headway.search.found import trials_of
from headway.search.objective import SECOND_OBJECTIVES, run_trial
from headway.search.results import TrialResult
from headway.search.trial import Task
from headway.serving.package import ModelPackage
from headway.stages.evaluate import evaluate
from headway.stages.tokenize import pretrained as rows
from headway.stages.tokenize.pretrained import PretrainedRows, subwords_of
from headway.stages.train import train
from headway.stages.tune import study_key, tune
from headway.stages.tune.rows import encoder_cost, load_shared, with_pretrained
from headway.tables import read_table
from headway.tracking import Tracker
from tests.folders import sha256_of_folder
from tests.tiny_encoders import WIDTH, write_encoder

FROZEN: dict[str, Any] = {
    "model.encoder": "pretrained",
    "pretrained.path": "bert",
    "pretrained.max_length": 16,
    "pretrained.inverse_regularisation": [0.001, 0.01, 0.1],
    "tune.space": {},
}
POOLING = {"pretrained.pooling": {"type": "categorical", "choices": ["auto", "mean", "max"]}}
QUICK: dict[str, Any] = {"tune.trials": 3, "tune.max_epochs": 1, "tune.train_share": 0.5, "tune.space": POOLING}


@pytest.fixture
def frozen(tunable: tuple[Params, Layout], tiny_encoders: Path) -> tuple[Params, Layout]:
    params, layout = tunable
    shutil.copytree(tiny_encoders, layout.encoders)
    return params.override(FROZEN), layout


def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, loading an encoder fails."""

    def load(folder: Path, **more: Any) -> None:
        raise AssertionError(f"{folder} is loaded")

    monkeypatch.setattr(pretrained, "load", load)


def search(params: Params, layout: Layout) -> TrialResult:
    tracker = Tracker(params, layout)
    return tune(params, layout, lambda: tracker)


def versions(layout: Layout, name: str) -> list[str]:
    return sorted(folder.name for folder in (layout.scratch / name).iterdir())


# Features.


def test_features_are_those_of_each_text_alone_in_the_order_of_the_rows(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    found = PretrainedRows.of(params, layout)
    files = encoders.read(layout.encoders, "bert")
    encoder, folder = pretrained.load(files.folder), subwords_of(params, layout, files)
    for split in rows.SPLITS:
        texts, known = EncodedTexts.open(folder / f"{split}.arrow"), EncodedTexts.open(layout.encoded / f"{split}.arrow")
        assert list(texts.ids) == list(known.ids)
        np.testing.assert_array_equal(texts.labels, known.labels)
        assert texts.lengths.max() == 16
        features = getattr(found, split)
        assert (features.shape, features.dtype) == ((len(texts), len(pretrained.layers_of(encoder)) + 2, WIDTH), np.float32)
        for row in (0, 7, len(texts) - 1):
            with torch.inference_mode():
                alone = pretrained.features(encoder, torch.from_numpy(texts[row].astype(np.int64))[None])[0]
            np.testing.assert_allclose(features[row], alone.numpy(), atol=1e-5)
            for pooling in POOLINGS:
                expected = pretrained.select(features, pooling)[row]
                np.testing.assert_array_equal(found.pooled(split, pooling)[row].numpy(), expected)


def test_features_are_computed_once(frozen: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch) -> None:
    params, layout = frozen
    first = PretrainedRows.of(params, layout)
    no_encoder(monkeypatch)
    again = PretrainedRows.of(params.override({"pretrained.pooling": "max", "seed": 7}), layout)
    for split in rows.SPLITS:
        np.testing.assert_array_equal(getattr(again, split), getattr(first, split))
    with pytest.raises(AssertionError, match="is loaded"):
        PretrainedRows.of(params.override({"pretrained.max_length": 15}), layout)


def test_features_in_bfloat16_differ_by_rounding_and_are_kept_apart(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    exact, rounded = (
        PretrainedRows.of(params.override({"training.precision": precision}), layout).train
        for precision in ("float32", "bfloat16")
    )
    assert len(versions(layout, "features")) == 2
    assert rounded.dtype == np.float32
    error = np.abs(rounded - exact).mean() / np.abs(exact).mean()
    assert 1e-4 < error < 0.02


@pytest.mark.parametrize("batches", [1, 3])
def test_a_computation_that_is_interrupted_continues_and_gives_the_same_bytes(
    frozen: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    params, layout = frozen
    monkeypatch.setattr(rows, "TOKENS_PER_BATCH", 512)
    PretrainedRows.of(params, layout)
    before = sha256_of_folder(layout.scratch / "features")
    shutil.rmtree(layout.scratch / "features")

    calls, compute = [], pretrained.features

    def interrupted(encoder: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        calls.append(len(tokens))
        if len(calls) == batches + 1:
            raise KeyboardInterrupt
        return compute(encoder, tokens)

    monkeypatch.setattr(rows, "SAVE_EVERY", -1.0)
    monkeypatch.setattr(pretrained, "features", interrupted)
    with pytest.raises(KeyboardInterrupt):
        PretrainedRows.of(params, layout)
    (folder,) = (layout.scratch / "features").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["train.json", "train.npy.partial"]
    done, calls[:] = sum(calls[:batches]), []
    monkeypatch.setattr(
        pretrained, "features", lambda encoder, tokens: calls.append(len(tokens)) or compute(encoder, tokens)
    )
    found = PretrainedRows.of(params, layout)
    assert sum(calls) == len(found.train) + len(found.validation) - done
    assert sha256_of_folder(layout.scratch / "features") == before
    assert sorted(path.name for path in folder.iterdir()) == ["train.npy", "validation.npy"]


def test_a_full_disk_is_an_error_before_a_feature_is_computed(
    frozen: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, layout = frozen
    wanted: list[int] = []

    def full(file: int, offset: int, length: int) -> None:
        wanted.append(length)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as refusal:
        PretrainedRows.of(params, layout)
    (folder,) = (layout.scratch / "features").iterdir()
    assert refusal.value.errno == errno.ENOSPC  # one line, as for every full disk
    assert refusal.value.filename == str(folder / "train.npy.partial")
    assert list(folder.iterdir()) == []
    rows_of_split = len(EncodedTexts.open(layout.encoded / "train.arrow"))
    assert wanted[0] > rows_of_split * len(POOLINGS) * WIDTH * 4
    monkeypatch.undo()
    PretrainedRows.of(params, layout)


def test_other_texts_another_encoder_and_other_settings_have_features_of_their_own(
    frozen: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, layout = frozen
    monkeypatch.setattr(rows, "KEPT", 100)

    def features(**changes: Any) -> bytes:
        found = PretrainedRows.of(params.override({name.replace("__", "."): v for name, v in changes.items()}), layout)
        return found.train.tobytes() + found.validation.tobytes()

    found = [features(), features(pretrained__path="roberta"), features(pretrained__max_length=12)]
    tokenizer = (layout.encoders / "bert" / "tokenizer.json").read_bytes()
    shutil.rmtree(layout.encoders / "bert")
    write_encoder(layout.encoders / "bert", "bert", seed=1)
    (layout.encoders / "bert" / "tokenizer.json").write_bytes(tokenizer)
    found.append(features())
    table = read_table(layout.prepared / "validation.parquet", made_by="prepare")
    changed = table.to_pandas()
    changed.loc[0, "text"] = "another text altogether"
    changed.to_parquet(layout.prepared / "validation.parquet")
    found.append(features())
    assert len(set(found)) == len(found) == len(versions(layout, "features"))
    assert len(versions(layout, "subwords")) == 4  # the second bert has the same sub-words


def test_the_latest_versions_are_kept(frozen: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch) -> None:
    params, layout = frozen
    seen = []
    for length in range(8, 8 + rows.KEPT + 2):
        PretrainedRows.of(params.override({"pretrained.max_length": length}), layout)
        seen += [name for name in versions(layout, "features") if name not in seen]
    assert len(seen) == rows.KEPT + 2
    assert set(versions(layout, "features")) == set(seen[-rows.KEPT :])
    assert len(versions(layout, "subwords")) == rows.KEPT
    no_encoder(monkeypatch)
    PretrainedRows.of(params.override({"pretrained.max_length": 8 + 2}), layout)


def test_an_encoder_with_wrong_weights_is_one_line(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    shutil.copyfile(layout.encoders / "roberta" / "model.safetensors", layout.encoders / "bert" / "model.safetensors")
    with pytest.raises(HeadwayError) as refusal:
        PretrainedRows.of(params, layout)
    assert "\n" not in str(refusal.value)
    assert str(layout.encoders / "bert") in str(refusal.value)


# The stage train, and its package in the stage evaluate.


def trained_with(params: Params, layout: Layout, found: dict[str, Any] | None = None) -> dict[str, Any]:
    layout.study.mkdir(parents=True, exist_ok=True)
    (layout.study / "best_params.json").write_text(json.dumps(found or {}))
    return train(params, layout, Tracker(params, layout))


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "static"])
def test_a_version_with_a_pretrained_encoder_is_trained_and_scored(frozen: tuple[Params, Layout], family: str) -> None:
    params, layout = frozen
    params = params.override({"pretrained.path": family})
    report = trained_with(params, layout, {"pretrained.pooling": "max"})
    files = encoders.read(layout.encoders, family)
    assert report["encoder"] == {
        "name": family,
        "family": "model2vec" if family == "static" else family,
        "source": "",
        "revision": "",
        "licence": "",
        "sha256": files.sha256,
        "mode": "frozen",
        "pooling": "max",
        "max_length": 16,
    }
    assert report == json.loads(layout.metrics("training").read_text())
    assert report["attention"]["inverse_regularisation"] in params.pretrained.inverse_regularisation
    history = json.loads((layout.training / "history.json").read_text())
    kept = min(history, key=lambda entry: entry["validation_loss_calibrated"])
    assert report["attention"]["inverse_regularisation"] == kept["inverse_regularisation"]
    assert [entry["step"] for entry in history] == [*range(1, len(history) + 1)]

    model = ModelPackage.load(layout.candidate)
    weights = model.classifier.weights.tolist()
    assert [report["ngrams"]["weight"], report["attention"]["weight"]] == pytest.approx(weights, abs=1e-6)
    assert max(weights) > 0
    validation = read_table(layout.prepared / "validation.parquet", made_by="prepare").to_pandas()
    probabilities = model.predict_proba(validation["text"].tolist())
    labels = validation["label_id"].to_numpy()
    assert report["validation_accuracy"] == pytest.approx((probabilities.argmax(axis=1) == labels).mean(), abs=1e-6)
    nll = -np.log(probabilities[np.arange(len(labels)), labels]).mean()
    assert report["validation_nll"]["after"] == pytest.approx(nll, abs=1e-4)
    assert evaluate(params, layout)["rows"] == len(read_table(layout.prepared / "test.parquet", made_by="prepare"))


def test_the_linear_layer_is_logistic_regression_on_the_features(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    report = trained_with(params, layout)
    head = ModelPackage.load(layout.candidate).classifier.attention.output
    features = PretrainedRows.of(params, layout)
    labels = [EncodedTexts.open(layout.encoded / f"{split}.arrow").labels.astype(np.int64) for split in rows.SPLITS]
    pooled = [features.pooled(split, "layers") for split in rows.SPLITS]
    strength = report["attention"]["inverse_regularisation"]
    expected = pretrained.fit_head((pooled[0], labels[0]), (pooled[1], labels[1]), 2, [strength])
    with torch.no_grad():
        np.testing.assert_allclose(head(pooled[1]).softmax(1), expected(pooled[1]).softmax(1), atol=0.02)


def test_the_same_training_leaves_the_same_bytes(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    outs = []
    for _ in range(2):
        shutil.rmtree(layout.scratch, ignore_errors=True)
        trained_with(params, layout)
        outs.append([sha256_of_folder(folder) for folder in (layout.candidate, layout.training)])
        outs[-1].append(layout.metrics("training").read_bytes())
    assert outs[0] == outs[1]


def test_without_n_grams_the_encoder_is_the_whole_model(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    params = params.override({"ngrams.max_order": 0})
    report = trained_with(params, layout)
    assert "ngrams" not in report
    model = ModelPackage.load(layout.candidate)
    assert model.classifier.ngrams is None
    texts = ["a charming film", "dull"]
    np.testing.assert_allclose(model.predict_proba(texts).sum(axis=1), 1, atol=1e-6)
    assert evaluate(params, layout)["rows"] > 0


def test_mlflow_has_the_encoder_and_each_fit(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    trained_with(params, layout)
    tracker = Tracker(params, layout)
    run = tracker.find(kind="training")
    assert run is not None
    assert run.data.params["encoder.name"] == run.data.params["pretrained.path"] == "bert"
    assert (
        run.data.params["encoder.sha256.model.safetensors"]
        == encoders.read(layout.encoders, "bert").sha256["model.safetensors"]
    )
    history = json.loads((layout.training / "history.json").read_text())
    logged = tracker.client.get_metric_history(run.info.run_id, "validation_loss_calibrated")
    assert [metric.value for metric in logged] == [entry["validation_loss_calibrated"] for entry in history]


# The stage tune.


def test_the_search_over_the_pooling_encodes_nothing_again_and_neither_does_the_training(
    frozen: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, layout = frozen
    params = params.override(QUICK)
    PretrainedRows.of(params, layout)
    with monkeypatch.context() as patch:
        no_encoder(patch)
        winner = search(params, layout)
    trials = trials_of(layout)
    assert sorted(trial.point["pretrained.pooling"] for trial in trials) == ["auto", "max", "mean"]
    assert {trial.state for trial in trials} == {"complete"}
    assert len({trial.curve[0]["validation_loss"] for trial in trials}) == 3
    loads = []
    load = pretrained.load
    monkeypatch.setattr(pretrained, "load", lambda *a, **more: loads.append(1) or load(*a, **more))
    report = train(params, layout, Tracker(params, layout))
    chosen = (winner.point if winner.number else {}).get("pretrained.pooling", "auto")
    assert report["encoder"]["pooling"] == ("layers" if chosen == "auto" else chosen)
    assert len(loads) == 1  # for the package


def test_workers_with_fewer_threads_have_the_features_of_the_training(
    frozen: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, layout = frozen
    params = params.override({**QUICK, "training.threads": 2, "tune.workers": 2, "tune.executor": "processes"})
    search(params, layout)
    no_encoder(monkeypatch)
    PretrainedRows.of(params, layout)


def test_the_same_search_leaves_the_same_bytes(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    outs = []
    for _ in range(2):
        shutil.rmtree(layout.scratch, ignore_errors=True)
        search(params.override(QUICK), layout)
        outs.append((sha256_of_folder(layout.study), layout.metrics("search").read_bytes()))
    assert outs[0] == outs[1]


def test_a_trial_is_scored_as_the_joint_model_on_its_share_of_the_rows(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    shared = with_pretrained(load_shared(params.override(QUICK), layout), layout, 1)
    assert shared.data.features is not None
    assert len(shared.data.features.train) == len(shared.data.train) < sum(shared.class_rows)
    outcome = run_trial(shared, Task(0, {}))
    assert outcome.state == "complete", outcome.reason
    (entry,) = outcome.curve
    assert outcome.values == (entry["joint_validation_accuracy"],)
    assert entry["joint_validation_loss"] <= entry["validation_loss"] + 0.05
    worse = run_trial(shared, Task(0, {"training.class_weights": "balanced", "pretrained.pooling": "first"}))
    assert worse.curve[0]["validation_loss"] != entry["validation_loss"]


def test_a_search_of_both_encoders_runs_trials_of_both_with_their_own_knobs(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    space = {
        "model.encoder": {"type": "categorical", "choices": ["scratch", "pretrained"]},
        "training.learning_rate": {"type": "float", "low": 0.001, "high": 0.03, "log": True},
        **POOLING,
    }
    params = params.override({**QUICK, "tune.trials": 8, "tune.space": space, "tune.pruning": False})
    search(params, layout)
    trials = trials_of(layout)
    assert trials[0].point == {"model.encoder": "pretrained", "pretrained.pooling": "auto"}
    assert {trial.state for trial in trials} == {"complete"}
    assert {trial.point["model.encoder"] for trial in trials} == {"scratch", "pretrained"}
    for trial in trials:
        own = "pretrained.pooling" if trial.point["model.encoder"] == "pretrained" else "training.learning_rate"
        assert trial.point.keys() == {"model.encoder", own}
    # A winner of either kind is trained.
    for number in (0, next(trial.number for trial in trials if trial.point["model.encoder"] == "scratch")):
        report = trained_with(params, layout, trials[number].point)
        assert ("encoder" in report) == (number == 0)
        assert evaluate(params, layout)["rows"] > 0


def test_a_search_of_another_tokenizer_keeps_the_features_unless_it_removes_markup(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    space = {"tokenizer.strip_html": {"type": "categorical", "choices": [True, False]}}
    size = {"tokenizer.vocabulary_size": {"type": "categorical", "choices": [2000, 400]}}
    search(params.override({**QUICK, "tune.trials": 4, "tune.space": {**space, **size}}), layout)
    trials = trials_of(layout)
    assert {trial.state for trial in trials} == {"complete"}
    assert len(trials) == 4
    assert len(versions(layout, "subwords")) == 2


@pytest.mark.parametrize("second", ["size", "latency"])
def test_the_encoder_counts_in_the_second_objective(frozen: tuple[Params, Layout], second: str) -> None:
    params, layout = frozen
    params = params.override({**QUICK, "tune.second_objective": second})
    cost = encoder_cost(params, layout)
    search(params, layout)
    costs = {trial.second for trial in trials_of(layout)}
    assert all(isinstance(found, float) for found in costs)
    if second == "size":
        trained_with(params, layout)
        model = ModelPackage.load(layout.candidate).classifier
        size = SECOND_OBJECTIVES["size"]
        assert cost == size(model.attention, None)  # type: ignore[arg-type]
        (found,) = costs
        assert found > cost > 0.05
    else:
        assert cost > 0
        assert min(costs) > 0
    assert encoder_cost(params.override({"tune.second_objective": "none"}), layout) == 0


def test_the_encoder_and_its_settings_change_the_study(frozen: tuple[Params, Layout]) -> None:
    params, layout = frozen
    params = params.override(QUICK)
    key = study_key(params, layout)
    for change in ({"pretrained.path": "roberta"}, {"pretrained.max_length": 12}, {"model.encoder": "scratch"}):
        assert study_key(params.override(change), layout) != key, change
    scratch = params.override({"model.encoder": "scratch"})
    other = scratch.override({"pretrained.path": "roberta", "pretrained.max_length": 12})
    assert study_key(scratch, layout) == study_key(other, layout)
    shutil.rmtree(layout.encoders / "bert")
    write_encoder(layout.encoders / "bert", "bert", seed=1)
    assert study_key(params, layout) != key
