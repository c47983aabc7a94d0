"""The files at a path or URL, and the choice of those with labels, of the test split and without labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fsspec.utils import glob_translate

from headway.data.sources.streams import COMPRESSIONS, KINDS, kind_of
from headway.errors import HeadwayError
from headway.params import DataParams
from headway.phrases import listed

ENDINGS = f"{', '.join(KINDS)} (and {', '.join(COMPRESSIONS)} after it)"


@dataclass(frozen=True)
class FileSet:
    """A file, or the files of a folder."""

    where: str  # the path or URL as given
    names: Sequence[str]  # of the files relative to the folder, in order; or of the one file
    is_folder: bool  # which of the two it is
    fetch: Callable[[str], Path]  # returns the local path of the file with a name


class Roles(NamedTuple):
    """Names of the files with labels, of the test split, and without labels."""

    labelled: list[str]
    test: list[str]
    unlabelled: list[str]


def in_order(names: Iterable[str]) -> list[str]:
    """Names as a person would order them, ``r-9.csv`` before ``r-10.csv``, without those in hidden folders."""

    def words_and_numbers(name: str) -> tuple[list[str | int], str]:
        return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", name))], name

    return sorted((name for name in names if not is_hidden(name.rpartition("/")[0])), key=words_and_numbers)


def is_hidden(name: str) -> bool:
    """Whether a file is hidden, or in a hidden folder."""
    return any(part.startswith(".") for part in name.split("/"))


def assign_roles(files: FileSet, params: DataParams) -> Roles:
    """The files that the patterns in params choose; HeadwayError if there is no data file, or a pattern matches none."""
    if not files.is_folder:
        for knob in ("test_files", "unlabelled_files"):
            if pattern := getattr(params, knob):
                raise HeadwayError(
                    f"data.{knob}: the pattern {pattern!r} needs a folder, and data.path is a file; give its folder instead"
                )
        if not kind_of(files.names[0]):
            raise HeadwayError(f"data.path: {files.where} is not a known kind of file; expected a name ending in {ENDINGS}")
        return Roles([files.names[0]], [], [])
    left = [name for name in files.names if kind_of(name) and not is_hidden(name)]
    if not left:
        raise HeadwayError(f"data.path: {files.where} holds no data file; put one there, ending in {ENDINGS}")

    def take(knob: str) -> list[str]:
        pattern = getattr(params, knob)
        try:
            matches = re.compile(glob_translate(pattern)).match
        except (ValueError, re.error) as error:
            raise HeadwayError(f"data.{knob}: {pattern!r} is not a valid pattern: {error}") from None
        taken = [name for name in left if matches(name)]
        if not taken:
            rest = f"found {listed(left, 1)}" if left else "the other patterns match all files"
            raise HeadwayError(f"data.{knob}: no data file in {files.where} matches {pattern!r}; {rest}")
        left[:] = [name for name in left if name not in taken]
        return taken

    test = take("test_files") if params.test_files else []
    unlabelled = take("unlabelled_files") if params.unlabelled_files else []
    return Roles(take("files"), test, unlabelled)
