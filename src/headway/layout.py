"""Where everything lies in a project: the only module that spells the folders' names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headway.errors import HeadwayError

MARKERS = ("params.yaml", "dvc.yaml")
#: Plots of the test split, and of the search, beside those of data and training.
EVALUATION_PLOTS = ("confusion_matrix", "reliability", "scores", "roc", "precision_recall")
SEARCH_PLOTS = ("search_history", "search_importances", "search_parallel", "search_slices")


@dataclass(frozen=True)
class Layout:
    """Paths below a project's root."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Layout:
        """The project that contains ``start`` (by default the working directory).

        Raises:
            HeadwayError: no folder from there upwards holds params.yaml and dvc.yaml.
        """
        start = (start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            if all((folder / marker).is_file() for marker in MARKERS):
                return cls(folder)
        raise HeadwayError(f"{start}: not inside a Headway project (no folder up from here holds {' and '.join(MARKERS)})")

    # What a person edits.
    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def graph(self) -> Path:
        return self.root / "dvc.yaml"

    @property
    def lock(self) -> Path:
        return self.root / "dvc.lock"

    @property
    def vectors(self) -> Path:
        return self.root / "data" / "vectors"

    # Data, by stage.
    @property
    def raw(self) -> Path:
        return self.root / "data" / "raw"

    @property
    def prepared(self) -> Path:
        return self.root / "data" / "prepared"

    @property
    def encoded(self) -> Path:
        return self.root / "data" / "encoded"

    # What the stages conclude.
    @property
    def data_report(self) -> Path:
        return self.root / "reports" / "data"

    @property
    def baseline(self) -> Path:
        return self.root / "reports" / "baseline"

    @property
    def study(self) -> Path:
        return self.root / "reports" / "study"

    @property
    def training(self) -> Path:
        return self.root / "reports" / "training"

    @property
    def evaluation(self) -> Path:
        return self.root / "reports" / "evaluation"

    @property
    def evaluation_page(self) -> Path:
        return self.evaluation / "report.html"

    @property
    def slices(self) -> Path:
        return self.evaluation / "slices.json"

    @property
    def mistakes(self) -> Path:
        return self.evaluation / "mistakes.json"

    @property
    def candidate(self) -> Path:
        return self.root / "models" / "candidate"

    def metrics(self, stage: str) -> Path:
        return self.root / "metrics" / f"{stage}.json"

    def plot(self, name: str) -> Path:
        return self.root / "plots" / f"{name}.png"

    # What is never versioned.
    @property
    def scratch(self) -> Path:
        return self.root / ".headway"

    @property
    def tracking(self) -> Path:
        return self.root / "mlruns"

    @property
    def ingested(self) -> Path:
        """When the source was read: a clock's time, which has no place in an out."""
        return self.scratch / "ingested.json"
