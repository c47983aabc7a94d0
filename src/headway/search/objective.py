"""Runs a trial: trains the attention classifier with the hyperparameters of one point. A pure function, for any process."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from headway.data.batching.datamodule import TextDataModule
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError, first_line
from headway.model.classifier import AttentionClassifier
from headway.model.lightning import ClassifierModule
from headway.model.training import fit
from headway.params import Params
from headway.search.goals import epochs_of, objective, value_of
from headway.search.pruning import MIN_STEPS
from headway.search.trial import EpochCallback, Outcome, Task

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

#: Number of texts that the latency is measured on, one at a time.
TIMED_TEXTS = 100


class Pruned(Exception):
    """Raised from the epoch callback to end a training early."""


@dataclass(frozen=True)
class TrialData:
    """What a trial trains and validates on: encoded rows, in memory and without their ids.

    Attributes:
        word_vectors: float32, shape (vocabulary_size, n), initial embeddings; None for random ones.
    """

    train: EncodedTexts
    validation: EncodedTexts
    vocabulary_size: int
    word_vectors: np.ndarray | None = None


@dataclass(frozen=True)
class Shared:
    """What all trials of a study have in common.

    Attributes:
        params: of the project; a trial replaces the hyperparameters of its point.
        data: encoded with the tokenizer of params.yaml.
        class_rows: number of training rows of each class, in the whole split.
    """

    params: Params
    data: TrialData
    class_rows: list[int]


def run_trial(
    shared: Shared,
    task: Task,
    on_epoch: EpochCallback | None = None,
    batches: Callable[[int], Callback | None] | None = None,
) -> Outcome:
    """Train at a point. Divergence and lack of memory, which a point may cause, are failed outcomes; other errors are raised.

    Args:
        on_epoch: called with the metrics of each epoch.
        batches: given the trial's number, makes a Lightning callback that shows its batches.
    """
    if task.problem:
        return Outcome("failed", reason=task.problem)
    started = time.monotonic()
    tune = shared.params.tune
    data = task.data or shared.data
    goal = objective(tune)
    curve: list[dict[str, float]] = []
    tokens = steps = 0

    def end_epoch(entry: dict[str, float]) -> None:
        for name, value in entry.items():
            if not math.isfinite(value):
                raise HeadwayError(f"training diverged: {name} {value} after epoch {entry['epoch']:g}")
        curve.append(entry)
        if on_epoch:
            on_epoch(entry)
        limit = task.limits.get(entry["epoch"])
        if limit is not None and entry["epoch"] * steps >= MIN_STEPS and goal.is_better(limit, entry[goal.entry]):
            raise Pruned

    state: Literal["complete", "pruned", "failed"] = "complete"
    values: tuple[float, ...] = ()
    reason = ""
    try:
        params = shared.params.at(task.point)
        module_data = TextDataModule(
            data.train, data.validation, params.model.max_length, params.training.tokens_per_batch, params.seed
        )
        tokens, steps = int(module_data.train.lengths.sum()), module_data.steps(1)
        module = ClassifierModule(
            params.model,
            params.training,
            data.vocabulary_size,
            shared.class_rows,
            params.seed,
            module_data.steps(tune.max_epochs),
            data.word_vectors,
        )
        progress = batches(task.number) if batches else None
        fit(module, module_data, max_epochs=tune.max_epochs, progress=progress, report=end_epoch, halfway=True)
        second = SECOND_OBJECTIVES.get(tune.second_objective)
        values = (value_of(goal, curve), *([second(module.classifier, module_data)] if second else []))
    except Pruned:
        state, values = "pruned", (curve[-1][goal.entry],)
    except (HeadwayError, MemoryError, RuntimeError) as error:
        state, reason = "failed", first_line(error)
    seconds = time.monotonic() - started
    return Outcome(state, values, tuple(curve), reason, seconds, round(tokens * epochs_of(curve)))


def latency(classifier: AttentionClassifier, data: TextDataModule) -> float:
    """Median milliseconds per validation text, from embeddings to logits, on this machine. It differs from run to run."""
    measured = []
    classifier.eval()
    with torch.inference_mode():
        for index in range(min(TIMED_TEXTS, len(data.validation))):
            tokens, _ = data.validation[[index]]
            tokens = tokens.to(next(classifier.parameters()).device)
            started = time.perf_counter()
            classifier(tokens).cpu()
            measured.append(1000 * (time.perf_counter() - started))
    return statistics.median(measured)


def size(classifier: AttentionClassifier, _: TextDataModule | None = None) -> float:
    """Megabytes (10⁶ bytes) of all weights, in their stored precision."""
    return sum(parameter.numel() * parameter.element_size() for parameter in classifier.parameters()) / 1e6


#: Measured after the training, in the units of :data:`headway.search.goals.SECOND`.
SECOND_OBJECTIVES: dict[str, Callable[[AttentionClassifier, TextDataModule], float]] = {"latency": latency, "size": size}
