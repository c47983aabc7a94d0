"""The sentences that summarise a search."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headway.reporting.study.summary import summary_lines
from headway.search.results import FinishedSearch, SearchSummary, TrialResult, summary
from tests.search.conftest import tune_params


def result(number: int, score: float | None, state: str = "complete", second: float | None = None) -> TrialResult:
    curve = [{"epoch": epoch, "joint_validation_accuracy": 0.5} for epoch in (0.5, 1)]
    return TrialResult(number, state, score, second, {}, curve, "no" if state == "failed" else "", 100)


GAIN = summary(
    FinishedSearch([result(0, 0.7), result(1, 0.6, "pruned"), result(2, 0.75), result(3, None, "failed")], tune_params())
)
CONFIRMED = replace(GAIN, row_noise=0.03, row_p_value=0.01, seed_gain=0.04, seed_noise=0.02, trials_differ=True)


def test_a_gain_comes_with_the_cost() -> None:
    assert summary_lines(GAIN, tune_params()) == [
        "Best: trial 2, validation accuracy of the joint model 0.7500, 0.0500 better than the defaults (trial 0).",
        "Each trial fits the joint model to all training rows, as `headway train` does.",
        "Cost: 4 trials (1 pruned, 1 failed), 4 epochs, 400 training tokens.",
    ]


def test_a_gain_that_other_seeds_confirmed_says_so() -> None:
    lines = summary_lines(CONFIRMED, tune_params())
    assert lines[1] == "More than noise: chance explains up to 0.0300, and with other seeds it is 0.0400 better."
    assert lines[-1].endswith("training tokens; the best trial and the defaults were trained again with other seeds.")


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (replace(GAIN, winner=0, row_noise=0.06, row_p_value=0.3), "chance alone explains up to 0.0600"),
        (
            replace(CONFIRMED, winner=0, seed_gain=0.01),
            "with other seeds it is 0.0100 better, of which chance explains up to 0.0200",
        ),
        (replace(CONFIRMED, winner=0, seed_gain=-0.01), "with other seeds it is 0.0100 worse"),
        (
            replace(CONFIRMED, winner=0, seed_noise=None),
            "tune.timeout_minutes left no time for a second training with another seed",
        ),
        (
            replace(CONFIRMED, winner=0, seed_noise=None, seed_gain=-0.01),
            "not with another seed",
        ),
        (
            replace(CONFIRMED, winner=0, seed_gain=None, seed_noise=None),
            "its training with another seed failed, or tune.timeout_minutes left no time for it",
        ),
    ],
)
def test_a_gain_that_may_be_noise_says_why_the_defaults_are_used(found: SearchSummary, why: str) -> None:
    assert summary_lines(found, tune_params())[0] == (
        "The gain of the best trial may be noise, so the defaults are used: trial 2, validation accuracy of the joint "
        f"model 0.7500, is 0.0500 better, but {why}."
    )


def test_that_no_trial_differs_is_said_only_if_none_does() -> None:
    found = replace(GAIN, winner=0, row_noise=0.06, row_p_value=0.3)
    said = "No trial differs from the defaults by more than noise"
    assert summary_lines(replace(found, trials_differ=False), tune_params())[0].startswith(said)
    assert said not in summary_lines(replace(found, trials_differ=True), tune_params())[0]


def test_a_search_that_stopped_early_says_so() -> None:
    lines = summary_lines(replace(GAIN, winner=0, row_noise=0.06, row_p_value=0.3, stopped_early=True), tune_params())
    assert lines[1] == "The search stopped early, because no trial differed from the defaults by more than noise."


def test_the_share_of_the_training_rows_is_given() -> None:
    params = tune_params(train_share="auto")
    for share, shown in [(0.25, "25% of the training rows; "), (1.0, "all training rows, ")]:
        found = summary(FinishedSearch([result(0, 0.7)], params), train_share=share)
        assert f"fits the joint model to {shown}" in summary_lines(found, params)[1]


def test_without_a_gain_the_defaults_are_named_alone() -> None:
    found = summary(FinishedSearch([result(0, 0.7), result(1, 0.7), result(2, 0.6)], tune_params()))
    assert summary_lines(found, tune_params())[0] == (
        "Nothing beat the defaults, which are used: validation accuracy of the joint model 0.7000 (trial 0)."
    )


def test_without_a_score_of_the_defaults_no_gain_is_given() -> None:
    found = summary(FinishedSearch([result(0, None, "failed"), result(1, 0.7)], tune_params()))
    assert summary_lines(found, tune_params())[0] == (
        "Best: trial 1, validation accuracy of the joint model 0.7000. Trial 0, the defaults, did not complete."
    )


def test_with_two_objectives_the_pareto_front_is_listed() -> None:
    params = tune_params(second_objective="size", second_margin=0.02)
    trials = [result(0, 0.80, second=9.0), result(1, 0.79, second=4.0), result(2, 0.70, second=1.0)]
    lines = summary_lines(summary(FinishedSearch(trials, params)), params)
    assert lines[:2] == [
        "Best: trial 1, validation accuracy of the joint model 0.7900, 0.0100 worse than the defaults (trial 0).",
        "Pareto front: trials 0, 1, 2. Of those within 0.02 of the best score, the winner has the lowest size, MB.",
    ]
