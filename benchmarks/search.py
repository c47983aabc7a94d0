"""What pruning saves and loses, what ranks trials early, and how much time the search adds to its trials.

``make bench-search`` runs it on all Rotten Tomatoes sentences and a slice of the IMDB reviews. Searches that are compared
have the same seeds and space. Results and conclusions are in ``benchmarks/notes.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from optuna.storages import InMemoryStorage
from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML
from scipy.stats import spearmanr

from benchmarks.shipped import PROJECT, SUBSETS, params_for, prepared
from benchmarks.targets import Target, print_targets
from headway import environment
from headway import params as parameters
from headway.errors import HeadwayError
from headway.executors import Serial, WorkerLost, open_executor
from headway.layout import Layout
from headway.params import Params
from headway.ranges import Point
from headway.search.goals import Goal, objective
from headway.search.objective import run_trial
from headway.search.pruning import RUNGS, at_rungs, limits
from headway.search.results import TrialResult, best, score_of
from headway.search.space import propose
from headway.search.study import Search
from headway.search.trial import Outcome, Progress, Task
from headway.stages.tokenize import tokenize
from headway.stages.tune import tune
from headway.stages.tune.rows import load_shared
from headway.stages.tune.trials import defaults_of, threads_per_trial
from headway.tracking import Tracker

RETRAININGS = 3  # of a winner's point, with other seeds
#: Targets: percentage points lost, share of the compute, seconds per trial, seconds, and speedup.
LOST, COMPUTE, OVERHEAD, EXHAUSTED, FASTER = 0.3, 0.40, 2.0, 5.0, 1.6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rows", type=int, default=5000, help="number of IMDB reviews")
    parser.add_argument("--only", choices=SUBSETS, help="run one of the two data sets")
    parser.add_argument("--sentences", type=int, default=0, help="number of Rotten Tomatoes sentences; 0: all")
    arguments = parser.parse_args()
    environment.configure()
    console = Console(highlight=False, width=max(120, Console().width))
    targets: list[Target] = []
    for subset, rows in {"rotten_tomatoes": arguments.sentences, "imdb": arguments.rows}.items():
        if arguments.only not in (None, subset):
            continue
        bench = Bench(subset, rows, arguments.trials, arguments.epochs, console)
        targets += bench.pruning(arguments.repeats)
        if subset == "rotten_tomatoes":
            targets += [*bench.overhead(), *bench.workers(arguments.repeats)]
    print_targets(console, targets)


class Bench:
    """The measurements on one data set. Each prints a table and returns its targets."""

    def __init__(self, subset: str, rows: int, trials: int, epochs: int, console: Console) -> None:
        space = parameters.load(PROJECT / "params.yaml").model_dump()["tune"]["space"]
        budget = {"tune.trials": trials, "tune.max_epochs": epochs, "tune.train_share": 1.0, "tune.space": space}
        self.params = params_for(subset, rows).override(budget)
        self.name, self.console = f"{subset}, {rows:,} rows" if rows else subset, console
        self.layout = prepared(self.params, "bench-search")
        if not (self.layout.encoded / "tokenizer.json").exists():
            tokenize(self.params, self.layout)

    def pruning(self, repeats: int) -> list[Target]:
        """Compare searches with and without pruning for the same seeds, and replay pruning on the unpruned trials.

        The best of many scores is partly chance, the more so the more trials complete. So the points of both winners are also
        trained with other seeds: the difference there is the real loss.
        """
        table = _table(
            "seed",
            "unpruned",
            "pruned",
            "points lost",
            "of the compute",
            "lost after retraining",
            "lost in replay",
            "of the compute",
        )
        table.title = f"Pruning: {self.name}, {self.params.tune.trials} trials of up to {self.params.tune.max_epochs} epochs"
        goal = objective(self.params.tune)
        lost, compute, retrained = [], [], []
        ranks: dict[str, list[float]] = {f"{rung:.0%} of the steps": [] for rung in RUNGS}
        ranks["a quarter of the rows, all epochs"] = []
        for repeat in range(repeats):
            params = self.params.override({"seed": self.params.seed + repeat})
            self.console.print(f"Searching {self.name} with seed {params.seed}, unpruned and pruned")
            full, pruned = (self._search(params.override({"tune.pruning": on})) for on in (False, True))
            replayed = replay(full, params)
            found = [score_of(best(trials, params.tune)) for trials in (full, pruned, replayed)]
            costs = [sum(trial.tokens for trial in trials) for trials in (full, pruned, replayed)]
            lost.append(100 * goal.gain(found[0], found[1]))
            compute.append(costs[1] / costs[0])
            retrained.append(
                100 * goal.gain(*(self._retrain(params, best(trials, params.tune)) for trials in (full, pruned)))
            )
            table.add_row(
                str(params.seed),
                f"{found[0]:.4f}",
                f"{found[1]:.4f}",
                f"{lost[-1]:+.2f}",
                f"{compute[-1]:.0%}",
                f"{retrained[-1]:+.2f}",
                f"{100 * goal.gain(found[0], found[2]):+.2f}",
                f"{costs[2] / costs[0]:.0%}",
            )
            final = [score_of(trial) for trial in full]
            for rung in RUNGS:
                ranks[f"{rung:.0%} of the steps"].append(_rank([_at(trial, rung, goal) for trial in full], final))
            few = load_shared(params.override({"tune.train_share": 0.25, "tune.pruning": False}), self.layout)
            quarter = [run_trial(few, Task(trial.number, trial.point)).values[0] for trial in full]
            ranks["a quarter of the rows, all epochs"].append(_rank(quarter, final))
        self.console.print(table)
        mean, error = (
            statistics.mean(retrained),
            statistics.stdev(retrained) / math.sqrt(repeats) if repeats > 1 else math.nan,
        )
        self.console.print(
            f"Winners' points, {RETRAININGS} trainings with other seeds: {mean:+.2f} points lost, standard error {error:.2f}"
        )
        ranking = _table("scored after", "Spearman's rank correlation with the last score, by seed")
        ranking.title = f"What ranks trials early: {self.name}"
        for name, values in ranks.items():
            ranking.add_row(name, ", ".join(f"{value:.2f}" for value in values))
        self.console.print(ranking)
        points, share_of = statistics.mean(lost), statistics.mean(compute)
        return [
            (f"{self.name}: pruning loses {points:+.2f} points on average, target {LOST}", points <= LOST),
            (f"{self.name}: at {share_of:.0%} of the training compute, target {COMPUTE:.0%}", share_of <= COMPUTE),
        ]

    def _search(self, params: Params) -> Sequence[TrialResult]:
        shared = load_shared(params, self.layout)
        defaults = defaults_of(params, shared)
        search = Search(params.tune, defaults, params.seed, InMemoryStorage(), "bench", may_stop_early=False)
        with contextlib.redirect_stdout(io.StringIO()):
            return search.run(Serial(run_trial, shared, 1), Progress(), lambda _: None).trials

    def _retrain(self, params: Params, winner: TrialResult) -> float:
        """The mean objective of trainings with other seeds at a winner's point."""
        shared, scores = load_shared(params, self.layout), []
        for number in range(RETRAININGS):
            other = params.override({"seed": 1_000 * params.seed + number, "tune.pruning": False})
            scores.append(run_trial(replace(shared, params=other), Task(winner.number, winner.point)).values[0])
        return statistics.mean(scores)

    def overhead(self) -> list[Target]:
        """The time of the stage outside its trials, and its time when the search is already finished."""
        params = self.params.override({"tune.max_epochs": 1, "tune.trials": 8})
        with tempfile.TemporaryDirectory() as folder:
            layout = Layout(Path(folder) / "project")
            shutil.copytree(self.layout.root, layout.root)
            shutil.copyfile(PROJECT / "dvc.yaml", layout.graph)
            YAML().dump(params.model_dump(), layout.params)
            tracker = Tracker(params, layout)
            started = time.monotonic()
            with contextlib.redirect_stdout(io.StringIO()):
                tune(params, layout, lambda: tracker)
            seconds = time.monotonic() - started
            run = tracker.client.get_run(tracker.pipeline_run().id)
            outside = (seconds - run.data.metrics["search_seconds"]) / run.data.metrics["search_trials"]
            started = time.monotonic()
            subprocess.run([sys.executable, "-m", "headway.cli", "tune"], cwd=layout.root, check=True, capture_output=True)
            again = time.monotonic() - started
        return [
            (f"the stage adds {outside:.2f} s to each trial, target {OVERHEAD:g}", outside <= OVERHEAD),
            (f"`headway tune` after a finished search takes {again:.1f} s, target {EXHAUSTED:g}", again <= EXHAUSTED),
        ]

    def workers(self, rounds: int) -> list[Target]:
        """Trials per hour of one and of two worker processes with the same total number of threads, in alternating rounds.

        A third case, one worker with half of the threads, shows what sharing the machine costs.
        """
        table = _table("workers", "threads each", "trials/hour, by round", "median")
        table.title = f"Process workers: {self.name}, 4 trials per round, workers already started"
        points: list[Point] = []
        while len(points) < 4:
            points.append(propose(self.params.tune.space, ["maximize"], len(points), [], [], points) or {})
        alone, half = (
            threads_per_trial(self.params.override({"tune.executor": "processes", "tune.workers": workers}))
            for workers in (1, 2)
        )
        one, two, slim = (1, alone), (2, half), (1, half)
        speeds: dict[tuple[int, int], list[float]] = {one: [], two: [], slim: []}
        for _ in range(rounds):
            for (workers, threads), speed in speeds.items():
                params = self.params.override({"tune.executor": "processes", "tune.workers": workers})
                shared = load_shared(params.override({"training.threads": threads}), self.layout)
                with open_executor("processes", run_trial, shared, workers=workers) as executor:
                    out_of_reach = math.inf if objective(params.tune).maximise else -math.inf
                    warm = [Task(0, dict(points[0]), {0.5: out_of_reach}) for _ in range(workers)]
                    executor.run(warm, RequireComplete("pruned", "complete"))
                    started = time.monotonic()
                    for first in range(0, len(points), workers):
                        tasks = [Task(number, dict(points[number])) for number in range(first, first + workers)]
                        executor.run(tasks, RequireComplete("complete"))
                    speed.append(3600 * len(points) / (time.monotonic() - started))
        for (workers, threads), speed in speeds.items():
            by_round = ", ".join(f"{value:.0f}" for value in speed)
            table.add_row(str(workers), str(threads), by_round, f"{statistics.median(speed):.0f}")
        self.console.print(table)
        times = _times(speeds[two], speeds[one])
        of_threads, of_machine = _times(speeds[one], speeds[slim]), _times(speeds[two], speeds[slim])
        self.console.print(
            f"{alone} threads are {of_threads:.2f} times as fast as {half}; two parallel trials with {half} each are "
            f"{of_machine:.2f} times as fast as one: {of_machine:.2f} / {of_threads:.2f} = {times:.2f}"
        )
        return [(f"two workers are {times:.2f} times as fast as one, target {FASTER}", times >= FASTER)]


