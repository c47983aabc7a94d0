"""A trial: the attention part trained at a point. A pure function of what it is given, which runs in any process."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from headway.data.batching.datamodule import TextDataModule, subset
from headway.data.text.splits import unit_hash
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError, first_line
from headway.model.classifier import AttentionClassifier
from headway.model.lightning import ClassifierModule
from headway.model.training import fit
from headway.params import Params
from headway.search.goals import epochs_of, objective, value_of
from headway.search.pruning import MIN_STEPS
from headway.search.trial import Outcome, Task, Watch

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

#: Texts that the latency is measured on, one at a time.
TIMED_TEXTS = 100


class Pruned(Exception):
    """Raised out of a training that is not worth going on with."""


@dataclass(frozen=True)
class Rows:
    """What a trial trains and validates on.

    Attributes:
        train, validation: encoded rows, in memory and without their ids.
        vocabulary_size: of the tokenizer.
        word_vectors: float32, (vocabulary size, n), for its embeddings to start from; None: they start at random.
    """

    train: EncodedTexts
    validation: EncodedTexts
    vocabulary_size: int
    word_vectors: np.ndarray | None = None


@dataclass(frozen=True)
class Shared:
    """What all trials of a study have in common.

    Attributes:
        params: of the pipeline; a trial replaces the knobs of its point.
        rows: encoded with the tokenizer of params.yaml.
        class_rows: training rows of each class, in all of the split.
    """

    params: Params
    rows: Rows
    class_rows: list[int]


def rows_of(
    train: EncodedTexts,
    validation: EncodedTexts,
    vocabulary_size: int,
    share: float,
    word_vectors: np.ndarray | None = None,
) -> Rows:
    """A fixed share of the training rows, the same however they are encoded, and all validation rows."""
    part = np.flatnonzero([unit_hash(row_id, "search") < share for row_id in train.ids])
    return Rows(
        _without_ids(train, part if len(part) else np.arange(len(train))),
        _without_ids(validation, np.arange(len(validation))),
        vocabulary_size,
        word_vectors,
    )


def run_trial(
    shared: Shared, task: Task, watch: Watch | None = None, batches: Callable[[int], Callback | None] | None = None
) -> Outcome:
    """Train at a point, and say how it ended; what its values bring about, a want of memory or a divergence, is an outcome.

    Args:
        shared: the same for all trials.
        task: the point, and below what it is not worth going on.
        watch: told each epoch's metrics.
        batches: makes what shows this trial's batches as they go by, from its number.
    """
    started = time.monotonic()
    tune = shared.params.tune
    rows: Rows = task.rows or shared.rows
    goal = objective(tune)
    curve: list[dict[str, float]] = []

    def told(entry: dict[str, float]) -> None:
        _require_finite(entry)
        curve.append(entry)
        if watch:
            watch(entry)
        limit = task.limits.get(entry["epoch"])
        if limit is not None and entry["epoch"] * steps >= MIN_STEPS and goal.is_better(limit, entry[goal.entry]):
            raise Pruned

    tokens = steps = 0
    state: Literal["complete", "pruned", "failed"]
    values: tuple[float, ...]
    try:
        knobs = shared.params.at(task.point)
        data = TextDataModule(
            rows.train, rows.validation, knobs.model.max_length, knobs.training.tokens_per_batch, knobs.seed
        )
        tokens, steps = int(data.train.lengths.sum()), data.steps(1)
        module = ClassifierModule(
            knobs.model,
            knobs.training,
            rows.vocabulary_size,
            shared.class_rows,
            knobs.seed,
            data.steps(tune.max_epochs),
            rows.word_vectors,
        )
        progress = batches(task.number) if batches else None
        fit(module, data, max_epochs=tune.max_epochs, progress=progress, report=told, halfway=True)
        values = (value_of(goal, curve), *_second(tune.second_objective, module.classifier, data))
        state, reason = "complete", ""
    except Pruned:
        state, values, reason = "pruned", (curve[-1][goal.entry],), ""
    except (HeadwayError, MemoryError, RuntimeError) as error:
        state, values, reason = "failed", (), first_line(error)
    seconds = time.monotonic() - started
    return Outcome(state, values, tuple(curve), reason, seconds, round(tokens * epochs_of(curve)))


def _require_finite(entry: dict[str, float]) -> None:
    wrong = [name for name, value in entry.items() if not math.isfinite(value)]
    if wrong:
        raise HeadwayError(f"training diverged: {wrong[0]} {entry[wrong[0]]} after epoch {entry['epoch']:g}")


def _second(kind: str, classifier: AttentionClassifier, data: TextDataModule) -> tuple[float, ...]:
    """The second objective, if there is one; see :data:`headway.search.goals.SECOND` for the units."""
    if kind == "latency":
        return (latency(classifier, data),)
    return (size(classifier),) if kind == "size" else ()


def latency(classifier: AttentionClassifier, data: TextDataModule) -> float:
    """Median milliseconds for one validation text on this machine, embeddings to logits; a clock's time, never twice the same."""
    taken = []
    classifier.eval()
    with torch.inference_mode():
        for index in range(min(TIMED_TEXTS, len(data.validation))):
            tokens, _ = data.validation[[index]]
            tokens = tokens.to(next(classifier.parameters()).device)
            started = time.perf_counter()
            classifier(tokens).cpu()
            taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


def size(classifier: AttentionClassifier) -> float:
    """Megabytes (10⁶ bytes) of all weights as they are stored."""
    return sum(parameter.numel() * parameter.element_size() for parameter in classifier.parameters()) / 1e6


def _without_ids(texts: EncodedTexts, indices: Sequence[int] | np.ndarray) -> EncodedTexts:
    some = subset(texts, indices)
    return EncodedTexts(some.tokens, some.offsets, some.labels, ())
