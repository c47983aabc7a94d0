"""The paths of a project's files and folders. No other module spells them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headway.errors import HeadwayError

MARKERS = ("params.yaml", "dvc.yaml")
REMEDY = (
    "A project is a clone of Headway's repository, with params.yaml, dvc.yaml, flows and .dvc: change to yours, or restore the "
    "file with `git checkout`"
)


class _At:
    """An attribute of :class:`Layout`: a path below the root folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __get__(self, layout: Layout, _: type[Layout]) -> Path:
        return layout.root / self.path


@dataclass(frozen=True)
class Layout:
    """The paths below a project's root folder."""

    root: Path

    # What a person edits.
    params = _At("params.yaml")
    graph = _At("dvc.yaml")
    lock = _At("dvc.lock")
    vectors = _At("data/vectors")
    encoders = _At("data/encoders")
    corrections = _At("data/corrections")
    feedback = _At("data/feedback")

    # Data, by stage.
    raw = _At("data/raw")
    prepared = _At("data/prepared")
    encoded = _At("data/encoded")

    # Results, by stage: files for programs, which the pages are drawn from.
    profile = _At("results/data/profile.json")
    quarantine_examples = _At("results/data/quarantine_examples.json")
    text_examples = _At("results/data/text_examples.json")
    baseline = _At("results/baseline")
    study = _At("results/study")
    training = _At("results/training")
    evaluation = _At("results/evaluation")
    slices = _At("results/evaluation/slices.json")
    mistakes = _At("results/evaluation/mistakes.json")
    confusions = _At("results/evaluation/confusions.json")
    coverage = _At("results/evaluation/coverage.json")
    over_time = _At("results/evaluation/over_time.json")
    evaluated_model = _At("results/evaluation/model.json")
    candidate = _At("models/candidate")

    # Pages and plots, drawn by the stage report; the pages of the decision, the card and the index are drawn after the gate.
    reports = _At("reports")
    plots = _At("plots")

    # Never versioned.
    scratch = _At(".headway")
    tracking = _At("mlruns")
    tracking_database = _At("mlruns/mlflow.db")
    artifacts = _At("mlruns/artifacts")
    #: When the source was read. It is not kept in an out, because outs must be the same after every run.
    ingested = _At(".headway/ingested.json")

    @property
    def tracking_uri(self) -> str:
        """MLflow's URI of the project's own database, with its absolute path."""
        return f"sqlite:///{self.tracking_database}"

    def metrics(self, stage: str) -> Path:
        return self.root / "metrics" / f"{stage}.json"

    def page(self, name: str) -> Path:
        return self.reports / f"{name}.html"

    @classmethod
    def find(cls, start: Path | None = None) -> Layout:
        """The project that contains ``start`` (by default the working directory).

        Raises:
            HeadwayError: no folder from there upwards holds params.yaml and dvc.yaml, or there is no such folder.
        """
        try:
            start = (start or Path.cwd()).resolve(strict=True)
        except OSError as error:
            where = start or "the working directory"
            raise HeadwayError(f"{where}: {error.strerror}; change to the folder of your project, and run again") from None
        folders = (start, *start.parents)
        for folder in folders:
            if all(_is_file(folder / marker) for marker in MARKERS):
                return cls(folder)
        for folder in folders:
            found = [marker for marker in MARKERS if _is_file(folder / marker)]
            if found:
                missing = next(marker for marker in MARKERS if marker not in found)
                raise HeadwayError(
                    f"{folder}: not inside a Headway project: {found[0]} is here, but {missing} is missing. {REMEDY}"
                )
        raise HeadwayError(
            f"{start}: not inside a Headway project: no folder up from here holds {' and '.join(MARKERS)}. {REMEDY}"
        )

    def without_flows(self, module: str) -> HeadwayError:
        """The error that the project has no such module of flows, which is not installed with the package."""
        return HeadwayError(f"{self.root}: not a whole Headway project: flows/{module}.py is missing. {REMEDY}")


def _is_file(path: Path) -> bool:
    """Whether this is a file; False also for one that may not be looked at."""
    try:
        return path.is_file()
    except OSError:
        return False
