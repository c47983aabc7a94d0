"""Finished trials: which one wins, what the search gained, and what it cost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.search.results import FinishedSearch, SearchSummary, TrialResult, best, pareto_front, summary
from tests.search.conftest import tune_params


def result(
    number: int, score: float | None, state: str = "complete", second: float | None = None, epochs: float = 2
) -> TrialResult:
    curve = [{"epoch": epoch, "joint_validation_accuracy": 0.5} for epoch in (0.5, 1, 2) if epoch <= epochs]
    return TrialResult(number, state, score, second, {}, curve, "no" if state == "failed" else "", round(100 * epochs))


def test_among_equal_scores_the_earliest_trial_wins() -> None:
    trials = [result(0, 0.5), result(1, 0.7), result(2, 0.7), result(3, 0.6)]
    assert best(trials, tune_params()).number == 1
    assert best(trials[::-1], tune_params()).number == 1


def test_only_a_completed_trial_can_win() -> None:
    trials = [result(0, 0.5), result(1, 0.9, "pruned"), result(2, None, "failed"), result(3, 0.6)]
    assert best(trials, tune_params()).number == 3


def test_the_smallest_loss_wins_and_a_smaller_one_is_a_gain() -> None:
    params = tune_params(objective="negative_log_likelihood")
    trials = [result(0, 0.5), result(1, 0.3), result(2, 0.7)]
    assert best(trials, params).number == 1
    assert summary(FinishedSearch(trials, params)).gain_over_defaults == 0.2


def test_the_summary_counts_trials_and_gives_gain_and_cost() -> None:
    trials = [result(0, 0.7), result(1, 0.6, "pruned", epochs=0.5), result(2, 0.75), result(3, None, "failed", epochs=0)]
    found = summary(FinishedSearch(trials, tune_params()))
    assert found.as_dict() == {
        "trials": 4,
        "pruned": 1,
        "failed": 1,
        "objective": "accuracy",
        "best_trial": 2,
        "best_score": 0.75,
        "winner": 2,
        "gain_over_defaults": 0.05,
        "row_noise": None,
        "row_p_value": None,
        "seed_gain": None,
        "seed_noise": None,
        "trials_differ": None,
        "stopped_early": False,
        "epochs": 4.5,
        "training_tokens": 450,
        "train_share": 1.0,
    }
    assert SearchSummary(**found.as_dict()) == found


def test_a_gain_over_defaults_that_failed_is_unknown() -> None:
    assert summary(FinishedSearch([result(0, None, "failed"), result(1, 0.7)], tune_params())).gain_over_defaults is None


def test_the_winner_is_the_smallest_on_the_pareto_front_within_the_margin() -> None:
    trials = [
        result(0, 0.80, second=9.0),
        result(1, 0.79, second=4.0),
        result(2, 0.70, second=1.0),
        result(3, 0.78, second=5.0),
    ]
    for margin, winner in [(0.0, 0), (0.005, 0), (0.011, 1), (0.2, 2)]:
        params = tune_params(second_objective="size", second_margin=margin)
        assert best(trials, params).number == winner
        assert [trial.number for trial in pareto_front(trials, params)] == [0, 1, 2]
        assert summary(FinishedSearch(trials, params)).pareto_front == (0, 1, 2)
        assert summary(FinishedSearch(trials, params)).as_dict()["second_margin"] == margin


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_pareto_front_is_the_trials_that_no_other_dominates(pairs: list[tuple[int, int]]) -> None:
    params = tune_params(second_objective="size")
    trials = [result(number, float(score), second=float(second)) for number, (score, second) in enumerate(pairs)]
    kept = {trial.number for trial in pareto_front(trials, params)}
    for trial in trials:
        dominated = any(
            (one >= pairs[trial.number][0] and other <= pairs[trial.number][1])
            and ((one, other) != pairs[trial.number] or number < trial.number)
            for number, (one, other) in enumerate(pairs)
        )
        assert (trial.number in kept) == (not dominated)
    assert best(trials, params).number in kept


@pytest.mark.parametrize(("workers", "kept"), [(1, 3), (2, 4), (4, 4), (5, 5)])
def test_trials_after_the_batch_that_reached_the_target_do_not_count(workers: int, kept: int) -> None:
    trials = [result(number, score) for number, score in enumerate([0.5, 0.6, 0.8, 0.7, 0.9, 0.4])]
    assert len(FinishedSearch(trials, tune_params(target=0.8, workers=workers)).within_budget(workers).trials) == kept
    assert len(FinishedSearch(trials, tune_params(trials=2, target=0.8, workers=workers)).within_budget(workers).trials) == 2
    assert len(FinishedSearch(trials, tune_params(target=0.95)).within_budget(workers).trials) == 6


def test_a_result_survives_json_without_its_seconds_and_rows() -> None:
    trial: Any = result(3, 0.5, second=2.0)
    assert TrialResult(**trial.as_dict()) == trial
    assert not {"seconds", "row_scores", "repeat"} & trial.as_dict().keys()
