"""Files of one's own: one, or those of a folder, of any kind, on this machine or behind a URL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fsspec.utils import glob_translate

from headway.data.sources import columnar, delimited, encodings, objects, remote
from headway.data.sources.place import Place, ordered
from headway.data.sources.source import Columns, Facts, Part, Row, Source, as_unicode
from headway.data.sources.streams import COMPRESSIONS, KINDS, LocalFile, kind_of
from headway.errors import HeadwayError
from headway.files import sha256_of_file
from headway.layout import Layout
from headway.params import DataParams
from headway.phrases import listed

READERS = {
    ".csv": delimited.rows_of,
    ".tsv": delimited.rows_of,
    ".jsonl": objects.rows_of,
    ".json": objects.rows_of,
    ".parquet": columnar.rows_of,
}
ENDINGS = f"{', '.join(KINDS)} (and {', '.join(COMPRESSIONS)} after it)"


def open_files(params: DataParams, root: Path, scratch: Path) -> Source:
    """The files that ``data.path`` and the globs beside it name; those behind a URL are downloaded first.

    Args:
        params: which files, and their columns.
        root: folder that a relative path starts from.
        scratch: folder that downloads are kept in.

    Raises:
        HeadwayError: there are none, or one is of no known kind.
    """
    place, roles = _chosen(params, root, scratch)
    files, test_files, unlabelled_files = roles
    more = tuple(params.slice_columns)
    both, text = Columns(params.text_column, params.label_column, more), Columns(params.text_column, None)

    def parts(names: Iterable[str], columns: Columns, test: bool = False) -> list[Part]:
        files = [LocalFile(place.fetch(name), as_unicode(name), params.quoting) for name in names]
        return [FilePart(file, columns, params.encoding, test) for file in files]

    others = set(place.names).difference(*roles) if place.is_folder else set()
    left_aside = [name for name in place.names if name in others and not _is_hidden(name)]
    return Source(
        name=f"file {params.path}",
        version="",
        labelled=[*parts(test_files, both, test=True), *parts(files, both)],
        unlabelled=parts(unlabelled_files, text),
        left_aside=[as_unicode(name) for name in left_aside],
        data_left_aside=[as_unicode(name) for name in left_aside if kind_of(name)],
        slice_columns=more,
    )


def first_file(params: DataParams, root: Path, scratch: Path) -> LocalFile:
    """The first of the files with labels; for what is read and raised, see :func:`open_files`."""
    place, (files, _, _) = _chosen(params, root, scratch)
    return LocalFile(place.fetch(files[0]), files[0], params.quoting)


class Fingerprint(NamedTuple):
    """What tells whether a file is still the one that it was."""

    size: int
    modified: int  # nanoseconds
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, sha256_of_file(path))


class FilePart(Part):
    """The rows of one file; taking them all proves that it did not change meanwhile."""

    def __init__(self, file: LocalFile, columns: Columns, encoding: str, test: bool):
        super().__init__(Facts(file.name), test)
        self.file = file
        self.columns = columns
        self.encoding = encoding

    def rows(self) -> Iterator[Row]:
        with self.file.read_errors():
            before = Fingerprint.of(self.file.path)
            if not before.size:
                raise HeadwayError(f"{self.file.name}: empty; expected rows with a text and a label")
            if self.file.kind != ".parquet":
                found = encodings.recognise(self.file.open_bytes, self.encoding, self.file.name)
                self.facts.encoding, self.facts.encoding_guessed = found
            yield from READERS[self.file.kind](self.file, self.columns, self.facts)
            if Fingerprint.of(self.file.path) != before:
                raise HeadwayError(f"{self.file.name}: changed while it was read; run again when it is complete")
        self.facts.size, self.facts.sha256 = before.size, before.sha256


def sha256_of_files(facts: Iterable[Facts]) -> str:
    """Hex SHA-256 of one file's bytes, or over the names and hashes of several; "" where there are no files."""
    files = [part for part in facts if part.sha256]
    if len(files) == 1:
        return files[0].sha256
    listed = "".join(f"{part.name}\0{part.sha256}\n" for part in files)
    return hashlib.sha256(listed.encode()).hexdigest() if files else ""


def _chosen(params: DataParams, root: Path, scratch: Path) -> tuple[Place, tuple[list[str], list[str], list[str]]]:
    """Where the files lie; and the names of those with labels, of the test split, and without labels."""
    place = remote.place_at(params.path, scratch / "downloads") if "://" in params.path else _local_place(root, params.path)
    return place, _by_role(place, params) if place.is_folder else (_single(place, params), [], [])


def _local_place(root: Path, given: str) -> Place:
    """A file or folder on this machine."""
    path, raw = root / given, Layout(root).raw.resolve()
    if raw.is_relative_to(path.resolve()) or path.resolve().is_relative_to(raw):
        raise HeadwayError(
            f"data.path: {given} holds what the pipeline writes; put your files into a folder of their own, such as data/input"
        )
    if path.is_dir():
        names = ordered(file.relative_to(path).as_posix() for file in _files_below(path))
        return Place(given, names, is_folder=True, fetch=lambda name: path / name)
    if path.is_file():
        return Place(given, [path.name], is_folder=False, fetch=lambda _: path)
    if re.search(r"[*?\[]", given):
        raise HeadwayError(
            f"data.path: {given} does not exist; give the folder here, and the pattern of its files in data.files"
        )
    raise HeadwayError(f"data.path: {given} does not exist; give the path of your file, from the project's folder")


def _files_below(folder: Path) -> Iterator[Path]:
    """All files, but for those in hidden folders."""
    for entry in folder.iterdir():
        if entry.is_file():
            yield entry
        elif entry.is_dir() and not entry.is_symlink() and not entry.name.startswith("."):
            yield from _files_below(entry)


def _single(place: Place, params: DataParams) -> list[str]:
    """The one file, when that is all that is asked for."""
    for knob, pattern in (("test_files", params.test_files), ("unlabelled_files", params.unlabelled_files)):
        if pattern:
            raise HeadwayError(
                f"data.{knob}: {pattern!r} is looked for in a folder, and data.path is a file; give its folder"
            )
    (name,) = place.names
    if not kind_of(name):
        raise HeadwayError(f"data.path: {place.given} is not of a known kind; expected a name ending in {ENDINGS}")
    return [name]


def _by_role(place: Place, params: DataParams) -> tuple[list[str], list[str], list[str]]:
    """A folder's data files: those with labels, those of the test split, those without labels; each by name."""
    left = [name for name in place.names if kind_of(name) and not _is_hidden(name)]
    if not left:
        raise HeadwayError(f"data.path: {place.given} holds no data file; put one there, ending in {ENDINGS}")

    def take(knob: str, pattern: str) -> list[str]:
        try:
            matches = re.compile(glob_translate(pattern)).match
        except (ValueError, re.error) as error:
            raise HeadwayError(f"data.{knob}: {pattern!r} is no pattern of names: {error}") from None
        taken = [name for name in left if matches(name)]
        if not taken:
            there = f"there is {listed(left, 1)}" if left else "the other patterns take all"
            raise HeadwayError(f"data.{knob}: no data file in {place.given} matches {pattern!r}; {there}")
        left[:] = [name for name in left if name not in taken]
        return taken

    test_files = take("test_files", params.test_files) if params.test_files else []
    unlabelled_files = take("unlabelled_files", params.unlabelled_files) if params.unlabelled_files else []
    return take("files", params.files), test_files, unlabelled_files


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)
