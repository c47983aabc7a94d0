"""Stage tune: searches hyperparameters on training and validation rows, never on the test split."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.errors import HeadwayError
from headway.files import fresh_folder, read_json, sha256_of_file, sha256_of_json, write_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.params import Params
from headway.search.results import SearchSummary, TrialResult, best, summary
from headway.search.trial import Progress
from headway.stages.tune.trials import run_trials, threads_per_trial

if TYPE_CHECKING:
    from headway.tracking import RunningRun, Tracker

#: Knobs of the section that decide how many trials of a study run, and which of them wins, but not what the trials are.
BUDGET = {"trials", "timeout_minutes", "target", "second_margin"}
#: Knobs that decide where the trials run and where the study is stored.
PLACE = {"executor", "address", "storage"}
SPLITS = ("train", "validation")
FILES = ("best_params.json", "trials.json")
#: Number of studies with other params, code or data that are kept in the scratch folder, the latest ones.
KEPT_STUDIES = 8


def tune(
    params: Params, layout: Layout, open_tracker: Callable[[], Tracker], progress: Progress | None = None
) -> TrialResult:
    """Run the search, or continue it, and write ``best_params.json``, ``trials.json`` and the search's metrics.

    The results of a finished search stay in the scratch folder. When the stage runs again it copies them, without loading
    PyTorch or the data.

    Args:
        open_tracker: returns the MLflow tracker; called only if there is something to log.

    Returns:
        The winner.

    Raises:
        HeadwayError: another process runs a search in this project, or no trial completed.
    """
    from filelock import FileLock, Timeout

    layout.scratch.mkdir(exist_ok=True)
    try:
        with FileLock(layout.scratch / "tune.lock", timeout=0):
            found = _find(params, layout, open_tracker, progress or Progress())
            with fresh_folder(layout.study) as folder:
                for name in FILES:
                    shutil.copyfile(found / name, folder / name)
            write_json(layout.metrics("search"), read_json(found / "search.json", made_by="tune"))
    except Timeout:
        raise HeadwayError(f"{layout.root}: another process runs a search; wait until it is done, or end it") from None
    return best(trials_of(layout), params.tune)


def trials_of(layout: Layout) -> list[TrialResult]:
    """The trials of the last search.

    Raises:
        HeadwayError: there is none, or another version made it.
    """
    trials: list[dict[str, Any]] = read_json(layout.study / "trials.json", made_by="tune")
    try:
        return [TrialResult(**trial) for trial in trials]
    except TypeError:
        raise _other_version(layout) from None


def summary_of(layout: Layout) -> SearchSummary:
    """The summary of the last search.

    Raises:
        HeadwayError: there is none, or another version made it.
    """
    try:
        return SearchSummary(**read_json(layout.metrics("search"), made_by="tune"))
    except TypeError:
        raise _other_version(layout) from None


def study_key(params: Params, layout: Layout) -> str:
    """Hash of everything that decides which trials a study has and how they score."""
    spec = [
        params.tune.model_dump(exclude=BUDGET | PLACE),
        threads_per_trial(params),
        params.model.model_dump(),
        params.training.model_dump(),
        params.tokenizer.model_dump(),
        params.seed,
        code_fingerprint(layout, "tune"),
    ]
    rows = [layout.encoded / f"{name}.arrow" for name in SPLITS]
    files = [layout.prepared / "labels.json", layout.encoded / "tokenizer.json", *rows, *layout.encoded.glob("vectors.npy")]
    return sha256_of_json([*spec, *(sha256_of_file(file) for file in files)])


def _find(params: Params, layout: Layout, open_tracker: Callable[[], Tracker], progress: Progress) -> Path:
    """The folder with the results of this search, which runs if it is not there yet.

    Studies with other keys stay for a while, so that undoing a change of params.yaml finds its trials again.
    """
    key = study_key(params, layout)
    studies = layout.scratch / "study"
    study = studies / key[:16]
    others = [folder for folder in studies.glob("*") if folder != study]
    for old in sorted(others, key=lambda folder: folder.stat().st_mtime)[:-KEPT_STUDIES]:
        shutil.rmtree(old)
    budget = sha256_of_json(params.tune.model_dump(include=BUDGET))
    found = study / f"found-{budget[:16]}"
    if not found.is_dir():
        tracker = open_tracker()
        # The folder is made last: while it is missing, the next run completes what is missing in MLflow too.
        with fresh_folder(found) as folder, tracker.parent() as parent:
            trials = run_trials(params, layout, key, study, tracker, progress)
            write_json(folder / "best_params.json", best(trials, params.tune).point)
            write_json(folder / "trials.json", [trial.as_dict() for trial in trials])
            write_json(folder / "search.json", summary(trials, params.tune).as_dict())
            _log(parent, trials, params, folder)
    return found


def _log(run: RunningRun, trials: list[TrialResult], params: Params, folder: Path) -> None:
    """Log the search to the parent run. The seconds are logged here only, because an out must not contain them."""
    numbers = {k: v for k, v in asdict(summary(trials, params.tune)).items() if isinstance(v, int | float)}
    numbers["seconds"] = sum(trial.seconds for trial in trials)
    run.log_metrics({f"search_{name}": value for name, value in numbers.items()})
    run.log_artifacts([folder / name for name in FILES], "search")


def _other_version(layout: Layout) -> HeadwayError:
    return HeadwayError(f"{layout.study}: made by another version; run `dvc repro tune`")
