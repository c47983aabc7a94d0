"""A place that files lie in, wherever that is, and the order that they have there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """A file, or the files of a folder.

    Attributes:
        given: the path or URL, as it was given.
        names: of the files below the folder, in order; or of the one file.
        is_folder: which of the two it is.
        fetch: gives the local path of a file by its name.
    """

    given: str
    names: Sequence[str]
    is_folder: bool
    fetch: Callable[[str], Path]


def ordered(names: Iterable[str]) -> list[str]:
    """Names as a person would order them, ``r-9.csv`` before ``r-10.csv``; those in hidden folders are left out."""
    return sorted((name for name in names if not any(part.startswith(".") for part in name.split("/")[:-1])), key=_natural)


def _natural(name: str) -> tuple[list[str | int], str]:
    """A name's words and numbers in turn; the name itself where these are the same, as in ``r-1`` and ``r-01``."""
    return [int(part) if position % 2 else part for position, part in enumerate(re.split(r"(\d+)", name))], name
