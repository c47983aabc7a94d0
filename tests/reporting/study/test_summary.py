"""The sentences that summarise a search."""

from __future__ import annotations

from headway.reporting.study.summary import summary_lines
from headway.search.results import TrialResult
from tests.search.conftest import tune_params


def result(number: int, score: float | None, state: str = "complete", second: float | None = None) -> TrialResult:
    curve = [{"epoch": epoch, "validation_accuracy": 0.5} for epoch in (0.5, 1)]
    return TrialResult(number, state, score, second, {}, curve, "no" if state == "failed" else "", 100)


def test_a_gain_comes_with_a_caution_and_the_cost() -> None:
    trials = [result(0, 0.7), result(1, 0.6, "pruned"), result(2, 0.75), result(3, None, "failed")]
    assert summary_lines(trials, tune_params()) == [
        "Best: trial 2, validation accuracy 0.7500, 0.0500 better than the defaults (trial 0).",
        "It is the best of 3 scores on the same validation rows, so part of the gain is chance.",
        "Each trial trains the attention part alone, on all training rows; `headway train` uses all rows and both parts.",
        "Cost: 4 trials (1 pruned, 1 failed), 4 epochs, 400 training tokens.",
    ]


def test_the_share_of_the_training_rows_is_given() -> None:
    assert "on 25% of the training rows" in summary_lines([result(0, 0.7)], tune_params(train_share=0.25))[1]


def test_without_a_gain_the_winner_is_named_alone() -> None:
    lines = summary_lines([result(0, 0.7), result(1, 0.7), result(2, 0.6)], tune_params())
    assert lines[0] == "Nothing beat the defaults. Winner: trial 0, validation accuracy 0.7000."


def test_without_a_score_of_the_defaults_no_gain_is_given() -> None:
    lines = summary_lines([result(0, None, "failed"), result(1, 0.7)], tune_params())
    assert lines[0] == "Best: trial 1, validation accuracy 0.7000. Trial 0, the defaults, did not complete."


def test_with_two_objectives_the_pareto_front_is_listed() -> None:
    params = tune_params(second_objective="size", second_margin=0.01)
    trials = [result(0, 0.80, second=9.0), result(1, 0.79, second=4.0), result(2, 0.70, second=1.0)]
    assert summary_lines(trials, params)[-1] == (
        "Pareto front: trials 0, 1, 2. Of those within 0.01 of the best score, the winner has the lowest size, MB."
    )
