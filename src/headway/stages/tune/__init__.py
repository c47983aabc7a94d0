"""Stage tune: the search. It sees training and validation rows, never the test split."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.files import fresh_folder, read_json, sha256_of_file, sha256_of_json, write_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.params import Params
from headway.ranges import Value
from headway.search.results import TrialResult, best, summary

if TYPE_CHECKING:
    from headway.executors import Done, Executor, Started, WatchBatch
    from headway.search.objective import Rows, Shared
    from headway.search.study import Progress
    from headway.search.trial import Task
    from headway.tracking import RunningRun, Tracker

#: Knobs of the section that change how much of a study is run, which of its trials wins, or where they run, but not which
#: trials it is made of.
BUDGET = {"trials", "timeout_minutes", "target", "second_margin"}
ELSEWHERE = {"executor", "address", "storage"}
SPLITS = ("train", "validation")
FILES = ("best_params.json", "trials.json")
#: Of other params, code or data, the latest.
KEPT_STUDIES = 8


class TrialFailed(Exception):
    """Closes the MLflow run of a failed trial as FAILED."""


def tune(
    params: Params, layout: Layout, open_tracker: Callable[[], Tracker], progress: Progress | None = None
) -> TrialResult:
    """Write ``results/study``: ``best_params.json`` for the training, and ``trials.json``; and the search's metrics.

    What a finished search found stays in the scratch folder: started again, the stage copies it, and loads neither PyTorch
    nor data.

    Args:
        open_tracker: gives MLflow's tracker when trials are to be logged.
        progress: shows what happens while the search runs.

    Raises:
        HeadwayError: another process searches in this project, or no trial could be completed.
    """
    from filelock import FileLock, Timeout

    from headway.errors import HeadwayError

    key = study_key(params, layout)
    layout.scratch.mkdir(exist_ok=True)
    try:
        with FileLock(layout.scratch / "tune.lock", timeout=0):
            kept = _kept(params, layout, key, open_tracker, progress)
            return _publish(kept, params, layout)
    except Timeout:
        raise HeadwayError(f"{layout.root}: another process runs a search; wait until it is done, or end it") from None


def _kept(params: Params, layout: Layout, key: str, open_tracker: Callable[[], Tracker], progress: Progress | None) -> Path:
    """The folder with what the search found, made if it is not there yet.

    Studies of other keys stay for a while: who takes a change of params.yaml back finds the trials again.
    """
    scratch = layout.scratch / "study"
    others = [old for old in scratch.glob("*") if old.name != key[:16]]
    for old in sorted(others, key=lambda old: old.stat().st_mtime)[:-KEPT_STUDIES]:
        shutil.rmtree(old)
    budget = sha256_of_json(params.tune.model_dump(include=BUDGET))
    kept = scratch / key[:16] / f"found-{budget[:16]}"
    if not kept.is_dir():
        tracker = open_tracker()
        # The folder comes last: once it is there, nobody asks MLflow again.
        with fresh_folder(kept) as folder, tracker.parent() as parent:
            trials = _search(params, layout, key, tracker, progress)
            _write(trials, params, folder)
            log_search(parent, trials, params, folder)
    return kept


def study_key(params: Params, layout: Layout) -> str:
    """Identity of the study: all that decides which trials it is made of and how they score."""
    spec = [
        params.tune.model_dump(exclude=BUDGET | ELSEWHERE),
        threads_of_a_trial(params),
        params.model.model_dump(),
        params.training.model_dump(),
        params.tokenizer.model_dump(),
        params.seed,
        code_fingerprint(layout, "tune"),
    ]
    rows = [layout.encoded / f"{name}.arrow" for name in SPLITS]
    files = [layout.prepared / "labels.json", layout.encoded / "tokenizer.json", *rows, *layout.encoded.glob("vectors.npy")]
    return sha256_of_json([*spec, *(sha256_of_file(file) for file in files)])


def threads_of_a_trial(params: Params) -> int:
    """``training.threads``, divided between the workers where these share this machine."""
    elsewhere = params.tune.executor in ("dask", "ray") and params.tune.address
    if params.tune.executor == "serial" or elsewhere:
        return params.training.threads
    return max(1, params.training.threads // params.tune.workers)


def defaults_of(params: Params) -> dict[str, Value]:
    """What trial 0 tries: by knob of the space, the value in params.yaml."""
    return {path: attrgetter(path)(params) for path in params.tune.space}


def _search(params: Params, layout: Layout, key: str, tracker: Tracker, progress: Progress | None) -> list[TrialResult]:
    """Run what is left of the search."""
    from headway.executors import executor
    from headway.search.objective import run_trial
    from headway.search.storage import answering, open_storage
    from headway.search.study import NoProgress, Search

    folder = layout.scratch / "study" / key[:16]
    folder.mkdir(parents=True, exist_ok=True)
    threads = threads_of_a_trial(params)
    shared = shared_by(params.override({"training.threads": threads}), layout)
    storage = open_storage(params.tune.storage, folder / "journal.log")
    search = Search(params.tune, defaults_of(params), params.seed, storage, f"headway {key[:16]}")
    progress = progress or NoProgress()
    # A trial in another process cannot show its batches here.
    work = partial(run_trial, batches=progress.batches) if params.tune.executor == "serial" else run_trial
    engines = executor(params.tune, work, shared, threads)
    with answering(params.tune.storage), engines as engine:
        return search.run(Encoding(engine, params, layout), progress, lambda trial: log_trial(tracker, trial, key))


@dataclass(frozen=True)
class Encoding:
    """An executor that gives each task the rows that its tokenizer knobs make, where it has such knobs.

    Rows are encoded here, once for each setting, and travel with the task: a worker needs no texts.
    """

    engine: Executor
    params: Params
    layout: Layout

    @property
    def workers(self) -> int:
        return self.engine.workers

    def run(self, tasks: Sequence[Task], started: Started, done: Done, watch: WatchBatch | None = None) -> None:
        from headway.errors import HeadwayError
        from headway.search.trial import Outcome

        ready: dict[int, Task] = {}
        for position, task in enumerate(tasks):
            if any(path.startswith("tokenizer.") for path in task.point):
                started(position)  # encoding is work too, which a process can be killed in
            try:
                ready[position] = replace(task, rows=self._rows(task))
            except (HeadwayError, MemoryError) as error:
                done(position, Outcome("failed", reason=str(error) or "out of memory"))
        positions = list(ready)
        self.engine.run(
            list(ready.values()),
            lambda index: started(positions[index]),
            lambda index, outcome: done(positions[index], outcome),
            None if watch is None else lambda index, entry: watch(positions[index], entry),
        )

    def _rows(self, task: Task) -> Rows | None:
        from headway.stages.tokenize.cached import encoded_with

        chosen = self.params.at(task.point).tokenizer
        folder = encoded_with(chosen, self.params.tokenizer, self.layout)
        return None if folder == self.layout.encoded else rows_in(folder, self.params)


def rows_in(folder: Path, params: Params) -> Rows:
    """The search's share of the rows that lie encoded in a folder."""
    from headway.data.tokenization import tokenizer, vectors
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import rows_of

    train, validation = (EncodedTexts.open(folder / f"{name}.arrow") for name in SPLITS)
    size = tokenizer.load(folder / "tokenizer.json").get_vocab_size()
    return rows_of(train, validation, size, params.tune.train_share, vectors.load(folder))


