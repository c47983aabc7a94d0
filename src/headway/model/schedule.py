"""The schedule of a training: batch size, number of steps, warm-up, evaluations and patience, derived from the data.

A number of epochs that suits one data set leaves another untrained: one epoch of 8,192 tokens a batch is 600 steps on 20,000
reviews, and 11 steps on 4,000 short texts. So the rule starts from the number of optimiser steps that learning takes:

    b = the power of two nearest to T / STEPS_PER_EPOCH, within TOKENS_PER_BATCH      tokens per batch
    n = steps of one epoch with b tokens a batch                                      about T / b
    m = min_steps + steps_per_class · C, at most MOST_MIN_STEPS                       steps that learning takes
    N = max(min_epochs · n, m), at most max_epochs · n                                steps, at most
    k = min(MAX_EVALUATIONS, N / MIN_STEPS_BETWEEN, EVALUATION_SHARE · N/n · T / V)   evaluations, at least MIN_EVALUATIONS

T are the tokens of the training texts and V those of the validation texts, both after truncation; C is the number of classes. A
value in params.yaml that is a number replaces the derived one, and the values that follow from it are derived from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from headway.params import Params, TrainingParams

if TYPE_CHECKING:
    import numpy as np

#: Steps that an epoch should have. More tokens a batch would leave small data sets with too few steps.
STEPS_PER_EPOCH = 256
#: Smallest and largest derived number of tokens per batch.
TOKENS_PER_BATCH = (1024, 8192)
WARMUP_RATIO = 0.1
#: Evaluations without a lower validation loss after which training stops.
PATIENCE = 5
#: Number of evaluations in a training that is not stopped early.
MIN_EVALUATIONS, MAX_EVALUATIONS = 4, 20
#: Steps between two evaluations, at least, unless there would be fewer than ``MIN_EVALUATIONS``.
MIN_STEPS_BETWEEN = 20
#: Validation tokens of all evaluations as a share of all training tokens, at most. A token costs a third of what it costs in
#: training, because no gradient is computed.
EVALUATION_SHARE = 0.15


@dataclass(frozen=True)
class Budget:
    """Limits of a derived number of steps: at least ``min_epochs`` and ``steps_for(C)``, but not more than ``max_epochs``."""

    min_epochs: int
    max_epochs: int
    min_steps: int
    steps_per_class: int

    def steps_for(self, n_classes: int) -> int:
        """Steps that learning a number of classes takes."""
        return min(self.min_steps + self.steps_per_class * n_classes, MOST_MIN_STEPS)


#: Steps that learning takes with many classes.
MOST_MIN_STEPS = 1_600
#: Of the stage train, and of one trial of the search, which shows what is learned early.
TRAINING = Budget(min_epochs=3, max_epochs=20, min_steps=500, steps_per_class=30)
TRIAL = Budget(min_epochs=2, max_epochs=10, min_steps=300, steps_per_class=6)
#: Training rows of a trial, if there are as many, and the smallest share of the rows.
TRIAL_ROWS, MIN_TRIAL_SHARE = 4_000, 0.25


@dataclass(frozen=True)
class Schedule:
    """A resolved schedule.

    Attributes:
        tokens_per_batch: at most, padding included.
        steps: optimiser steps at most; the learning rate rises and falls over them.
        epochs: the same in passes over the training texts.
        evaluation_steps: steps from one evaluation on validation rows to the next; the last one comes after the last step.
        warmup_ratio: share of the steps over which the learning rate rises.
        patience: evaluations without a lower validation loss after which training stops.
    """

    tokens_per_batch: int
    steps: int
    epochs: float
    evaluation_steps: int
    warmup_ratio: float
    patience: int

    @property
    def evaluations(self) -> int:
        """Number of evaluations if training is not stopped early."""
        return -(-self.steps // self.evaluation_steps)

    def step_of(self, evaluation: int) -> int:
        """Steps done at an evaluation, counted from 1."""
        return min(self.steps, evaluation * self.evaluation_steps)

    def epochs_at(self, step: int) -> float:
        """Passes over the training texts after a step, to three decimals."""
        return round(step * self.epochs / self.steps, 3)

    def as_dict(self) -> dict[str, float]:
        """The attributes, with the number of epochs to three decimals."""
        return {**asdict(self), "epochs": round(self.epochs, 3)}

    def __str__(self) -> str:
        return describe(asdict(self))


def describe(schedule: Mapping[str, float]) -> str:
    """A schedule in one line, from its attributes by name, such as a training's report has."""
    return (
        f"{schedule['steps'] / schedule['epochs']:,.0f} steps an epoch of {schedule['tokens_per_batch']:,} tokens; "
        f"at most {schedule['steps']:,} steps ({schedule['epochs']:.3g} epochs), "
        f"an evaluation every {schedule['evaluation_steps']:,} steps"
    )


