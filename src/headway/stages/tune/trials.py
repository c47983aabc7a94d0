"""Runs the trials of a search: gives them their rows and n-grams, hands them to an executor, and logs each to MLflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError, first_line
from headway.files import read_json, sha256_of_json
from headway.layout import Layout
from headway.params import TUNABLE, Params
from headway.ranges import Choices, Value, is_derived, nearest_value
from headway.search.results import FinishedSearch, TrialResult
from headway.search.trial import Outcome, Progress, Task

if TYPE_CHECKING:
    import numpy as np

    from headway.data.tokenization.encoded import EncodedTexts
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


def load_shared(params: Params, layout: Layout) -> Shared:
    """What all trials have in common, with the n-grams of their rows, which are fitted here."""
    return with_ngrams(shared_rows(params, layout))


def with_ngrams(shared: Shared) -> Shared:
    """The same with n-grams, fitted on its rows."""
    ngrams = fitted_ngrams(shared.data, shared.params, len(shared.class_rows))
    return replace(shared, data=replace(shared.data, ngrams=ngrams))


def with_pretrained(shared: Shared, layout: Layout, threads: int) -> Shared:
    """The same with its rows as a pretrained encoder sees them, if a trial may have one. They are computed unless kept."""
    return replace(shared, data=replace(shared.data, **pretrained_rows(shared.params, layout, threads)))


def pretrained_rows(params: Params, layout: Layout, threads: int) -> dict[str, Any]:
    """The fields of :class:`headway.search.objective.TrialData` for a pretrained encoder; none if no trial has one.

    Args:
        params: of a trial, which may have fewer threads.
        threads: that compute the features, the same number as in the stage train, which so finds them.
    """
    if "pretrained" not in params.encoders:
        return {}
    import numpy as np

    from headway.data.batching.datamodule import subset
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import FrozenFeatures, Subwords
    from headway.stages.tokenize.pretrained import PretrainedRows, encoder_of, subwords_of

    chosen = rows_of_trials(EncodedTexts.open(layout.encoded / "train.arrow"), params)
    if params.pretrained.mode == "frozen":
        rows = PretrainedRows.of(params.override({"training.threads": threads}), layout)
        cost = encoder_cost(params, layout)
        return {"features": FrozenFeatures(np.array(rows.train[chosen]), np.array(rows.validation), cost)}
    files = encoder_of(params, layout)
    folder = subwords_of(params, layout, files)
    train, validation = (EncodedTexts.open(folder / f"{name}.arrow") for name in ("train", "validation"))
    some, held_out = (
        replace(subset(texts, indices), ids=()) for texts, indices in ((train, chosen), (validation, range(len(validation))))
    )
    return {"subwords": Subwords(some, held_out, files.folder)}


def encoder_cost(params: Params, layout: Layout) -> float:
    """What a pretrained encoder adds to the second objective, in its unit; 0 without one."""
    from headway.data.batching import TextBatches
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.model import pretrained
    from headway.model.training import pin
    from headway.search.objective import SECOND_OBJECTIVES
    from headway.stages.tokenize.pretrained import encoder_of, subwords_of

    if (second := SECOND_OBJECTIVES.get(params.tune.second_objective)) is None:
        return 0.0
    files, knobs = encoder_of(params, layout), params.pretrained
    n_classes = len(read_json(layout.prepared / "labels.json", made_by="prepare"))
    pin(params.training.threads)
    part = pretrained.PretrainedClassifier(pretrained.load(files.folder), knobs.pooling, knobs.max_length, n_classes)
    return second(part, TextBatches(EncodedTexts.open(subwords_of(params, layout, files) / "validation.arrow")))


def shared_rows(params: Params, layout: Layout) -> Shared:
    """What all trials have in common, without n-grams."""
    import numpy as np

    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import Shared

    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    labels = EncodedTexts.open(layout.encoded / "train.arrow").labels
    return Shared(params, load_rows(layout.encoded, params), np.bincount(labels, minlength=len(classes)).tolist())


def load_rows(folder: Path, knobs: Params) -> TrialData:
    """A fixed share of the training rows, the same for every tokenizer, and all validation rows; without n-grams.

    Args:
        folder: with the rows as encoded with these knobs.
    """
    import numpy as np

    from headway.data.batching.datamodule import subset
    from headway.data.tokenization import tokenizer, vectors
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import TrialData

    train, validation = (EncodedTexts.open(folder / f"{split}.arrow") for split in ("train", "validation"))
    some = replace(subset(train, rows_of_trials(train, knobs)), ids=())
    held_out = replace(subset(validation, np.arange(len(validation))), ids=())
    size = tokenizer.load(folder / "tokenizer.json").get_vocab_size()
    return TrialData(some, held_out, size, vectors.load(folder))


def rows_of_trials(train: EncodedTexts, knobs: Params) -> np.ndarray:
    """Indices of the training rows that a trial has, ascending; all if the share of ``tune.train_share`` has none."""
    import numpy as np

    from headway.data.text.splits import unit_hash
    from headway.model.schedule import trial_share

    share = trial_share(knobs.tune.train_share, len(train))
    part = np.flatnonzero([unit_hash(row_id, "search") < share for row_id in train.ids])
    return part if len(part) else np.arange(len(train))


def fitted_ngrams(data: TrialData, knobs: Params, n_classes: int) -> NgramPart | None:
    """N-grams fitted on the rows that a trial trains on, so that a trial is the whole training on fewer rows; None without."""
    from headway.data.batching.datamodule import WholeTexts
    from headway.model.fitting import fit_ngrams
    from headway.search.objective import ngram_part

    ngrams = fit_ngrams(WholeTexts(data.train, data.validation), n_classes, knobs, "tune")
    return ngram_part(ngrams, data.validation, knobs.tune.second_objective) if ngrams is not None else None


def _data_values(knobs: Params) -> tuple[Value, ...]:
    """The values of :data:`DATA_KNOBS`."""
    return tuple(attrgetter(path)(knobs) for path in DATA_KNOBS)


@dataclass(frozen=True)
class StartedWhenNeeded:
    """An executor that starts when it gets its first batch, so that a study without trials left to run needs no n-grams."""

    start: Callable[[], Executor[Task, Outcome]]
    workers: int

    def run(self, tasks: Sequence[Task], listener: Listener[Outcome]) -> None:
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

    def run(self, tasks: Sequence[Task], listener: Listener[Outcome]) -> None:
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