def shared_by(params: Params, layout: Layout) -> Shared:
    """What all trials have in common."""
    import numpy as np

    from headway.data.tokenization.encoded import EncodedTexts
    from headway.search.objective import Shared

    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    labels = EncodedTexts.open(layout.encoded / "train.arrow").labels
    return Shared(params, rows_in(layout.encoded, params), np.bincount(labels, minlength=len(classes)).tolist())


def log_trial(tracker: Tracker, trial: TrialResult, key: str) -> None:
    """A nested run with the trial's params, curve, cost and end; one that is there already stays as it is."""
    run_key = sha256_of_json([key, trial.number])
    found = tracker.find(kind="trial", key=run_key)
    if found and found.info.status in ("FINISHED", "FAILED"):
        return
    try:
        with tracker.nested("trial", f"trial {trial.number}", run_key) as run:
            _log(run, trial)
            if trial.state == "failed":
                raise TrialFailed
    except TrialFailed:
        pass


def _log(run: RunningRun, trial: TrialResult) -> None:
    run.log_params(trial.point)
    for entry in trial.curve:
        run.log_metrics({name: value for name, value in entry.items() if name != "epoch"}, step=int(entry["epoch"]))
    known = {"score": trial.score, "second": trial.second, "training_tokens": trial.tokens, "seconds": trial.seconds}
    run.log_metrics({name: value for name, value in known.items() if value is not None})
    run.set_tags({"headway.trial": trial.state, **({"headway.reason": trial.reason} if trial.reason else {})})


def log_search(run: RunningRun, trials: list[TrialResult], params: Params, folder: Path) -> None:
    """Log to the parent run what the search found and cost. The seconds are logged here only: an out must not hold them."""
    found = {name: value for name, value in summary(trials, params.tune).items() if isinstance(value, int | float)}
    found["seconds"] = sum(trial.seconds for trial in trials)
    run.log_metrics({f"search_{name}": value for name, value in found.items()})
    run.log_artifacts([folder / name for name in FILES], "search")


def _write(trials: list[TrialResult], params: Params, folder: Path) -> None:
    write_json(folder / "best_params.json", best(trials, params.tune).point)
    write_json(folder / "trials.json", [trial.as_dict() for trial in trials])
    write_json(folder / "search.json", summary(trials, params.tune))


def _publish(kept: Path, params: Params, layout: Layout) -> TrialResult:
    """Copy what the search found to where the other stages and DVC look for it."""
    with fresh_folder(layout.study) as folder:
        for name in FILES:
            shutil.copyfile(kept / name, folder / name)
    write_json(layout.metrics("search"), read_json(kept / "search.json", made_by="tune"))
    return best(trials_of(layout), params.tune)


def trials_of(layout: Layout) -> list[TrialResult]:
    """The trials of the last search."""
    found: list[dict[str, Any]] = read_json(layout.study / "trials.json", made_by="tune")
    return [TrialResult.from_dict(trial) for trial in found]
