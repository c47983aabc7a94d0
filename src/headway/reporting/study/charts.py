"""Figures of a finished study: history, importances, parallel coordinates and slices."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headway.params import TuneParams
from headway.ranges import Choices, FloatRange, IntRange
from headway.reporting.figures import BLUE, FONT_SIZE, GOLD, GREY, GRID, INK, RED, legend_above, new_figure
from headway.reporting.study.live import short
from headway.search.goals import objective, second_objective
from headway.search.results import SearchSummary, TrialResult, best, completed, pareto_front, score_of, second_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Of each figure, in inches: the width of a page.
WIDTH = 11.5
#: The name of pruned trials in a legend.
PRUNED = "pruned: score after fewer epochs"


def history(trials: Sequence[TrialResult], found: SearchSummary, params: TuneParams) -> Figure:
    """The score of each trial: the trial whose values are used in red, and a band of noise around the defaults' score."""
    from matplotlib.ticker import MaxNLocator

    goal = objective(params)
    figure = new_figure(width=WIDTH, height=3.8)
    axes = figure.add_subplot()
    for state, mark, colour, name in (("complete", "o", BLUE, "complete"), ("pruned", "x", GREY, PRUNED)):
        ended = [trial for trial in trials if trial.state == state]
        if ended:
            axes.plot(
                [trial.number for trial in ended], [score_of(trial) for trial in ended], mark, color=colour, label=name
            )
    complete = {trial.number: score_of(trial) for trial in completed(trials)}
    if found.winner in complete:
        axes.plot([found.winner], [complete[found.winner]], "D", color=RED, markersize=9, label="used")
    if found.row_noise is not None and 0 in complete:
        low, high = complete[0] - found.row_noise, complete[0] + found.row_noise
        axes.axhspan(low, high, color=GREY, alpha=0.15, zorder=0, label="noise around the defaults")
    axes.set(xlabel="trial (0: the values in params.yaml)", ylabel=goal.title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axes)
    _quiet(axes)
    return figure


def importances(shares: dict[str, float]) -> Figure:
    """Importance of each hyperparameter for a trial to be among the best."""
    figure = new_figure(width=WIDTH, height=1.2 + 0.35 * max(1, len(shares)))
    axes = figure.add_subplot()
    ordered = sorted(shares.items(), key=lambda item: (item[1], item[0]))
    axes.barh([name for name, _ in ordered], [share for _, share in ordered], color=BLUE)
    axes.set(xlim=(0, 1), xlabel="importance, PED-ANOVA (Watanabe et al. 2023)")
    _quiet(axes)
    return figure


def parallel(trials: Sequence[TrialResult], found: SearchSummary, params: TuneParams) -> Figure:
    """One line for each trial, through its hyperparameters to its score: the one that is used in red, pruned ones in grey."""
    figure = new_figure(width=max(WIDTH, 1.7 * (len(params.space) + 1)), height=4)
    axes = figure.add_subplot()
    scored = _scored(trials)
    scores = [score_of(trial) for trial in scored]
    low, high = min(scores), max(scores)
    names = [*params.space, objective(params).title]
    winner = _used(trials, found)
    for trial in sorted(scored, key=lambda trial: (trial is winner, trial.state == "complete")):
        heights = [position(knob, trial.point.get(name)) for name, knob in params.space.items()]
        heights.append(0.5 if high == low else (score_of(trial) - low) / (high - low))
        chosen = trial is winner
        axes.plot(heights, "o-", color=_colour(trial, winner), alpha=1 if chosen else 0.4, lw=2 if chosen else 1, ms=3)
    for index, name in enumerate(names):
        axes.axvline(index, color=GRID, zorder=0)
        ends = map(short, ends_of(params.space[name])) if name in params.space else (f"{low:.4f}", f"{high:.4f}")
        for end, height, side in zip(ends, (-0.04, 1.04), ("top", "bottom"), strict=True):
            axes.text(index, height, end, ha="center", va=side, color=GREY, size=FONT_SIZE - 1, parse_math=False)
    axes.set_xticks(
        range(len(names)),
        [textwrap.fill(name.replace(".", ". "), 18) for name in names],
        size=FONT_SIZE,
        color=INK,
        parse_math=False,
    )
    axes.tick_params(axis="x", pad=18, length=0)
    axes.set(yticks=[], ylim=(-0.02, 1.02), xlim=(-0.4, len(names) - 0.6))
    axes.spines[:].set_visible(False)
    return figure


