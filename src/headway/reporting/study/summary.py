"""A finished search in a few sentences, for the terminal and the study page, and its trials as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from headway.params import TuneParams
from headway.reporting.study.live import short
from headway.search.goals import epochs_of, objective, second_objective
from headway.search.results import TrialResult, best, summary


def summary_lines(trials: Sequence[TrialResult], params: TuneParams) -> list[str]:
    """The winner and its gain over the defaults, how far to trust that gain, and the cost.

    At least one trial is complete.
    """
    found = summary(trials, params)
    gain = found.gain_over_defaults
    winner = f"trial {found.best_trial}, {objective(params).title} {found.best_score:.4f}"
    if gain is None:
        lines = [f"Best: {winner}. Trial 0, the defaults, did not complete."]
    elif gain <= 0:
        lines = [f"Nothing beat the defaults. Winner: {winner}."]
    else:
        lines = [
            f"Best: {winner}, {gain:.4f} better than the defaults (trial 0).",
            f"It is the best of {found.trials - found.failed} scores on the same validation rows, so part of the gain is chance.",
        ]
    share = "all" if params.train_share == 1 else f"{params.train_share:.0%} of the"
    lines += [
        f"Each trial trains the attention part alone, on {share} training rows; `headway train` uses all rows and both parts.",
        f"Cost: {found.trials} trials ({found.pruned} pruned, {found.failed} failed), {found.epochs:g} epochs, "
        f"{found.training_tokens:,} training tokens.",
    ]
    second = second_objective(params)
    if second:
        numbers = ", ".join(map(str, found.pareto_front))
        lines.append(
            f"Pareto front: trials {numbers}. Of those within {params.second_margin:g} of the best score, the winner has the "
            f"lowest {second.title}."
        )
    return lines


def table(trials: Sequence[TrialResult], params: TuneParams) -> Table:
    """One row for each trial, the best one in bold. At least one is complete."""
    second = second_objective(params)
    found = Table("trial", "state", objective(params).title, *([second.title] if second else []), "epochs", "knobs")
    for column in (0, *range(2, 4 + bool(second))):
        found.columns[column].justify = "right"
    winner = best(trials, params).number
    for trial in trials:
        state = f"failed: {trial.reason}" if trial.state == "failed" else trial.state
        cells = [str(trial.number), state, "" if trial.score is None else f"{trial.score:.4f}"]
        if second:
            cells.append("" if trial.second is None else f"{trial.second:.3f}")
        knobs = ", ".join(f"{name.partition('.')[2]} {short(value)}" for name, value in trial.point.items())
        cells += [f"{epochs_of(trial.curve):g}", knobs]
        found.add_row(*map(Text, cells), style="bold" if trial.number == winner else "")
    return found
