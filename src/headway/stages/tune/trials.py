"""Runs the trials of a search: gives them their rows, hands them to an executor, and logs each to MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.files import read_json, sha256_of_json
from headway.layout import Layout
from headway.params import Params
from headway.ranges import Value
from headway.search.results import TrialResult
from headway.search.trial import Outcome, Progress, Task

if TYPE_CHECKING:
    from headway.executors import Executor, Listener
    from headway.search.objective import Shared, TrialData
    from headway.tracking import Tracker


class TrialFailed(Exception):
    """Closes the MLflow run of a failed trial as FAILED."""


def run_trials(
    params: Params, layout: Layout, key: str, folder: Path, tracker: Tracker, progress: Progress
) -> list[TrialResult]:
    """Run a study to its end, or continue it; its journal is in the folder, and the tracker logs each finished trial."""
    from headway.executors import open_executor
    from headway.search.objective import run_trial
    from headway.search.storage import database_errors, open_storage
    from headway.search.study import Search

    folder.mkdir(parents=True, exist_ok=True)
    threads = threads_per_trial(params)
    shared = load_shared(params.override({"training.threads": threads}), layout)
    storage = open_storage(params.tune.storage, folder / "journal.log")
    search = Search(params.tune, defaults_of(params), params.seed, storage, f"headway {key[:16]}")
    # A trial in another process cannot show its batches here.
    work = partial(run_trial, batches=progress.batches) if params.tune.executor == "serial" else run_trial
    opened = open_executor(
        params.tune.executor, work, shared, workers=params.tune.workers, threads=threads, address=params.tune.address
    )
    with database_errors(params.tune.storage), opened as executor:
        encoding = EncodingExecutor(executor, params, layout)
        return search.run(encoding, progress, lambda trial: log_trial(tracker, trial, key))


def threads_per_trial(params: Params) -> int:
    """``training.threads``, divided among the workers if they share this machine."""
    on_cluster = params.tune.executor == "ray" and params.tune.address
    if params.tune.executor == "serial" or on_cluster:
        return params.training.threads
    return max(1, params.training.threads // params.tune.workers)


def defaults_of(params: Params) -> dict[str, Value]:
    """The hyperparameters of trial 0: the values in params.yaml of every knob in the space."""
    return {path: attrgetter(path)(params) for path in params.tune.space}


def load_shared(params: Params, layout: Layout) -> Shared:
    """What all trials have in common."""
    import numpy as np

    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import Shared

    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    labels = EncodedTexts.open(layout.encoded / "train.arrow").labels
    return Shared(params, load_data(layout.encoded, params), np.bincount(labels, minlength=len(classes)).tolist())


def load_data(folder: Path, params: Params) -> TrialData:
    """A fixed share of the training rows, the same for every tokenizer, and all validation rows, from the folder with both."""
    import numpy as np

    from headway.data.batching.datamodule import subset
    from headway.data.text.splits import unit_hash
    from headway.data.tokenization import tokenizer, vectors
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import TrialData

    def rows(split: str, share: float) -> EncodedTexts:
        texts = EncodedTexts.open(folder / f"{split}.arrow")
        part = np.flatnonzero([unit_hash(row_id, "search") < share for row_id in texts.ids])
        chosen = subset(texts, part if len(part) else np.arange(len(texts)))
        return EncodedTexts(chosen.tokens, chosen.offsets, chosen.labels, ())

    size = tokenizer.load(folder / "tokenizer.json").get_vocab_size()
    return TrialData(rows("train", params.tune.train_share), rows("validation", 1.0), size, vectors.load(folder))


@dataclass(frozen=True)
class EncodingExecutor:
    """Encodes the rows of each task that changes the tokenizer, then passes the tasks on to another executor.

    Rows are encoded here, once for each setting of the tokenizer, and travel with the task. So workers need no texts.
    """

    executor: Executor[Task, Outcome]
    params: Params
    layout: Layout

    @property
    def workers(self) -> int:
        return self.executor.workers

    def run(self, tasks: Sequence[Task], listener: Listener[Outcome]) -> None:
        ready: list[Task] = []
        for position, task in enumerate(tasks):
            if any(path.startswith("tokenizer.") for path in task.point):
                listener.started(position)  # encoding is part of the trial: a kill during it counts
            try:
                ready.append(replace(task, data=self._encoded(task)))
            except (HeadwayError, MemoryError) as error:
                ready.append(replace(task, problem=str(error) or "out of memory"))
        self.executor.run(ready, listener)

    def _encoded(self, task: Task) -> TrialData | None:
        from headway.stages.tokenize.cached import encoded_with

        chosen = self.params.at(task.point).tokenizer
        folder = encoded_with(chosen, self.params.tokenizer, self.layout)
        return None if folder == self.layout.encoded else load_data(folder, self.params)


def log_trial(tracker: Tracker, trial: TrialResult, key: str) -> None:
    """Log a trial as a nested run with its hyperparameters, curve, cost and end; a run that is there already stays as it is."""
    run_key = sha256_of_json([key, trial.number])
    existing = tracker.find(kind="trial", key=run_key)
    if existing and existing.info.status in ("FINISHED", "FAILED"):
        return
    numbers = {"score": trial.score, "second": trial.second, "training_tokens": trial.tokens, "seconds": trial.seconds}
    with suppress(TrialFailed), tracker.nested("trial", f"trial {trial.number}", run_key) as run:
        run.log_params(trial.point)
        for entry in trial.curve:
            run.log_metrics({name: value for name, value in entry.items() if name != "epoch"}, step=int(entry["epoch"]))
        run.log_metrics({name: value for name, value in numbers.items() if value is not None})
        run.set_tags({"headway.trial": trial.state, **({"headway.reason": trial.reason} if trial.reason else {})})
        if trial.state == "failed":
            raise TrialFailed
