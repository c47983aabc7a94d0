"""Runs the trials of a search: gives them their rows and n-grams, hands them to an executor, and logs each to MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from headway.errors import HeadwayError, first_line
from headway.files import read_json, sha256_of_json
from headway.layout import Layout
from headway.params import Params
from headway.ranges import Choices, Value, is_derived, nearest_value
from headway.search.results import FinishedSearch, TrialResult
from headway.search.trial import Outcome, Progress, Task

if TYPE_CHECKING:
    from headway.executors import Executor, Listener
    from headway.search.objective import NgramPart, Shared, TrialData
    from headway.tracking import Tracker


#: How paths of hyperparameters begin that change the rows of a trial or its n-grams, as :func:`_data_key` has them.
DATA_KNOBS = ("tokenizer.", "training.class_weights")


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
    shared = load_shared(params.override({"training.threads": threads}), layout)
    storage = open_storage(params.tune.storage, folder / "journal.log")
    search = Search(params.tune, defaults_of(params, shared), params.seed, storage, f"headway {key[:16]}")
    # A trial in another process cannot show its batches here.
    work = partial(run_trial, batches=progress.batches) if params.tune.executor == "serial" else run_trial
    opened = open_executor(
        params.tune.executor, work, shared, workers=params.tune.workers, threads=threads, address=params.tune.address
    )
    with database_errors(params.tune.storage), opened as executor:
        encoding = EncodingExecutor(executor, shared, layout)
        finished = search.run(encoding, progress, lambda trial: log_trial(tracker, trial, key))
        return finished, search.repeat_best(finished, encoding, progress, lambda trial: log_trial(tracker, trial, key))


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
    for path, knob in params.tune.space.items():
        found[path] = attrgetter(path)(params)
        if not isinstance(knob, Choices) and is_derived(knob, found[path]):
            section, name = path.split(".")
            model = section == "model"
            source = resolved(params.model, shared.data.vocabulary_size) if model else schedule_of_defaults(shared)
            found[path] = nearest_value(knob, getattr(source, name))
    return found


def load_shared(params: Params, layout: Layout) -> Shared:
    """What all trials have in common."""
    import numpy as np

    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import Shared

    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    labels = EncodedTexts.open(layout.encoded / "train.arrow").labels
    data = load_data(layout.encoded, params, len(classes), {})
    return Shared(params, data, np.bincount(labels, minlength=len(classes)).tolist())


def load_data(folder: Path, knobs: Params, n_classes: int, fitted: dict[str, NgramPart | None]) -> TrialData:
    """A fixed share of the training rows, the same for every tokenizer; all validation rows; and n-grams of these.

    The n-grams are fitted on the rows that a trial trains on, so that a trial is the whole training on fewer rows.

    Args:
        folder: with the rows as encoded with these knobs.
        fitted: n-grams that were fitted before, by setting, to which those of this setting are added.
    """
    import numpy as np

    from headway.data.batching.datamodule import WholeTexts, subset
    from headway.data.text.splits import unit_hash
    from headway.data.tokenization import tokenizer, vectors
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.model.fitting import fit_ngrams
    from headway.model.schedule import trial_share
    from headway.search.objective import TrialData, ngram_part

    def rows(split: str, share: float) -> EncodedTexts:
        texts = EncodedTexts.open(folder / f"{split}.arrow")
        part = np.flatnonzero([unit_hash(row_id, "search") < share for row_id in texts.ids])
        return replace(subset(texts, part if len(part) else np.arange(len(texts))), ids=())

    size = tokenizer.load(folder / "tokenizer.json").get_vocab_size()
    share = trial_share(knobs.tune.train_share, len(EncodedTexts.open(folder / "train.arrow")))
    train, validation = rows("train", share), rows("validation", 1.0)
    key = _data_key(knobs)
    if key not in fitted:
        ngrams = fit_ngrams(WholeTexts(train, validation), n_classes, knobs, "tune")
        fitted[key] = ngram_part(ngrams, validation, knobs.tune.second_objective) if ngrams is not None else None
    return TrialData(train, validation, size, vectors.load(folder), fitted[key])


def _data_key(knobs: Params) -> str:
    """Hash of the hyperparameters that change the rows of a trial or its n-grams."""
    return sha256_of_json([knobs.tokenizer.model_dump(), knobs.training.class_weights])


@dataclass(frozen=True)
class EncodingExecutor:
    """Encodes the rows and fits the n-grams of each task whose point changes either, then passes all tasks on to an executor.

    This is done here, once for each setting, and the results travel with the task. So workers need no texts.
    """

    executor: Executor[Task, Outcome]
    shared: Shared
    layout: Layout
    fitted: dict[str, NgramPart | None] = field(default_factory=dict)

    @property
    def workers(self) -> int:
        return self.executor.workers

    def run(self, tasks: Sequence[Task], listener: Listener[Outcome]) -> None:
        ready: list[Task] = []
        for position, task in enumerate(tasks):
            if any(path.startswith(DATA_KNOBS) for path in task.point):
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
        if _data_key(knobs) == _data_key(params):
            return None
        folder = encoded_with(knobs.tokenizer, params.tokenizer, self.layout)
        return load_data(folder, knobs, len(self.shared.class_rows), self.fitted)


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
