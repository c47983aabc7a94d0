"""Stage tune: searches hyperparameters on training and validation rows, never on the test split."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from headway.errors import HeadwayError
from headway.files import fresh_folder, read_json, sha256_of_file, sha256_of_json, write_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.params import PLACE_OF_TRAINING, Params
from headway.search.found import summary_of, trials_of
from headway.search.results import SearchSummary, TrialResult, summary
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
        The winner: the best trial or, if its gain may be noise, trial 0.

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
    winner = summary_of(layout).winner
    return next(trial for trial in trials_of(layout) if trial.number == winner)


def study_key(params: Params, layout: Layout) -> str:
    """Hash of everything that decides which trials a study has and how they score."""
    spec = [
        params.search.model_dump(exclude=BUDGET | PLACE),
        threads_per_trial(params),
        params.ngrams.model_dump(),
        params.model.model_dump(),
        params.training.model_dump(exclude=PLACE_OF_TRAINING),
        params.tokenizer.model_dump(),
        params.seed,
        code_fingerprint(layout, "tune"),
    ]
    rows = [layout.encoded / f"{name}.arrow" for name in SPLITS]
    files = [layout.prepared / "labels.json", layout.encoded / "tokenizer.json", *rows, *layout.encoded.glob("vectors.npy")]
    if "pretrained" in params.encoders:
        from headway.stages.tokenize.pretrained import identity

        spec += [params.pretrained.model_dump(), *identity(params, layout)]
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
            finished, repeats = run_trials(params, layout, key, study, tracker, progress)
            result = summary(finished, repeats, _train_share(params, layout))
            # If the defaults win, the file is empty, so `auto` stays `auto`.
            point = next(trial.point for trial in finished.trials if trial.number == result.winner) if result.winner else {}
            write_json(folder / "best_params.json", point)
            write_json(folder / "trials.json", [trial.as_dict() for trial in finished.trials])
            write_json(folder / "search.json", result.as_dict())
            _log(parent, result, [*finished.trials, *repeats], folder)
    return found


def _train_share(params: Params, layout: Layout) -> float:
    """Share of the training rows that a trial is trained on."""
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.model.schedule import trial_share

    return trial_share(params.tune.train_share, len(EncodedTexts.open(layout.encoded / "train.arrow")))


def _log(run: RunningRun, result: SearchSummary, trials: list[TrialResult], folder: Path) -> None:
    """Log the search to the parent run. The seconds are logged here only, because an out must not contain them."""
    numbers = {name: value for name, value in asdict(result).items() if isinstance(value, int | float)}
    numbers["seconds"] = sum(trial.seconds for trial in trials)
    run.log_metrics({f"search_{name}": value for name, value in numbers.items()})
    run.log_artifacts([folder / name for name in FILES], "search")
