"""Runs the trials of a search: hands them to an executor with their rows and n-grams, and logs each to MLflow."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError, first_line
from headway.files import sha256_of_json
from headway.layout import Layout
from headway.params import TUNABLE, Params
from headway.ranges import Choices, Value, is_derived, nearest_value
from headway.search.results import FinishedSearch, TrialResult
from headway.search.trial import Outcome, Progress, Task
from headway.stages.tune.rows import fitted_ngrams, load_rows, pretrained_rows, shared_rows, with_ngrams, with_pretrained

if TYPE_CHECKING:
    from headway.executors import Executor, Listener
    from headway.search.objective import NgramPart, Shared, TrialData
    from headway.tracking import Tracker


#: Paths of the hyperparameters that change the rows of a trial or its n-grams.
DATA_KNOBS = tuple(path for path in TUNABLE if path.startswith("tokenizer.") or path == "training.class_weights")


class TrialFailed(Exception):
    """Closes the MLflow run of a failed trial as FAILED."""


def run_trials(
    params: Params, layout: Layout, key: str, folder: Path, tracker: Tracker, progress: Progress
) -> tuple[FinishedSearch, list[TrialResult]]:
    """Run a study to its end, or continue it; its journal is in the folder, and the tracker logs each finished trial.

    Returns:
        The trials, and the repetitions of the best one and of trial 0 with other seeds.
    """
    from headway.executors import open_executor
    from headway.search.objective import run_trial
    from headway.search.storage import database_errors, open_storage
    from headway.search.study import Search

    folder.mkdir(parents=True, exist_ok=True)
    threads = threads_per_trial(params)
    shared = shared_rows(params.override({"training.threads": threads}), layout)
    storage = open_storage(params.tune.storage, folder / "journal.log")
    search = Search(params.search, defaults_of(params, shared), params.seed, storage, f"headway {key[:16]}")
    # A trial in another process cannot show its batches here.
    work = partial(run_trial, batches=progress.batches) if params.tune.executor == "serial" else run_trial
    with database_errors(params.tune.storage), ExitStack() as stack:

        def start() -> Executor[Task, Outcome]:
            tune, ready = params.tune, with_pretrained(with_ngrams(shared), layout, params.training.threads)
            return stack.enter_context(
                open_executor(tune.executor, work, ready, workers=tune.workers, threads=threads, address=tune.address)
            )

        executor = EncodingExecutor(StartedWhenNeeded(start, params.tune.workers), shared, layout, params.training.threads)
        finished = search.run(executor, progress, lambda trial: log_trial(tracker, trial, key))
        return finished, search.repeat_best(finished, executor, progress, lambda trial: log_trial(tracker, trial, key))


def threads_per_trial(params: Params) -> int:
    """``training.threads``, divided among the workers if they share this machine."""
    on_cluster = params.tune.executor == "ray" and params.tune.address
    if params.tune.executor == "serial" or on_cluster:
        return params.training.threads
    return max(1, params.training.threads // params.tune.workers)


def defaults_of(params: Params, shared: Shared) -> dict[str, Value]:
    """The hyperparameters of trial 0: the values in params.yaml of every knob in the space.

    A value ``auto``, if the range has numbers alone, becomes the nearest number of the range to what ``auto`` gives a trial.
    """
    from headway.model.classifier import resolved
    from headway.search.objective import schedule_of_defaults

    found: dict[str, Value] = {}
    for path, knob in params.search.space.items():
        found[path] = attrgetter(path)(params)
        if not isinstance(knob, Choices) and is_derived(knob, found[path]):
            section, name = path.split(".")
            model = section == "model"
            source = resolved(params.model, shared.data.vocabulary_size) if model else schedule_of_defaults(shared)
            found[path] = nearest_value(knob, getattr(source, name))
    return found


def _data_values(knobs: Params) -> tuple[Value, ...]:
    """The values of :data:`DATA_KNOBS`."""
    return tuple(attrgetter(path)(knobs) for path in DATA_KNOBS)


@dataclass(frozen=True)
class StartedWhenNeeded:
    """An executor that starts when it gets its first batch, so that a study without trials left to run needs no n-grams."""

    start: Callable[[], Executor[Task, Outcome]]
    workers: int

    def run(self, tasks: Iterable[Task], listener: Listener[Outcome]) -> None:
        self._started.run(tasks, listener)

    @cached_property
    def _started(self) -> Executor[Task, Outcome]:
        return self.start()


@dataclass(frozen=True)
class EncodingExecutor:
    """Encodes the rows and fits the n-grams of each task whose point changes either, then passes all tasks on to an executor.

    This is done here, once for each setting, and the results travel with the task. So workers need no texts.

    Attributes:
        threads: see :func:`pretrained_rows`.
    """

    executor: Executor[Task, Outcome]
    shared: Shared
    layout: Layout
    threads: int = 1
    fitted: dict[tuple[Value, ...], NgramPart | None] = field(default_factory=dict)
    pretrained: dict[tuple[Value, ...], dict[str, Any]] = field(default_factory=dict)

    @property
    def workers(self) -> int:
        return self.executor.workers

    def run(self, tasks: Iterable[Task], listener: Listener[Outcome]) -> None:
        ready: list[Task] = []
        for position, task in enumerate(tasks):
            if task.point.keys() & DATA_KNOBS:
                listener.started(position)  # encoding is part of the trial: a kill during it counts
            try:
                ready.append(replace(task, data=self._encoded(task)))
            except (HeadwayError, MemoryError, RuntimeError) as error:  # PyTorch has RuntimeError for a lack of memory
                ready.append(replace(task, problem=first_line(error) if str(error) else "out of memory"))
        self.executor.run(ready, listener)

    def _encoded(self, task: Task) -> TrialData | None:
        from headway.stages.tokenize.cached import encoded_with

        params = self.shared.params
        knobs = params.at(task.point)
        values = _data_values(knobs)
        if values == _data_values(params):
            return None
        data = load_rows(encoded_with(knobs.tokenizer, params.tokenizer, self.layout), knobs)
        if values not in self.fitted:
            self.fitted[values] = fitted_ngrams(data, knobs, len(self.shared.class_rows))
        seen = (knobs.model.encoder, knobs.tokenizer.strip_html)  # what the sub-words of a task depend on
        if seen not in self.pretrained:
            self.pretrained[seen] = pretrained_rows(knobs, self.layout, self.threads)
        return replace(data, ngrams=self.fitted[values], **self.pretrained[seen])


def log_trial(tracker: Tracker, trial: TrialResult, key: str) -> None:
    """Log a trial as a nested run with its hyperparameters, curve, cost and end; a run that is there already stays as it is."""
    run_key = sha256_of_json([key, trial.number, *([trial.repeat] if trial.repeat else [])])
    name = f"trial {trial.number}" + (f", seed {trial.repeat + 1}" if trial.repeat else "")
    existing = tracker.find(kind="trial", key=run_key)
    if existing and existing.info.status in ("FINISHED", "FAILED"):
        return
    numbers = {"score": trial.score, "second": trial.second, "training_tokens": trial.tokens, "seconds": trial.seconds}
    with suppress(TrialFailed), tracker.nested("trial", name, run_key) as run:
        run.log_params(trial.point)
        for entry in trial.curve:
            run.log_metrics({name: value for name, value in entry.items() if name != "step"}, step=int(entry["step"]))
        run.log_metrics({name: value for name, value in numbers.items() if value is not None})
        run.set_tags({"headway.trial": trial.state, **({"headway.reason": trial.reason} if trial.reason else {})})
        if trial.state == "failed":
            raise TrialFailed