class TrainingData(Protocol):
    """What a schedule is derived from."""

    @property
    def train_lengths(self) -> np.ndarray:
        """Tokens of each training text after truncation."""

    @property
    def validation_lengths(self) -> np.ndarray:
        """Tokens of each validation text after truncation."""

    @property
    def n_classes(self) -> int:
        """Number of classes that training texts have."""

    def steps(self, tokens_per_batch: int, epochs: int, world_size: int = 1) -> int:
        """Number of steps of each process in the first epochs."""


def resolve(
    training: TrainingParams,
    data: TrainingData,
    max_epochs: int | Literal["auto"] | None = None,
    budget: Budget = TRAINING,
    devices: int | None = None,
    tokens_per_batch: tuple[int, int] = TOKENS_PER_BATCH,
) -> Schedule:
    """The schedule of a training on these texts, by the rule at the head of this module.

    Args:
        max_epochs: instead of ``training.max_epochs``.
        budget: limits of the number of steps, if ``max_epochs`` is ``auto``.
        devices: instead of ``training.devices``.
        tokens_per_batch: limits of derived tokens per batch.
    """
    devices = training.devices if devices is None else devices
    tokens = max(1, int(data.train_lengths.sum()))
    validation_tokens = max(1, int(data.validation_lengths.sum()))
    if training.tokens_per_batch == "auto":
        nearest = 2 ** round(math.log2(max(1.0, tokens / STEPS_PER_EPOCH)))
        batch = min(max(nearest, tokens_per_batch[0]), tokens_per_batch[1])
    else:
        batch = training.tokens_per_batch
    passes = training.max_epochs if max_epochs is None else max_epochs
    if passes == "auto":
        per_epoch = data.steps(batch, 1, devices)
        enough = max(budget.min_epochs * per_epoch, budget.steps_for(data.n_classes))
        steps = min(enough, budget.max_epochs * per_epoch)
        epochs = steps / per_epoch
    else:
        steps, epochs = data.steps(batch, passes, devices), float(passes)
    affordable = EVALUATION_SHARE * epochs * tokens / validation_tokens
    evaluations = max(MIN_EVALUATIONS, int(min(MAX_EVALUATIONS, steps / MIN_STEPS_BETWEEN, affordable)))
    return Schedule(
        batch,
        steps,
        epochs,
        evaluation_steps=-(-steps // evaluations),
        warmup_ratio=WARMUP_RATIO if training.warmup_ratio == "auto" else training.warmup_ratio,
        patience=PATIENCE if training.patience == "auto" else training.patience,
    )


def resolve_trial(params: Params, data: TrainingData) -> Schedule:
    """The schedule of a trial of the search on these texts. A trial trains on one device, whatever ``training.devices`` is."""
    return resolve(params.training, data, params.tune.max_epochs, TRIAL, devices=1)


def trial_share(train_share: float | Literal["auto"], rows: int) -> float:
    """Share of the training rows that a trial uses: the number of ``tune.train_share``, or one derived from the rows."""
    if train_share != "auto":
        return train_share
    return min(1.0, max(MIN_TRIAL_SHARE, TRIAL_ROWS / max(1, rows)))
