"""Whether trials of the search rank points of a search space as full trainings do, on some cells of the panel.

``make bench-ranks`` measures the values in params.yaml and random points of a space, each as a trial and as the full training
with the same seed. It prints Spearman's rank correlation with the full training's joint model, for each cell and as the median
over cells: of trials scored by the joint model, as the search scores them, and by the attention part alone. Both are scored on
the validation rows, as in the search, so that what these rows have by chance raises the correlations. Finished points are kept in
``.headway/panel`` by code and params, so that an interrupted run continues.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.panel.cells import mistakes_in_one_line, read_cells
from benchmarks.panel.measurement import DATA_STAGES, MODEL_SECTIONS, MODEL_STAGES, Measurement, params_of, timed
from benchmarks.panel.packages import PROJECT
from headway import params as parameters
from headway.data.batching.datamodule import WholeTexts
from headway.data.tokenization import tokenizer
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError
from headway.files import read_json, sha256_of_file, sha256_of_json, write_json
from headway.layout import Layout
from headway.model.fitting import fit_ngrams
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier
from headway.params import Params
from headway.ranges import Space, Value
from headway.search.goals import KEPT_BY, OBJECTIVES, kept
from headway.search.objective import Shared, run_trial
from headway.search.space import propose
from headway.search.trial import Task
from headway.stages.train import fit_attention, join
from headway.stages.tune.trials import load_shared

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
#: Names of the parts and of the metrics that trials are scored by.
JOINT, ATTENTION = "joint", "attention"
ACCURACY, NLL = "accuracy", "nll"
#: The entries of a trial's curve with its scores.
ENTRIES = {
    (JOINT, ACCURACY): OBJECTIVES["accuracy"].entry,
    (JOINT, NLL): OBJECTIVES["negative_log_likelihood"].entry,
    (ATTENTION, ACCURACY): "validation_accuracy",
    (ATTENTION, NLL): KEPT_BY,
}

#: Accuracy and negative log-likelihood in nats on the validation rows; empty if the training failed.
Scores = dict[str, float]


@dataclass(frozen=True)
class PointMeasurements(Measurement):
    """A cell with one seed, measured at points of a search space."""

    def at(self, point: Mapping[str, Value]) -> dict[str, Any]:
        """The scores of a point, measured unless they are known.

        Returns:
            Scores of the trial by its ``joint`` model and its ``attention`` part, and of the ``full`` training's joint model;
            ``seconds`` of the trial and of the full training, without the fits of the n-grams, which all points share; the
            ``reason`` if one of them failed.
        """
        code = self._key((*DATA_STAGES, *MODEL_STAGES, "tune"), (*MODEL_SECTIONS, "tune")), sha256_of_file(Path(__file__))
        file = self.folder / f"point-{sha256_of_json([code, dict(point)])[:16]}.json"
        if not file.exists():
            write_json(file, self._measure_at(point, file.with_suffix(".checkpoints")))
        return dict(read_json(file, made_by="benchmark"))

    def _measure_at(self, point: Mapping[str, Value], checkpoints: Path) -> dict[str, Any]:
        shared, ngrams = self._shared, self._ngrams  # not part of the time of a point
        seconds: dict[str, float] = {}
        with timed("trial", seconds):
            outcome = run_trial(shared, Task(0, dict(point)))
        scores: dict[str, Scores] = {JOINT: {}, ATTENTION: {}}
        if outcome.state == "complete":
            for (part, metric), entry in ENTRIES.items():
                scores[part][metric] = kept(outcome.curve)[entry]
        with timed("full", seconds):
            try:
                scores["full"], reason = self._train(self.params.at(point), ngrams, checkpoints), outcome.reason
            except HeadwayError as error:  # it diverged, or memory ran out
                scores["full"], reason = {}, str(error)
        shutil.rmtree(checkpoints, ignore_errors=True)
        return {"point": dict(point), **scores, "seconds": seconds, "reason": reason}

    def _train(self, knobs: Params, ngrams: NgramClassifier | None, checkpoints: Path) -> Scores:
        """The scores of the joint model as the stage train makes it."""
        train, validation = self._splits
        vocabulary_size = tokenizer.load(self._layout.encoded / "tokenizer.json").get_vocab_size()
        class_rows = self._shared.class_rows
        fitted = fit_attention(train, validation, vocabulary_size, len(class_rows), knobs, checkpoints)
        report = join(JointClassifier(ngrams, fitted.classifier), validation, class_rows)
        return {ACCURACY: report["validation_accuracy"], NLL: report["validation_nll"]["after"]}

    @cached_property
    def _layout(self) -> Layout:
        return self._data()

    @cached_property
    def _splits(self) -> list[EncodedTexts]:
        """Training and validation rows."""
        return [EncodedTexts.open(self._layout.encoded / f"{name}.arrow") for name in ("train", "validation")]

    @cached_property
    def _shared(self) -> Shared:
        with timed("trial n-grams", {}):
            return load_shared(self.params, self._layout)

    @cached_property
    def _ngrams(self) -> NgramClassifier | None:
        """The n-grams of the full training."""
        with timed("n-grams", {}):
            return fit_ngrams(WholeTexts(*self._splits), len(self._shared.class_rows), self.params)


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
    for part, metric in ENTRIES:
        worst = math.inf if metric == NLL else -math.inf
        trial, full = ([result[name].get(metric, worst) for result in results] for name in (part, "full"))
        vary = len(set(trial)) > 1 and len(set(full)) > 1
        found[part, metric] = float(spearmanr(trial, full).statistic) if vary else math.nan
    return found


def table_of(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """A row for each cell and the median over cells."""
    table = Table("cell", "points", *(f"{metric}, trial by {part}" for part, metric in ENTRIES), "trials, s", "full, s")
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
        for name in (JOINT, ATTENTION, "full")
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
