"""The paths of a project's files and folders. No other module spells them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headway.errors import HeadwayError

MARKERS = ("params.yaml", "dvc.yaml")


@dataclass(frozen=True)
class Layout:
    """The paths below a project's root folder."""

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

    # Files that a person edits.
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

    # Results, by stage: files for programs, which the pages are drawn from.
    @property
    def profile(self) -> Path:
        """What is in the data: counts, shares and histograms, as JSON."""
        return self.root / "results" / "data" / "profile.json"

    @property
    def quarantine_examples(self) -> Path:
        """Some of the quarantined rows, beside the profile."""
        return self.profile.with_name("quarantine_examples.json")

    @property
    def baseline(self) -> Path:
        return self.root / "results" / "baseline"

    @property
    def study(self) -> Path:
        return self.root / "results" / "study"

    @property
    def training(self) -> Path:
        return self.root / "results" / "training"

    @property
    def evaluation(self) -> Path:
        return self.root / "results" / "evaluation"

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

    # Pages and plots, drawn by the stage report alone.
    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    def page(self, name: str) -> Path:
        return self.reports / f"{name}.html"

    # Never versioned.
    @property
    def scratch(self) -> Path:
        return self.root / ".headway"

    @property
    def tracking(self) -> Path:
        return self.root / "mlruns"

    @property
    def ingested(self) -> Path:
        """When the source was read. It is kept out of the outs, because they must be the same after every run."""
        return self.scratch / "ingested.json"
