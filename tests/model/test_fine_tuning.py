"""Fine-tuning tiny pretrained encoders with the real Trainer: rates by layer, memory savers, and exact resuming."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from headway import params as parameters
from headway.data.batching.datamodule import TextDataModule
from headway.data.tokenization import subwords
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError
from headway.model import fine_tuning
from headway.model.encoder import SequenceDropout
from headway.model.fine_tuning import NEW_FACTOR, WEIGHT_DECAY, FineTuningModule, parameter_groups
from headway.model.pretrained import PretrainedClassifier, load
from headway.model.training import fit
from headway.params import Params
from tests.real_texts import english
from tests.tiny_encoders import FAMILIES

SMALL = {
    "tune.space": {},
    "model.encoder": "pretrained",
    "pretrained.path": "bert",
    "pretrained.mode": "fine_tune",
    "pretrained.learning_rate": 0.003,
    "pretrained.max_length": 32,
    "training.max_epochs": 2,
    "training.tokens_per_batch": 512,
    "training.threads": 1,
}


class Interrupted(Exception):
    """An interruption of a training from outside."""


@pytest.fixture(scope="module")
def knobs(repository: Path) -> Params:
    return parameters.load(repository / "params.yaml").override(SMALL)


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, tiny_encoders: Path) -> Path:
    return tiny_encoders / str(request.param)


def texts(folder: Path, count: int, first: int = 0) -> EncodedTexts:
    """Some sentences as the sub-words of an encoder."""
    sentences, labels = english(400)
    chosen = np.arange(first, 400, 400 // count)[:count]
    encode = subwords.SubwordEncoder(subwords.load(folder / "tokenizer.json"), 32, strip_html=True)
    tokens = encode([sentences[index] for index in chosen])
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in tokens])]).astype(np.int64)
    return EncodedTexts(np.concatenate(tokens), offsets, np.array(labels, dtype=np.int32)[chosen], ())


def new(knobs: Params, folder: Path) -> tuple[FineTuningModule, TextDataModule]:
    """A fresh module and the data to train it on."""
    data = TextDataModule(texts(folder, 100), texts(folder, 40, first=1), 32, knobs.seed)
    class_rows = np.bincount(data.train.texts.labels, minlength=2).tolist()
    return FineTuningModule(folder, knobs, class_rows, knobs.seed, data), data


def trained(
    knobs: Params, folder: Path, checkpoints: Path | None = None, report: Callable[[dict[str, float]], None] | None = None
) -> FineTuningModule:
    module, data = new(knobs, folder)
    return fit(module, data, report=report, checkpoints=checkpoints)


def assert_same(one: FineTuningModule, other: FineTuningModule) -> None:
    """Assert bit-identical weights and history."""
    assert one.history == other.history
    there = other.classifier.state_dict()
    for name, weight in one.classifier.state_dict().items():
        assert torch.equal(weight, there[name]), name


def test_every_parameter_learns_and_the_training_loss_falls(knobs: Params, folder: Path) -> None:
    before = PretrainedClassifier(load(folder), "mean", 32, 2).state_dict()
    module = trained(knobs.override({"training.max_epochs": 12}), folder)
    assert module.history[-1]["train_loss"] < module.history[0]["train_loss"] - 0.02
    after = module.classifier.state_dict()
    learned = {name for name, parameter in module.classifier.named_parameters() if parameter.requires_grad}
    unmoved = sorted(name for name in learned if torch.equal(before[name], after[name]))
    # A text has no second segment, and a bias of the keys changes no attention weight.
    assert [name for name in unmoved if "token_type" not in name and "key.bias" not in name] == []


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_rates_fall_from_the_head_to_the_embeddings_and_the_lowest_layers_may_stay(folder: Path, layers: int) -> None:
    classifier = PretrainedClassifier(load(folder), "mean", 32, 2)
    found = parameter_groups(classifier, rate=0.1, layer_decay=0.5, layers=layers)
    rates = {id(parameter): (group.rate, group.decay) for group in found for parameter in group.parameters}
    expected = {"output": 0.1 * NEW_FACTOR, "1": 0.1, "0": 0.05, "embeddings": 0.025}
    kept = {0: {"output", "1", "0", "embeddings"}, 1: {"output", "1"}, 2: {"output", "1", "0"}}[layers]
    counted = dict.fromkeys(expected, 0)
    for name, parameter in classifier.named_parameters():
        layer = fine_tuning.LAYER.search(name)
        place = layer[1] if layer else "output" if name.startswith("output.") else "embeddings"
        if "final_norm" in name:
            place = "1"  # it follows the last layer
        counted[place] += 1
        assert parameter.requires_grad == (place in kept), name
        if place in kept:
            decay = WEIGHT_DECAY if parameter.ndim > 1 else 0.0
            assert rates[id(parameter)] == (pytest.approx(expected[place]), decay), name
    assert all(counted.values())


def test_dropout_has_one_mask_for_a_text_and_attention_weights_none(knobs: Params, folder: Path) -> None:
    module, _ = new(knobs, folder)
    dropouts = [one for one in module.classifier.modules() if isinstance(one, nn.Dropout)]
    assert dropouts
    assert all(isinstance(one, SequenceDropout) and one.training for one in dropouts)
    config: Any = module.classifier.encoder.config
    names = ("attention_dropout", "attention_probs_dropout_prob")
    assert {getattr(config, name) for name in names if hasattr(config, name)} == {0.0}


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(knobs: Params, folder: Path, weights: str) -> None:
    def gradients(parts: int) -> dict[str, torch.Tensor]:
        chosen = knobs.override({"pretrained.accumulation": parts, "training.class_weights": weights})
        module, data = new(chosen, folder)
        if module.class_weights is not None:
            module.class_weights.copy_(torch.tensor([0.2, 3.0]))
        module.eval()  # without dropout, which draws a mask for each part
        module.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign, assignment]
        tokens, labels = next(iter(data.val_dataloader()))
        assert len(labels) > 2 * parts
        module._backward(tokens, labels)
        return {name: one.grad for name, one in module.classifier.named_parameters() if one.grad is not None}

    whole, parted = gradients(1), gradients(3)
    assert whole.keys() == parted.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parted[name], gradient, rtol=1e-4, atol=1e-6)


def test_checkpointed_activations_change_nothing_but_memory(knobs: Params, tiny_encoders: Path) -> None:
    folder = tiny_encoders / "bert"
    plain = trained(knobs, folder)
    saving = trained(knobs.override({"pretrained.gradient_checkpointing": True}), folder)
    assert saving.classifier.encoder.is_activation_checkpointing  # type: ignore[truthy-function]
    for one, other in zip(plain.history, saving.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], abs=1e-4)


@pytest.mark.parametrize(("mode", "number"), [("fine_tune", 0), ("fine_tune", 2), ("lora", 2)])
def test_an_interrupted_fine_tuning_resumes_bit_identically(
    knobs: Params, tiny_encoders: Path, tmp_path: Path, mode: str, number: int
) -> None:
    knobs = knobs.override({"pretrained.mode": mode})
    folder = tiny_encoders / "bert"
    whole = trained(knobs, folder, tmp_path / "whole")
    steps = [entry["step"] for entry in whole.history]
    assert len(steps) >= 4

    def interrupt(entry: dict[str, float]) -> None:
        if entry["step"] == steps[number]:
            raise Interrupted

    with pytest.raises(Interrupted):
        trained(knobs, folder, tmp_path / "parts", interrupt)
    again: list[float] = []
    resumed = trained(knobs, folder, tmp_path / "parts", lambda entry: again.append(entry["step"]))
    assert again == steps[number:]
    assert_same(resumed, whole)


def test_a_rate_that_diverges_is_one_line_that_names_its_knob(knobs: Params, tiny_encoders: Path) -> None:
    with pytest.raises(HeadwayError, match=r"training diverged: .*; lower pretrained.learning_rate \(now 1e\+20\)"):
        trained(knobs.override({"pretrained.learning_rate": 1e20}), tiny_encoders / "bert")


def test_more_layers_than_there_are_is_one_line(folder: Path) -> None:
    with pytest.raises(HeadwayError, match=r"pretrained.layers: 3 of 2 layers; set it to 2 or less"):
        parameter_groups(PretrainedClassifier(load(folder), "mean", 32, 2), rate=0.1, layer_decay=0.5, layers=3)


class Family:
    """A classifier with the parameters' names of a family."""

    def __init__(self, family: str) -> None:
        import transformers

        sizes = {
            "hidden_size": 16,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "intermediate_size": 8,
            "vocab_size": 50,
        }
        encoder = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(family, **sizes))
        encoder.pooler = None
        self.classifier = PretrainedClassifier(encoder, "mean", 32, 2)


def test_layers_that_share_their_weights_are_one_layer() -> None:
    classifier = Family("albert").classifier
    groups = parameter_groups(classifier, rate=0.1, layer_decay=0.5, layers=1)
    learning = {name for name, one in classifier.named_parameters() if one.requires_grad}
    assert any("albert_layers" in name for name in learning)
    assert not any("embeddings" in name for name in learning)
    assert {round(group.rate, 6) for group in groups} == {0.1, 1.0}


def test_dropout_of_relative_positions_stays_as_it_is() -> None:
    encoder = Family("deberta-v2").classifier.encoder
    fine_tuning.replace_dropout(encoder)
    kept = {name.rpartition(".")[2] for name, one in encoder.named_modules() if type(one) is nn.Dropout}
    assert kept <= {"pos_dropout"}


def test_a_family_without_checkpointing_is_one_line(
    knobs: Params, tiny_encoders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    monkeypatch.setattr(transformers.BertModel, "supports_gradient_checkpointing", False)
    with pytest.raises(HeadwayError, match=r"pretrained\.gradient_checkpointing: bert does not support it"):
        new(knobs.override({"pretrained.gradient_checkpointing": True}), tiny_encoders / "bert")