def slices(trials: Sequence[TrialResult], found: SearchSummary, params: TuneParams) -> Figure:
    """The score against each hyperparameter: the trial that is used in red, pruned trials as crosses."""
    from matplotlib.ticker import MaxNLocator

    columns = min(4, max(2, len(params.space)))
    rows = max(1, math.ceil(len(params.space) / columns))
    figure = new_figure(width=WIDTH, height=2.8 * rows)
    winner = _used(trials, found)
    for index, (name, knob) in enumerate(params.space.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        for trial in sorted(_scored(trials), key=lambda trial: (trial is winner, trial.state == "complete")):
            if name in trial.point:
                value = knob.choices.index(trial.point[name]) if isinstance(knob, Choices) else trial.point[name]
                mark = "x" if trial.state == "pruned" else "o"
                axes.plot([value], [score_of(trial)], mark, color=_colour(trial, winner), ms=4 + 2 * (trial is winner))
        if isinstance(knob, Choices):
            axes.set_xticks(range(len(knob.choices)), [str(choice) for choice in knob.choices], parse_math=False)
            axes.set_xlim(-0.5, len(knob.choices) - 0.5)
        elif knob.log:
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel(name, parse_math=False)
        if index % columns == 0:
            axes.set_ylabel("score")
        _quiet(axes, FONT_SIZE - 2)
    if not params.space:
        _note(figure.add_subplot(), "no hyperparameter was searched")
    return figure


def pareto(trials: Sequence[TrialResult], params: TuneParams) -> Figure:
    """Both objectives of the complete trials, the Pareto front and the best trial."""
    second = second_objective(params)
    assert second is not None, "a front needs two objectives"
    figure = new_figure(width=WIDTH, height=3.8)
    axes = figure.add_subplot()
    for shown, style, colour, name in (
        (_scored(trials), "o", BLUE, "trial"),
        (pareto_front(trials, params), "o-", GOLD, "front"),
        ([best(trials, params)], "o", RED, "best"),
    ):
        axes.plot(
            [second_of(trial) for trial in shown], [score_of(trial) for trial in shown], style, color=colour, label=name
        )
    axes.set(xlabel=second.title, ylabel=objective(params).title)
    legend_above(axes)
    _quiet(axes)
    return figure


def position(knob: FloatRange | IntRange | Choices, value: Any) -> float:
    """The position of a value in its range, from 0 to 1, on a log scale if it is searched on one; NaN if inactive."""
    if value is None:
        return math.nan
    if isinstance(knob, Choices):
        return knob.choices.index(value) / max(1, len(knob.choices) - 1)
    low, high = (math.log(knob.low), math.log(knob.high)) if knob.log else (knob.low, knob.high)
    return 0.5 if high == low else ((math.log(value) if knob.log else value) - low) / (high - low)


def ends_of(knob: FloatRange | IntRange | Choices) -> tuple[Any, Any]:
    """The values at the two ends of an axis."""
    return (knob.choices[0], knob.choices[-1]) if isinstance(knob, Choices) else (knob.low, knob.high)


def _scored(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials that did not fail. The score of a pruned trial is its last one."""
    return [trial for trial in trials if trial.score is not None]


def _used(trials: Sequence[TrialResult], found: SearchSummary) -> TrialResult:
    """The trial whose values are used."""
    return next(trial for trial in trials if trial.number == found.winner)


def _colour(trial: TrialResult, winner: TrialResult) -> str:
    if trial is winner:
        return RED
    return BLUE if trial.state == "complete" else GREY


def _quiet(axes: Axes, size: float = FONT_SIZE) -> None:
    """Grey axes without a frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(which="both", colors=GREY, length=0, labelsize=size)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=GREY, size=size)


def _note(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=GREY)
    axes.set_axis_off()
