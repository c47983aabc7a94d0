"""Fine-tuning of a pretrained encoder: all its layers, or the last ones, learn together with the linear layer on top.

Either the weights of the layers learn, or low-rank adapters of them (:mod:`headway.model.lora`).

Layers near the input change less than those near the output (Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text
Classification"): with L layers, a decay of γ and a peak learning rate of η, the rate is

    head: NEW_FACTOR · η        layer l of 1 … L: γ^(L - l) · η        embeddings: γ^L · η

Adapters start from zero, as the head does, and learn at NEW_FACTOR times the rate of their layer.

The optimiser is AdamW (Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization"), which decays weight matrices alone.
The rates rise and fall as in :mod:`headway.model.lightning`. Dropout uses one mask for all positions of a text, which costs a CPU
far less than a mask for each; attention weights are not dropped, because PyTorch's fast attention on a CPU cannot.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headway.errors import HeadwayError
from headway.model import lora, pretrained
from headway.model.encoder import SequenceDropout
from headway.model.lightning import TrainingModule
from headway.model.pretrained import PretrainedClassifier
from headway.model.schedule import Budget, Schedule, TrainingData, resolve
from headway.params import Params

#: Learning rate of what starts from zero, the linear layer and the adapters, as a multiple of that of an encoder's weights.
NEW_FACTOR = 10.0
WEIGHT_DECAY = 0.01
#: Limits of a derived number of steps, and of derived tokens per batch: an encoder that knows the language needs few steps.
BUDGET = Budget(min_epochs=2, max_epochs=8, min_steps=200, steps_per_class=10)
TRIAL = Budget(min_epochs=1, max_epochs=4, min_steps=100, steps_per_class=3)
TOKENS_PER_BATCH = (1024, 2048)
#: Dropout that is not of a text's positions: DeBERTa's, of relative positions.
OF_NO_TEXT = {"pos_dropout"}
#: The number of a layer in the name of one of its parameters.
LAYER = re.compile(r"\.(?:layers?|albert_layers|layer_groups)\.(\d+)\.")


def schedule(params: Params, data: TrainingData, trial: bool = False) -> Schedule:
    """The schedule of a fine-tuning, or of a trial of one, on these texts; see :mod:`headway.model.schedule`."""
    training = params.training
    if trial:
        return resolve(training, data, params.tune.max_epochs, TRIAL, devices=1, tokens_per_batch=TOKENS_PER_BATCH)
    return resolve(training, data, budget=BUDGET, tokens_per_batch=TOKENS_PER_BATCH)


class FineTuningModule(TrainingModule):
    """Trains a :class:`~headway.model.pretrained.PretrainedClassifier` from an encoder's folder.

    Args:
        folder: of the encoder, which was checked.
        class_rows: training rows of each class.
        seed: of what is random at first, too.
        data: the texts to train on, from which the schedule follows.
        trial: whether this is a trial of the search, whose schedule is shorter.
    """

    classifier: PretrainedClassifier
    memory_knobs = "pretrained.max_length, raise pretrained.accumulation or set pretrained.gradient_checkpointing"

    def __init__(
        self, folder: Path, params: Params, class_rows: Sequence[int], seed: int, data: TrainingData, trial: bool = False
    ) -> None:
        knobs = params.pretrained
        torch.manual_seed(seed)
        encoder: Any = pretrained.load(folder, attention_dropout=0.0)
        replace_dropout(encoder.train())
        classifier = PretrainedClassifier(encoder, knobs.resolved_pooling, knobs.max_length, len(class_rows))
        if knobs.gradient_checkpointing:
            if not encoder.supports_gradient_checkpointing:
                raise HeadwayError(
                    f"pretrained.gradient_checkpointing: {encoder.config.model_type} does not support it; set it to false, and "
                    "raise pretrained.accumulation to save memory"
                )
            encoder.activation_checkpointing_enable()
        if knobs.mode == "lora":
            lora.add(classifier, LAYER, knobs.lora_rank)
            classifier.output.requires_grad_(True)
        rate = ("pretrained.learning_rate", knobs.learning_rate)
        super().__init__(classifier, params.training, class_rows, seed, schedule(params, data, trial), rate)
        self.parts = knobs.accumulation
        self.groups = parameter_groups(classifier, knobs.learning_rate, knobs.layer_decay, knobs.layers)

    def configure_optimizers(self) -> Any:
        groups = [{"params": group.parameters, "lr": group.rate, "weight_decay": group.decay} for group in self.groups]
        optimiser = torch.optim.AdamW(groups, fused=True)
        return [optimiser], [torch.optim.lr_scheduler.LambdaLR(optimiser, self.learning_rate_at)]

    def trained(self) -> PretrainedClassifier:
        """The classifier after its training, in evaluation mode, without adapters."""
        lora.merge(self.classifier)
        return self.classifier.eval()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the weights that do not learn, which are those of the encoder's files."""
        super().on_save_checkpoint(checkpoint)
        kept = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        checkpoint["state_dict"] = {name: value for name, value in checkpoint["state_dict"].items() if name not in kept}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a checkpoint's weights; those that it leaves out stay as they are."""
        kept = {name: one for name, one in self.named_parameters() if not one.requires_grad}
        return super().load_state_dict({**kept, **state_dict}, strict, assign)


@dataclass(frozen=True)
class Group:
    """Parameters with the same peak learning rate and weight decay."""

    parameters: list[nn.Parameter]
    rate: float
    decay: float


def parameter_groups(classifier: PretrainedClassifier, rate: float, layer_decay: float, layers: int) -> list[Group]:
    """The parameters that learn; the others are frozen here. Beside adapters, those of the encoder are frozen already.

    Args:
        rate: peak learning rate of the last layer's weights.
        layer_decay: factor from one layer to the one below.
        layers: number of the last layers that learn; 0 for all of them and the embeddings.
    """
    numbers = [int(match[1]) for name, _ in classifier.named_parameters() if (match := LAYER.search(name))]
    depth = 1 + max(numbers, default=0)
    if layers > depth:
        raise HeadwayError(f"pretrained.layers: {layers} of {depth} layers; set it to {depth} or less, or to 0 for all")
    lowest = depth - layers + 1 if layers else 0
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter, layer in _with_layers(classifier, depth):
        if layer < lowest:
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        head = name.startswith("output.")
        own = rate * (1.0 if head else layer_decay ** (depth - layer))
        if head or lora.ADAPTER.search(name):
            own *= NEW_FACTOR
        found.setdefault((own, WEIGHT_DECAY if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [Group(parameters, own, decay) for (own, decay), parameters in found.items()]


def _with_layers(classifier: PretrainedClassifier, depth: int) -> Iterator[tuple[str, nn.Parameter, int]]:
    """Name, parameter and layer: 0 for embeddings, 1 … L for layers, L for what follows them.

    A family whose layers share their weights counts as one layer.
    """
    for name, parameter in classifier.named_parameters():
        if number := LAYER.search(name):
            yield name, parameter, int(number[1]) + 1
        else:
            yield name, parameter, 0 if "embedding" in name else depth


def replace_dropout(encoder: nn.Module) -> None:
    """Give an encoder's dropout one mask for all positions of a text."""
    for module in list(encoder.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout) and not isinstance(child, SequenceDropout) and name not in OF_NO_TEXT:
                setattr(module, name, SequenceDropout(child.p).train(child.training))
