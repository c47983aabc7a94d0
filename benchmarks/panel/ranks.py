"""Whether trials of the search rank points of a search space as full trainings do, on some cells of the panel.

``make bench-ranks`` measures the values in params.yaml and random points of a space, each as a trial and as the full training
with the same seed. It prints Spearman's rank correlation with the full training's joint model, for each cell and as the median
over cells: of trials scored by the joint model, as the search scores them, and by the attention part alone; and of the full
training again with another seed, which no trial can be expected to exceed: where it is low, the points differ by less than one
seed from another. All are scored on the validation rows, as in the search, so that what these rows have by chance raises the
correlations. Finished points are kept in
``.headway/panel`` by code and params, so that an interrupted run continues.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.panel.cells import mistakes_in_one_line, read_cells
from benchmarks.panel.measurement import params_of
from benchmarks.panel.packages import PROJECT
from benchmarks.panel.points import ACCURACY, AGAIN, ATTENTION, ENTRIES, JOINT, NLL, PointMeasurements
from headway import params as parameters
from headway.errors import HeadwayError
from headway.ranges import Space, Value
from headway.search.space import propose

#: Cells of different languages, sizes, lengths and numbers of classes.
CELLS = (
    "names-th",
    "packages-ko",
    "tweets",
    "verses",
    "fortunes-pl",
    "chinese-reviews-8000",
    "fortunes-ru",
    "imdb-8000",
)
SEED, POINTS = 1, 7
DROPOUTS = ("model.embedding_dropout", "model.bigram_dropout", "model.dropout")
#: The space of ``--space wide``.
WIDE: dict[str, dict[str, Any]] = {
    "training.learning_rate": {"type": "float", "low": 0.0003, "high": 0.02, "log": True},
    **{name: {"type": "float", "low": 0.0, "high": 0.6} for name in DROPOUTS},
    "model.similarity": {"type": "categorical", "choices": ["inner_product", "cosine"]},
}


#: What is compared with the full training.
COMPARED = (*ENTRIES, (AGAIN, ACCURACY), (AGAIN, NLL))
TITLES = {JOINT: "trial by joint", ATTENTION: "trial by attention", AGAIN: "full, other seed"}


def main() -> None:
    """Measure the cells, those with the fewest rows first, and print the correlations."""
    arguments = _arguments()
    console = Console(width=max(110, Console().width), highlight=False)
    with mistakes_in_one_line(console):
        run(arguments, console)


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure what the arguments name."""
    cells, _ = read_cells(console, arguments.only)
    if not cells:
        raise HeadwayError("no cell is left to measure; name others with --only")
    points = points_of(space_named(arguments.space), arguments.points)
    measured: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        measurements = PointMeasurements(cell, SEED, params_of(cell, SEED, {}))
        measured[cell.name] = []
        for number, point in enumerate(points):
            with console.status(f"{cell.name}, point {number} of {len(points) - 1}"):
                measured[cell.name].append(measurements.at(point))
            console.print(f"{cell.name:20} {_line(number, measured[cell.name][-1])}", soft_wrap=True, markup=False)
    console.print(table_of(measured))


def space_named(name: str) -> Space:
    """The space of params.yaml (shipped), or the wide one."""
    params = parameters.load(PROJECT / "params.yaml")
    return params.tune.space if name == "shipped" else params.override({"tune.space": WIDE}).tune.space


def points_of(space: Space, number: int) -> list[dict[str, Value]]:
    """The values in params.yaml, which trial 0 has, and a number of random points of a space; fewer if it has no more."""
    params = parameters.load(PROJECT / "params.yaml")
    points: list[dict[str, Value]] = [{name: attrgetter(name)(params) for name in space}]
    for seed in range(number):
        point = propose(space, ["maximize"], seed, [], [], points)  # without a history the sampler is random
        if point is None:
            break
        points.append(point)
    return points


def correlations(results: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Spearman's rank correlation with the full training over points, by the part that a trial is scored by and the metric.

    A training that failed is the worst. NaN if all points are equal.
    """
    found = {}
    for part, metric in COMPARED:
        worst = math.inf if metric == NLL else -math.inf
        trial, full = ([result[name].get(metric, worst) for result in results] for name in (part, "full"))
        vary = len(set(trial)) > 1 and len(set(full)) > 1
        found[part, metric] = float(spearmanr(trial, full).statistic) if vary else math.nan
    return found


def table_of(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """A row for each cell and the median over cells."""
    table = Table("cell", "points", *(f"{metric}, {TITLES[part]}" for part, metric in COMPARED), "trials, s", "full, s")
    table.title = "Rank correlation with the validation score of the full training's joint model"
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    found_by_cell = []
    for name, results in measured.items():
        found = correlations(results)
        found_by_cell.append(found.values())
        seconds = (f"{sum(result['seconds'][kind] for result in results):.0f}" for kind in ("trial", "full"))
        table.add_row(name, str(len(results)), *map(_shown, found.values()), *seconds)
    medians = map(_median, zip(*found_by_cell, strict=True))
    table.add_section()
    table.add_row("median", "", *map(_shown, medians), "", "")
    return table


def _median(correlations: Sequence[float]) -> float:
    known = [correlation for correlation in correlations if not math.isnan(correlation)]
    return statistics.median(known) if known else math.nan


def _shown(correlation: float) -> str:
    return "—" if math.isnan(correlation) else f"{correlation:.2f}"


def _line(number: int, result: Mapping[str, Any]) -> str:
    scores = (
        f"{name} " + (f"{result[name][ACCURACY]:.4f} ({result[name][NLL]:.4f})" if result[name] else "failed")
        for name in (JOINT, ATTENTION, "full", AGAIN)
    )
    seconds = result["seconds"]
    why = f"; {result['reason']}" if result["reason"] else ""
    return f"point {number}: {', '.join(scores)} in {seconds['trial']:.0f} and {seconds['full']:.0f} s{why}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(CELLS), metavar="NAME", help=f"cells ({' '.join(CELLS)})")
    parser.add_argument("--points", type=int, default=POINTS, help=f"random points besides trial 0's ({POINTS})")
    parser.add_argument("--space", choices=("shipped", "wide"), default="shipped", help="that of params.yaml, or a wide one")
    arguments = parser.parse_args()
    if arguments.points < 1:
        parser.error("--points: expected at least 1")
    return arguments


if __name__ == "__main__":
    main()
