"""The trials of a finished search as a table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from headway.params import TuneParams
from headway.reporting.study.live import short
from headway.search.goals import epochs_of, objective, second_objective
from headway.search.results import TrialResult, best


def table(trials: Sequence[TrialResult], params: TuneParams) -> Table:
    """One row for each trial, the best one in bold.

    Args:
        trials: at least one is complete.
        params: the objectives of the search.
    """
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
