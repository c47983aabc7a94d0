"""An encoder that learns, by its weights or by adapters, through the stages tune and train, in this process and on Ray."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway import encoders
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import Params
from headway.search.encoder_copy import EncoderCopy
from headway.search.found import trials_of
from headway.search.objective import run_trial, schedule_of_defaults
from headway.search.trial import Task
from headway.serving.package import ModelPackage
from headway.stages.evaluate import evaluate
from headway.stages.train import train
from headway.stages.tune import tune
from headway.stages.tune.rows import load_shared, with_pretrained
from headway.stages.tune.trials import defaults_of
from headway.tracking import Tracker

FINE_TUNED: dict[str, Any] = {
    "model.encoder": "pretrained",
    "pretrained.path": "bert",
    "pretrained.mode": "lora",
    "pretrained.max_length": 16,
    "training.max_epochs": 1,
    "training.tokens_per_batch": 1024,
    "training.threads": 1,
    "tune.trials": 2,
    "tune.max_epochs": 1,
    "tune.train_share": 0.3,
    "tune.space": {"pretrained.lora_rank": {"type": "categorical", "choices": [8, 2]}},
}


@pytest.fixture
def learning(tunable: tuple[Params, Layout], tiny_encoders: Path) -> tuple[Params, Layout]:
    params, layout = tunable
    shutil.copytree(tiny_encoders / "bert", layout.encoders / "bert")
    return params.override(FINE_TUNED), layout


@pytest.mark.parametrize("mode", ["fine_tune", "lora"])
def test_a_version_with_an_encoder_that_learned_is_trained_and_scored(learning: tuple[Params, Layout], mode: str) -> None:
    params, layout = learning
    params = params.override({"pretrained.mode": mode})
    layout.study.mkdir(parents=True, exist_ok=True)
    (layout.study / "best_params.json").write_text("{}")
    report = train(params, layout, Tracker(params, layout))
    assert report["encoder"]["mode"] == mode
    assert report["schedule"]["tokens_per_batch"] == 1024
    model = ModelPackage.load(layout.candidate)
    assert not [name for name in model.classifier.state_dict() if "lora" in name]
    np.testing.assert_allclose(model.predict_proba(["a charming film", "dull"]).sum(axis=1), 1, atol=1e-6)
    assert json.loads(layout.metrics("training").read_text()) == report
    assert evaluate(params, layout)["rows"] > 0


@pytest.mark.slow
def test_trials_on_ray_have_the_encoder_sent_and_find_what_this_process_finds(
    learning: tuple[Params, Layout], monkeypatch: pytest.MonkeyPatch
) -> None:
    params, layout = learning
    tune(params, layout, lambda: Tracker(params, layout))
    here = [(trial.point, trial.state, trial.score, trial.curve) for trial in trials_of(layout)]
    assert [(point, state) for point, state, *_ in here] == [({"pretrained.lora_rank": rank}, "complete") for rank in (8, 2)]
    shutil.rmtree(layout.scratch / "study")
    sent = EncoderCopy.of
    hidden = layout.encoders.with_name("elsewhere")

    def send(files: encoders.EncoderFiles) -> EncoderCopy:
        """Copy the files, and hide them from the workers."""
        found = sent(files)
        layout.encoders.rename(hidden)
        return found

    monkeypatch.setattr(EncoderCopy, "of", send)
    on_ray = params.override({"tune.executor": "ray"})
    tune(on_ray, layout, lambda: Tracker(on_ray, layout))
    assert hidden.is_dir()
    assert [(trial.point, trial.state, trial.score, trial.curve) for trial in trials_of(layout)] == here


def test_an_encoder_that_changed_on_its_way_fails_the_trial(learning: tuple[Params, Layout]) -> None:
    params, layout = learning
    shared = with_pretrained(load_shared(params.override({"tune.executor": "ray"}), layout), layout, 1)
    copy = shared.encoder
    assert isinstance(copy, EncoderCopy)
    with copy.folder() as folder:
        assert encoders.folder.check(folder, None).fingerprint == encoders.read(layout.encoders, "bert").fingerprint
    assert not folder.exists()
    copy.files["config.json"] = np.append(copy.files["config.json"], np.uint8(ord(" ")))
    with pytest.raises(HeadwayError, match="the encoder's files changed"), copy.folder():
        pass
    assert run_trial(shared, Task(0, {})).reason.startswith("the encoder's files changed")


def test_trial_0_has_the_batches_that_fine_tuning_derives(learning: tuple[Params, Layout]) -> None:
    params, layout = learning
    space = {"training.tokens_per_batch": {"type": "int", "low": 512, "high": 4096}}
    params = params.override({"training.tokens_per_batch": "auto", "tune.max_epochs": "auto", "tune.space": space})
    shared = load_shared(params, layout)
    fine_tuned, scratch = (
        schedule_of_defaults(shared),
        schedule_of_defaults(load_shared(params.override({"model.encoder": "scratch"}), layout)),
    )
    assert fine_tuned.steps != scratch.steps
    assert defaults_of(params, shared) == {"training.tokens_per_batch": fine_tuned.tokens_per_batch}


def test_the_size_in_the_second_objective_has_no_adapters(learning: tuple[Params, Layout]) -> None:
    params, layout = learning
    sizes = set()
    for mode in ("fine_tune", "lora"):
        changes = {"pretrained.mode": mode, "tune.second_objective": "size", "tune.space": {}}
        shared = with_pretrained(load_shared(params.override(changes), layout), layout, 1)
        sizes.add(run_trial(shared, Task(0, {})).values[1])
    assert len(sizes) == 1
