"""Low-rank adapters of tiny pretrained encoders: which weights learn, what is saved, and what is left after the training."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
import torch

from headway import params as parameters
from headway.errors import NO_PEFT, HeadwayError
from headway.model import lora
from headway.model.fine_tuning import LAYER, NEW_FACTOR, FineTuningModule, parameter_groups
from headway.model.pretrained import PretrainedClassifier, load
from headway.params import Params
from tests.model.test_fine_tuning import SMALL, new, trained
from tests.tiny_encoders import FAMILIES


@pytest.fixture(scope="module")
def knobs(repository: Path) -> Params:
    return parameters.load(repository / "params.yaml").override(
        {**SMALL, "pretrained.mode": "lora", "pretrained.lora_rank": 4}
    )


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, tiny_encoders: Path) -> Path:
    return tiny_encoders / str(request.param)


def learning(module: FineTuningModule) -> set[str]:
    return {name for name, one in module.classifier.named_parameters() if one.requires_grad}


def test_each_linear_layer_has_an_adapter_and_nothing_else_learns_but_the_head(knobs: Params, folder: Path) -> None:
    plain = PretrainedClassifier(load(folder), "mean", 32, 2)
    linear = [
        name
        for name, one in plain.named_modules()
        if isinstance(one, torch.nn.Linear) and name.startswith("encoder.") and "layer" in name
    ]
    module, _ = new(knobs, folder)
    expected = {f"{name}.lora_{part}.default.weight" for name in linear for part in "AB"}
    assert len(linear) >= 2 * 4
    assert learning(module) == expected | {"output.weight", "output.bias"}
    shapes = {min(one.shape) for name, one in module.classifier.named_parameters() if ".lora_" in name}
    assert shapes == {4}


def test_after_the_training_the_encoder_has_its_own_layers_with_other_weights(knobs: Params, folder: Path) -> None:
    plain = PretrainedClassifier(load(folder), "mean", 32, 2).state_dict()
    module = trained(knobs.override({"training.max_epochs": 6}), folder)
    assert module.history[-1]["train_loss"] < module.history[0]["train_loss"] - 0.02
    tokens = torch.randint(1, 30, (3, 12))
    module.eval()
    with torch.inference_mode():
        before = module.classifier(tokens)
        after = module.trained()(tokens)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    found = module.classifier.state_dict()
    assert {name: one.shape for name, one in found.items()} == {name: one.shape for name, one in plain.items()}
    changed = {name for name, one in found.items() if not torch.equal(one, plain[name])}
    assert {name for name in changed if LAYER.search(name)} == {
        name for name in plain if LAYER.search(name) and plain[name].ndim > 1
    }
    assert not any("embedding" in name for name in changed)


def test_adapters_learn_at_the_rate_of_the_head_falling_from_layer_to_layer(knobs: Params, folder: Path) -> None:
    classifier = PretrainedClassifier(load(folder), "mean", 32, 2)
    lora.add(classifier, LAYER, 2)
    classifier.output.requires_grad_(True)
    groups = parameter_groups(classifier, rate=0.1, layer_decay=0.5, layers=0)
    rates = {id(one): group.rate for group in groups for one in group.parameters}
    found = {name: rates[id(one)] for name, one in classifier.named_parameters() if one.requires_grad}
    for name, rate in found.items():
        layer = LAYER.search(name)
        assert rate == pytest.approx(0.1 * NEW_FACTOR * (0.5 if layer and layer[1] == "0" else 1)), name
    assert set(rates.values()) == {0.5, 1.0}


def test_only_the_last_layers_learn_if_so_many_are_asked_for(knobs: Params, folder: Path) -> None:
    module, _ = new(knobs.override({"pretrained.layers": 1}), folder)
    layers = {found[1] for name in learning(module) if (found := LAYER.search(name))}
    assert layers == {"1"}


def test_a_checkpoint_has_only_what_learns(knobs: Params, tiny_encoders: Path, tmp_path: Path) -> None:
    module = trained(knobs, tiny_encoders / "bert", tmp_path)
    saved: dict[str, Any] = torch.load(tmp_path / "best.ckpt", weights_only=True)
    names = {name.removeprefix("classifier.") for name in saved["state_dict"] if name.startswith("classifier.")}
    assert names == learning(module)
    with pytest.raises(RuntimeError, match=r"Missing key.*output\.weight"):
        module.load_state_dict({name: one for name, one in saved["state_dict"].items() if "output" not in name})


def test_checkpointed_activations_reach_every_adapter(knobs: Params, tiny_encoders: Path) -> None:
    folder = tiny_encoders / "bert"
    plain = trained(knobs, folder)
    saving = trained(knobs.override({"pretrained.gradient_checkpointing": True}), folder)
    for one, other in zip(plain.history, saving.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-4)


def test_a_missing_library_is_one_line(knobs: Params, tiny_encoders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "peft":
            raise ImportError(name)
        return there(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(HeadwayError) as refusal:
        new(knobs, tiny_encoders / "bert")
    assert str(refusal.value) == NO_PEFT
