"""Zip files: the data files inside one are read where they are, without unpacking it."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from headway.errors import HeadwayError, first_line

MOST_FILES = 1_000_000
MOST_EXPANSION = 300  # bytes inside per byte of the zip file; text shrinks to a third or a tenth
SMALL = 1 << 26  # bytes of a file inside that may expand without a limit
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError)


def is_zip(path: Path) -> bool:
    """Whether a file is a zip file, by its content."""
    return path.is_file() and zipfile.is_zipfile(path)


def names_inside(path: Path, where: str) -> dict[str, str]:
    """The files inside a zip file, without those that macOS adds: full names by names without their common folder.

    HeadwayError if the zip file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, *DAMAGE) as error:
        raise HeadwayError(
            f"{where}: cannot be read as zip: {first_line(error)}; check that the file is complete"
        ) from error
    if len(entries) > MOST_FILES:
        raise HeadwayError(f"{where}: holds {len(entries):,} files, expected at most {MOST_FILES:,}; unpack it")
    names = [
        entry.filename
        for entry in entries
        if not entry.is_dir() and not any(part == "__MACOSX" or part.startswith("._") for part in entry.filename.split("/"))
    ]
    # Two slashes at the beginning would make another root of the path.
    paths = {name: PurePosixPath("/", name.lstrip("/")) for name in names}
    common = os.path.commonpath([path.parent for path in paths.values()]) if paths else "/"
    return {path.relative_to(common).as_posix(): name for name, path in paths.items()}


class Member:
    """A file inside a zip file, open for reading; damage is an OSError."""

    def __init__(self, file: IO[bytes]):
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes, without their compression."""
        try:
            return self._file.read(size)
        except DAMAGE as error:
            raise OSError(first_line(error)) from error


@contextmanager
def opened_member(path: Path, name: str) -> Iterator[Member]:
    """A file inside a zip file; OSError if it is missing, encrypted, or expands as no text does."""
    try:
        now = path.stat()
        archive = _archive(path, now.st_ino, now.st_size, now.st_mtime_ns)
        entry = archive.getinfo(name)
        if entry.flag_bits & 1:
            raise OSError("it needs a password")
        if entry.file_size > max(SMALL, MOST_EXPANSION * entry.compress_size):
            raise OSError(f"{entry.compress_size:,} bytes expand to {entry.file_size:,}, as in a zip bomb")
        member = archive.open(entry)
    except (KeyError, *DAMAGE) as error:
        raise OSError(first_line(error)) from error
    with member:
        yield Member(member)


@lru_cache(maxsize=2)
def _archive(path: Path, *_version: int) -> zipfile.ZipFile:
    """A zip file, kept open so that its list of files is not read again for each of them; ``_version`` changes when it does."""
    return zipfile.ZipFile(path)
