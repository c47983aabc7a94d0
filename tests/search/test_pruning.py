"""Which trials are pruned: the limits as numbers, and that only trials of earlier batches set them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headway.search.pruning import limits
from headway.search.results import TrialResult
from tests.search.conftest import study, tune_params


def after(*accuracies: float, number: int = 0, state: str = "complete") -> TrialResult:
    curve = [
        {"progress": epoch / len(accuracies), "joint_validation_accuracy": value, "joint_validation_loss": 1 - value}
        for epoch, value in enumerate(accuracies, 1)
    ]
    return TrialResult(number, state, accuracies[-1], None, {}, curve, "", 0)


def test_the_first_trial_has_no_limits() -> None:
    assert limits([], tune_params(max_epochs=8)) == {}
    assert limits([TrialResult(0, "failed", None, None, {}, [], "no", 0)], tune_params()) == {}


@pytest.mark.parametrize(("before", "limit"), [(1, 0.7), (2, 0.7), (3, 0.6), (4, 0.6), (6, 0.5)])
def test_a_trial_must_be_among_the_best_third(before: int, limit: float) -> None:
    values = [0.7, 0.6, 0.5, 0.4, 0.3, 0.2][:before]
    trials = [after(value, value + 0.1) for value in values[::-1]]
    assert limits(trials, tune_params()) == {0.25: limit, 0.5: limit}


def test_a_smaller_loss_is_better() -> None:
    trials = [after(value, value) for value in (0.3, 0.7, 0.5)]
    found = limits(trials, tune_params(objective="negative_log_likelihood"))
    assert found == {0.25: 0.5, 0.5: 0.5}


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.1, 0.25, 0.4, 0.5, 0.9, 1.0), {0.25: 0.25, 0.5: 0.5}),
        ((0.2, 0.4, 0.6, 0.8, 1.0), {0.25: 0.4, 0.5: 0.6}),  # the first evaluation from there on
        ((0.2, 0.4), {0.25: 0.4}),  # of a pruned trial
        ((0.2, 1.0), {}),  # never at the end
    ],
)
def test_limits_apply_at_a_quarter_and_at_half_of_the_steps(shares: tuple[float, ...], expected: dict[float, float]) -> None:
    curve = [{"progress": share, "joint_validation_accuracy": share} for share in shares]
    assert limits([TrialResult(0, "complete", 0.4, None, {}, curve, "", 0)], tune_params()) == expected


def test_pruning_can_be_switched_off_and_is_off_with_two_objectives() -> None:
    assert limits([after(0.5, 0.5)], tune_params(pruning=False)) == {}
    assert limits([after(0.5, 0.5)], tune_params(second_objective="size")) == {}


def test_poor_trials_are_pruned_and_recorded(tmp_path: Path) -> None:
    reached: list[int] = []

    def scores(number: int, point: Any) -> list[float]:
        reached.append(number)
        first = [0.5, 0.4, 0.6, 0.45, 0.5][number]
        return [first, first + 0.1]

    trials = study(tmp_path / "journal.log", scores, trials=5)
    assert [trial.state for trial in trials] == ["complete", "pruned", "complete", "pruned", "complete"]
    assert [len(trial.curve) for trial in trials] == [2, 1, 2, 1, 2]
    assert (trials[1].score, trials[1].reason) == (0.4, "")
    assert trials[1].point


def test_trials_of_the_same_batch_do_not_prune_one_another(tmp_path: Path) -> None:
    def scores(number: int, point: Any) -> list[float]:
        first = [0.6, 0.5, 0.4, 0.55][number]
        return [first, first + 0.1]

    trials = study(tmp_path / "journal.log", scores, trials=4, workers=2)
    assert [trial.state for trial in trials] == ["complete", "complete", "pruned", "pruned"]
