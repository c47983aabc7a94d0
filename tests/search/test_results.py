"""Finished trials: which has won, what the search gained, and what it cost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.search.results import TrialResult, best, counted, front, summary, verdict
from tests.search.conftest import tune_params


def result(
    number: int, score: float | None, state: str = "complete", second: float | None = None, epochs: float = 2
) -> TrialResult:
    curve = [{"epoch": epoch, "validation_accuracy": 0.5} for epoch in (0.5, 1, 2) if epoch <= epochs]
    return TrialResult(number, state, score, second, {}, curve, "no" if state == "failed" else "", round(100 * epochs))


def test_among_equal_scores_the_earliest_trial_wins() -> None:
    trials = [result(0, 0.5), result(1, 0.7), result(2, 0.7), result(3, 0.6)]
    assert best(trials, tune_params()).number == 1
    assert best(trials[::-1], tune_params()).number == 1


def test_only_a_completed_trial_can_win() -> None:
    trials = [result(0, 0.5), result(1, 0.9, "pruned"), result(2, None, "failed"), result(3, 0.6)]
    assert best(trials, tune_params()).number == 3


def test_of_losses_the_least_wins_and_a_smaller_one_is_a_gain() -> None:
    params = tune_params(objective="negative_log_likelihood")
    trials = [result(0, 0.5), result(1, 0.3), result(2, 0.7)]
    assert best(trials, params).number == 1
    assert summary(trials, params)["gain_over_defaults"] == 0.2


def test_the_summary_counts_trials_and_tells_what_the_search_gained_at_what_cost() -> None:
    trials = [result(0, 0.7), result(1, 0.6, "pruned", epochs=0.5), result(2, 0.75), result(3, None, "failed", epochs=0)]
    assert summary(trials, tune_params()) == {
        "trials": 4,
        "pruned": 1,
        "failed": 1,
        "objective": "accuracy",
        "best_trial": 2,
        "best_score": 0.75,
        "gain_over_defaults": 0.05,
        "epochs": 4.5,
        "training_tokens": 450,
    }
    assert verdict(trials, tune_params()) == [
        "the search gained 0.0500 over the defaults: trial 2, validation accuracy 0.7500",
        "the best of 3 scores on the same validation rows: some of that is luck",
        "a trial is the attention part alone, on all of the training rows; `headway train` takes all, and both parts",
        "it cost 4 trials (1 pruned, 1 failed), 4.5 epochs, 450 training tokens",
    ]


def test_the_share_of_the_rows_that_trials_had_is_told() -> None:
    assert "on 25% of the training rows" in verdict([result(0, 0.7)], tune_params(train_share=0.25))[1]


def test_a_search_that_gained_nothing_says_so() -> None:
    trials = [result(0, 0.7), result(1, 0.7), result(2, 0.6)]
    assert verdict(trials, tune_params())[0] == (
        "the search gained nothing over the defaults: trial 0, validation accuracy 0.7000"
    )
    failed_first = [result(0, None, "failed"), result(1, 0.7)]
    assert summary(failed_first, tune_params())["gain_over_defaults"] is None
    assert verdict(failed_first, tune_params())[0] == (
        "trial 1 is best, validation accuracy 0.7000; the defaults, trial 0, failed"
    )


def test_the_winner_of_the_front_is_the_smallest_that_loses_little() -> None:
    trials = [
        result(0, 0.80, second=9.0),
        result(1, 0.79, second=4.0),
        result(2, 0.70, second=1.0),
        result(3, 0.78, second=5.0),
    ]
    for margin, winner in [(0.0, 0), (0.005, 0), (0.011, 1), (0.2, 2)]:
        params = tune_params(second_objective="size", second_margin=margin)
        assert best(trials, params).number == winner
        assert [trial.number for trial in front(trials, params)] == [0, 1, 2]
        assert summary(trials, params)["front"] == [0, 1, 2]
        assert verdict(trials, params)[-1].startswith("the front is trials 0, 1, 2; the winner has the least size, MB of")


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_front_is_what_no_other_trial_surpasses(pairs: list[tuple[int, int]]) -> None:
    params = tune_params(second_objective="size")
    trials = [result(number, float(score), second=float(second)) for number, (score, second) in enumerate(pairs)]
    kept = {trial.number for trial in front(trials, params)}
    for trial in trials:
        surpassed = any(
            (one >= pairs[trial.number][0] and other <= pairs[trial.number][1])
            and ((one, other) != pairs[trial.number] or number < trial.number)
            for number, (one, other) in enumerate(pairs)
        )
        assert (trial.number in kept) == (not surpassed)
    assert best(trials, params).number in kept


@pytest.mark.parametrize(("workers", "kept"), [(1, 3), (2, 4), (4, 4), (5, 5)])
def test_trials_behind_the_batch_that_reached_the_target_do_not_count(workers: int, kept: int) -> None:
    trials = [result(number, score) for number, score in enumerate([0.5, 0.6, 0.8, 0.7, 0.9, 0.4])]
    assert len(counted(trials, tune_params(target=0.8, workers=workers), workers)) == kept
    assert len(counted(trials, tune_params(trials=2, target=0.8, workers=workers), workers)) == 2
    assert len(counted(trials, tune_params(target=0.95), workers)) == 6


def test_a_result_comes_back_from_json_but_for_its_seconds() -> None:
    trial: Any = result(3, 0.5, second=2.0)
    assert TrialResult.from_dict(trial.as_dict()) == trial
    assert "seconds" not in trial.as_dict()