class RequireComplete:
    """Listens to a batch and raises if a trial did not complete. ``states`` are the outcomes that are accepted."""

    def __init__(self, *states: str) -> None:
        self.states = states

    def started(self, position: int) -> None: ...
    def reported(self, position: int, report: object) -> None: ...
    def ended(self, position: int, result: Outcome | WorkerLost) -> None:
        if isinstance(result, WorkerLost) or result.state not in self.states:
            raise HeadwayError(f"a trial of the benchmark did not complete: {result}")


def replay(trials: Sequence[TrialResult], params: Params) -> list[TrialResult]:
    """Unpruned trials in their order, each cut off where pruning would have ended it."""
    goal = objective(params.tune)
    ended: list[TrialResult] = []
    for trial in trials:
        bounds = limits(ended, params.tune)
        judged = at_rungs(trial.curve, list(bounds))
        poor = [entry for rung, entry in judged if goal.is_better(bounds[rung], entry[goal.entry])]
        if trial.state == "complete" and poor:
            curve = trial.curve[: trial.curve.index(poor[0]) + 1]
            tokens = round(trial.tokens * poor[0]["progress"] / trial.curve[-1]["progress"])
            score = poor[0][goal.entry]
            ended.append(replace(trial, state="pruned", score=score, curve=curve, tokens=tokens))
        else:
            ended.append(trial)
    return ended


def _at(trial: TrialResult, rung: float, goal: Goal) -> float:
    """The objective at a rung; NaN if the trial ended before, or has no evaluation between the rung and its end."""
    return next((entry[goal.entry] for _, entry in at_rungs(trial.curve, [rung])), math.nan)


def _rank(early: list[float], final: list[float]) -> float:
    """Spearman's rank correlation over the trials that have an early score."""
    return float(spearmanr(early, final, nan_policy="omit").statistic)


def _times(speeds: list[float], others: list[float]) -> float:
    """The median ratio of two speeds, round by round."""
    return statistics.median(speed / other for speed, other in zip(speeds, others, strict=True))


def _table(*columns: str) -> Table:
    table = Table(*columns, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    return table


if __name__ == "__main__":
    try:
        main()
    except HeadwayError as error:
        sys.stderr.write(f"bench: {error}\n")
        sys.exit(2)
