"""A finished search in a few sentences, for the terminal and the study page, and its trials as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from headway.foreign_text import one_line
from headway.params import TuneParams
from headway.reporting.study.live import short
from headway.search.goals import Goal, epochs_of, objective, second_objective
from headway.search.noise import LEVEL
from headway.search.results import SearchSummary, TrialResult


def summary_lines(found: SearchSummary, params: TuneParams) -> list[str]:
    """The winner and its gain over the defaults, how far to trust that gain, and the cost."""
    fitted = "all training rows, as `headway train` does"
    if found.train_share != 1:
        fitted = f"{found.train_share:.0%} of the training rows; `headway train` uses all of them"
    second = second_objective(params)
    lines = _with_one_objective(found, params) if second is None else _with_two(found, params, second)
    if found.stopped_early:
        lines.append("The search stopped early, because no trial differed from the defaults by more than noise.")
    repeated = "" if found.seed_gain is None else "; the best trial and the defaults were trained again with other seeds"
    return [
        *lines,
        f"Each trial fits the joint model to {fitted}.",
        f"Cost: {found.trials} trials ({found.pruned} pruned, {found.failed} failed), {found.epochs:g} epochs, "
        f"{found.training_tokens:,} training tokens{repeated}.",
    ]


def _with_one_objective(found: SearchSummary, params: TuneParams) -> list[str]:
    gain, noise = found.gain_over_defaults, found.row_noise
    score = f"{objective(params).title} {found.best_score:.4f}"
    best = f"trial {found.best_trial}, {score}"
    if gain is None:
        return [f"Best: {best}. Trial 0, the defaults, did not complete."]
    if found.best_trial == 0:
        return [f"Nothing beat the defaults, which are used: {score} (trial 0)."]
    if found.winner == found.best_trial:
        lines = [f"Best: {best}, {gain:.4f} better than the defaults (trial 0)."]
        if noise is not None and found.seed_gain is not None:
            lines.append(
                f"More than noise: chance explains up to {noise:.4f}, and with other seeds it is {found.seed_gain:.4f} better."
            )
        return lines
    why_defaults = "The gain of the best trial may be noise"
    if (found.row_p_value or 0.0) > LEVEL:
        why = f"chance alone explains up to {noise or 0.0:.4f}"
        if found.trials_differ is False:
            why_defaults = "No trial differs from the defaults by more than noise"
    elif found.seed_gain is None:
        why = "its training with another seed failed, or tune.timeout_minutes left no time for it"
    elif found.seed_noise is None and found.seed_gain > 0:
        why = "tune.timeout_minutes left no time for a second training with another seed"
    elif found.seed_noise is None:
        why = "not with another seed"
    elif found.seed_gain > 0:
        why = f"with other seeds it is {found.seed_gain:.4f} better, of which chance explains up to {found.seed_noise:.4f}"
    else:
        why = f"with other seeds it is {-found.seed_gain:.4f} worse"
    return [f"{why_defaults}, so the defaults are used: {best}, is {gain:.4f} better, but {why}."]


def _with_two(found: SearchSummary, params: TuneParams, second: Goal) -> list[str]:
    gain = found.gain_over_defaults
    difference = "" if not gain else f", {abs(gain):.4f} {'better' if gain > 0 else 'worse'} than the defaults (trial 0)"
    numbers = ", ".join(map(str, found.pareto_front))
    return [
        f"Best: trial {found.best_trial}, {objective(params).title} {found.best_score:.4f}{difference}.",
        f"Pareto front: trials {numbers}. Of those within {params.second_margin:g} of the best score, the winner has the "
        f"lowest {second.title}.",
    ]


def table(trials: Sequence[TrialResult], winner: int, params: TuneParams) -> Table:
    """One row for each trial, the winner in bold."""
    second = second_objective(params)
    found = Table("trial", "state", objective(params).title, *([second.title] if second else []), "epochs", "knobs")
    for column in (0, *range(2, 4 + bool(second))):
        found.columns[column].justify = "right"
    for trial in trials:
        state = f"failed: {trial.reason}" if trial.state == "failed" else trial.state
        cells = [str(trial.number), state, "" if trial.score is None else f"{trial.score:.4f}"]
        if second:
            cells.append("" if trial.second is None else f"{trial.second:.3f}")
        knobs = ", ".join(f"{name.partition('.')[2]} {short(value)}" for name, value in trial.point.items())
        cells += [f"{epochs_of(trial.curve):g}", knobs]
        found.add_row(*(Text(one_line(cell)) for cell in cells), style="bold" if trial.number == winner else "")
    return found
