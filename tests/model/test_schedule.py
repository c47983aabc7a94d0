"""The schedule that is derived from the data: enough steps on little data, no more than is worth it on much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.model.schedule import (
    EVALUATION_SHARE,
    MAX_EVALUATIONS,
    MIN_EVALUATIONS,
    MIN_STEPS_BETWEEN,
    MIN_TRIAL_SHARE,
    MOST_MIN_STEPS,
    PATIENCE,
    TOKENS_PER_BATCH,
    TRAINING,
    TRIAL,
    TRIAL_ROWS,
    WARMUP_RATIO,
    Schedule,
    resolve,
    trial_share,
)
from headway.params import Params, TrainingParams

AUTO = dict.fromkeys(("tokens_per_batch", "max_epochs", "warmup_ratio", "patience"), "auto")


@dataclass(frozen=True)
class Texts:
    """Training and validation texts of one length, in full batches."""

    train: int
    validation: int
    length: int
    n_classes: int = 2

    @property
    def train_lengths(self) -> np.ndarray:
        return np.full(self.train, self.length)

    @property
    def validation_lengths(self) -> np.ndarray:
        return np.full(self.validation, self.length)

    def steps(self, tokens_per_batch: int, epochs: int, world_size: int = 1) -> int:
        return epochs * math.ceil(self.train * self.length / tokens_per_batch / world_size)


def training(params: Params, **changed: Any) -> TrainingParams:
    return TrainingParams(**{**params.training.model_dump(), **AUTO, **changed})


texts = st.builds(Texts, st.integers(1, 100_000), st.integers(1, 20_000), st.integers(1, 512), st.integers(2, 200))


@given(texts)
def test_a_training_has_enough_steps_unless_the_texts_would_be_seen_too_often(params: Params, some: Texts) -> None:
    found = resolve(training(params), some)
    per_epoch = some.steps(found.tokens_per_batch, 1)
    assert found.steps >= min(TRAINING.steps_for(some.n_classes), TRAINING.max_epochs * per_epoch)
    assert TRAINING.min_epochs * per_epoch <= found.steps <= TRAINING.max_epochs * per_epoch
    assert found.epochs == pytest.approx(found.steps / per_epoch)
    assert found.tokens_per_batch.bit_count() == 1
    assert TOKENS_PER_BATCH[0] <= found.tokens_per_batch <= TOKENS_PER_BATCH[1]
    assert (found.warmup_ratio, found.patience) == (WARMUP_RATIO, PATIENCE)


@given(texts)
def test_evaluations_are_few_enough_to_be_cheap_and_enough_to_choose_from(params: Params, some: Texts) -> None:
    found = resolve(training(params), some)
    assert 1 <= found.evaluations <= MAX_EVALUATIONS
    assert found.evaluations > MIN_EVALUATIONS // 2 or found.steps < 2 * MIN_EVALUATIONS
    ends = [found.step_of(number) for number in range(1, found.evaluations + 1)]
    assert ends == sorted(set(ends))
    assert ends[-1] == found.steps
    assert found.epochs_at(found.steps) == pytest.approx(found.epochs, abs=1e-3)
    scored = found.evaluations * some.validation * some.length
    trained = found.epochs * some.train * some.length
    assert scored <= EVALUATION_SHARE * trained or found.evaluations <= MIN_EVALUATIONS
    assert found.evaluation_steps >= MIN_STEPS_BETWEEN or found.evaluations <= MIN_EVALUATIONS


def test_few_short_texts_are_trained_on_more_often_than_many_long_ones(params: Params) -> None:
    few, many = (resolve(training(params), some) for some in (Texts(3_700, 450, 20), Texts(20_000, 2_500, 235)))
    assert (few.tokens_per_batch, many.tokens_per_batch) == (1024, 8192)
    assert few.epochs > many.epochs == TRAINING.min_epochs
    assert few.steps == min(TRAINING.steps_for(2), TRAINING.max_epochs * Texts(3_700, 450, 20).steps(1024, 1))


def test_more_classes_take_more_steps_up_to_a_limit(params: Params) -> None:
    found = [resolve(training(params), Texts(8_000, 1_000, 20, classes)).steps for classes in (2, 3, 11, 40, 95)]
    assert found == sorted(found)
    assert found[:3] == [TRAINING.min_steps + TRAINING.steps_per_class * classes for classes in (2, 3, 11)]
    assert found[3:] == [MOST_MIN_STEPS, MOST_MIN_STEPS]


def test_numbers_in_params_hold(params: Params) -> None:
    some = Texts(1_000, 100, 50)
    given = training(params, tokens_per_batch=700, max_epochs=7, warmup_ratio=0.0, patience=2)
    found = resolve(given, some)
    assert (found.tokens_per_batch, found.epochs, found.warmup_ratio, found.patience) == (700, 7.0, 0.0, 2)
    assert found.steps == some.steps(700, 7)
    assert resolve(given, some, max_epochs=3, budget=TRIAL).steps == some.steps(700, 3)
    trial = resolve(given, some, max_epochs="auto", budget=TRIAL)
    assert trial.steps == min(max(TRIAL.steps_for(2), 2 * some.steps(700, 1)), TRIAL.max_epochs * some.steps(700, 1))


def test_several_processes_share_the_steps_of_an_epoch(params: Params) -> None:
    some = Texts(10_000, 100, 50)
    found = resolve(training(params, devices=4, max_epochs=2, tokens_per_batch=512), some)
    assert found.steps == some.steps(512, 2, 4) < some.steps(512, 2)


def test_a_schedule_is_described_in_one_line() -> None:
    found = Schedule(1024, 920, 20.0, 46, 0.1, 5)
    assert str(found) == ("46 steps an epoch of 1,024 tokens; at most 920 steps (20 epochs), an evaluation every 46 steps")
    assert found.as_dict() == {
        "tokens_per_batch": 1024,
        "steps": 920,
        "epochs": 20.0,
        "evaluation_steps": 46,
        "warmup_ratio": 0.1,
        "patience": 5,
    }


def test_a_trial_takes_a_share_of_many_rows_and_all_of_few() -> None:
    assert trial_share("auto", TRIAL_ROWS // 2) == 1
    assert trial_share("auto", 2 * TRIAL_ROWS) == 0.5
    assert trial_share("auto", 100 * TRIAL_ROWS) == MIN_TRIAL_SHARE
    assert trial_share(0.1, 10) == 0.1
