"""The files at a path or URL, and the choice of those with labels, of the test split and without labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote

from fsspec.utils import glob_translate

from headway.data.sources.archives import is_zip, names_inside
from headway.data.sources.rows import replace_surrogates
from headway.data.sources.streams import COMPRESSIONS, KINDS, CsvStyle, LocalFile, is_text_name, kind_of
from headway.errors import HeadwayError
from headway.params import DataParams
from headway.phrases import listed

ENDINGS = f"{', '.join(KINDS)} (and {', '.join(COMPRESSIONS)} after it), .txt or .zip"
ZIP = ".zip"
FOLDER_NAME = "folder_name"  # the column with the name of a file's folder
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
#: Endings of files that are no text, so that they are not tried as a table.
_OTHER_KINDS = (
    ".xlsx .xls .xlsm .ods .doc .docx .odt .pdf .html .htm .xml .pkl .pickle .arrow .feather .orc .avro .npy .npz .db "
    ".sqlite .7z .rar .tar .tgz .xz .mdb .sav .dta .rds .rdata .h5 .hdf5 .jpg .png .py .ipynb .yaml .yml .toml"
)
OTHER_KINDS = frozenset(_OTHER_KINDS.split())
NO_DATA = re.compile(r"readme|licen[cs]e|notice|changelog|copying|citation|requirements|robots|\.", re.IGNORECASE)
BINARY = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True)
class FileSet:
    """A file, or the files of a folder."""

    where: str  # the path or URL as given
    names: Sequence[str]  # of the files relative to the folder, in order; or of the one file
    is_folder: bool  # which of the two it is
    fetch: Callable[[str], Path]  # returns the local path of the file with a name; a file behind a URL is requested once
    inside: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # zip file, and name there, of names that are in one

    def local(self, name: str, csv: CsvStyle) -> LocalFile:
        """A file by its name."""
        stored, member = self.inside.get(name, (name, ""))
        return LocalFile(self.fetch(stored), replace_surrogates(name), csv, member)


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


def with_zips_opened(files: FileSet) -> FileSet:
    """The files, with those inside a zip file in place of it; zip files in a folder behind a URL stay closed."""
    if not files.is_folder:
        (name,) = files.names
        if not name.lower().endswith(ZIP) and (kind_of(name) or _is_other(name) or not is_zip(files.fetch(name))):
            return files
        found = names_inside(files.fetch(name), files.where)
        data = [short for short in found if is_data_name(short)]
        names, is_folder = (data, False) if len(data) == 1 else (in_order(found), True)
        return replace(files, names=names, is_folder=is_folder, inside={short: (name, found[short]) for short in found})
    if "://" in files.where:
        return files
    names_in_zips: dict[str, tuple[str, str]] = {}
    for name in files.names:
        if name.lower().endswith(ZIP) and not is_hidden(name):
            for short, member in names_inside(files.fetch(name), name).items():
                names_in_zips[f"{name}/{short}"] = (name, member)
    zips = {stored for stored, _ in names_in_zips.values()}
    names = in_order([*(name for name in files.names if name not in zips), *names_in_zips])
    return replace(files, names=names, inside=names_in_zips)


def is_data_name(name: str) -> bool:
    """Whether a file's name is one of a data file; a .txt may be one, unless its name is that of a read-me file."""
    if is_hidden(name):
        return False
    return bool(kind_of(name)) or (is_text_name(name) and not NO_DATA.match(name.rpartition("/")[2]))


def is_document_name(name: str) -> bool:
    """Whether a file's name is one of a text on its own: it ends in .txt, or has no ending."""
    base = name.rpartition("/")[2]
    return not is_hidden(name) and (is_text_name(name) or "." not in base) and not NO_DATA.match(base)


def folder_columns(name: str) -> dict[str, str]:
    """Columns from the names of a file's folders: ``label=good/a.csv`` gives ``label``, and any folder ``folder_name``."""
    folders = name.split("/")[:-1]
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    found = {unquote(key): unquote(value) for key, _, value in pairs if key and value != HIVE_NULL}
    return {**found, FOLDER_NAME: folders[-1]} if folders else found


def _is_other(name: str) -> bool:
    return PurePosixPath(name.lower()).suffix in OTHER_KINDS


def _is_text(path: Path) -> bool:
    """Whether a file's beginning is text, as far as its control characters show."""
    with path.open("rb") as file:
        start = file.read(4096)
    return start.startswith((b"\xff\xfe", b"\xfe\xff")) or not BINARY.search(start)


def assign_roles(files: FileSet, params: DataParams) -> Roles:
    """The files that the patterns in params choose; HeadwayError if there is no data file, or a pattern matches none."""
    if not files.is_folder:
        for knob in ("test_files", "unlabelled_files"):
            if pattern := getattr(params, knob):
                raise HeadwayError(
                    f"data.{knob}: the pattern {pattern!r} needs a folder, and data.path is a file; give its folder instead"
                )
        name = files.names[0]
        is_known = kind_of(name) or is_text_name(name)
        if not is_known and (_is_other(name) or not (files.inside or _is_text(files.fetch(name)))):
            raise HeadwayError(f"data.path: {files.where} is not a known kind of file; expected a name ending in {ENDINGS}")
        return Roles([files.names[0]], [], [])
    are_documents = params.txt_files == "document"
    texts = [name for name in files.names if (is_document_name if are_documents else is_data_name)(name)]
    left = texts if are_documents else [name for name in texts if kind_of(name)] or texts
    if not left:
        raise HeadwayError(f"data.path: {files.where} holds no data file; put one there, ending in {ENDINGS}")

    def take(knob: str) -> list[str]:
        pattern = getattr(params, knob)
        try:
            matches = re.compile(glob_translate(pattern)).match
        except (ValueError, re.error) as error:
            raise HeadwayError(f"data.{knob}: {pattern!r} is not a valid pattern: {error}") from None
        taken = [name for name in left if matches(name)] or [name for name in texts if matches(name) and not kind_of(name)]
        if not taken:
            rest = f"found {listed(left, 1)}" if left else "the other patterns match all files"
            raise HeadwayError(f"data.{knob}: no data file in {files.where} matches {pattern!r}; {rest}")
        left[:] = [name for name in left if name not in taken]
        return taken

    test = take("test_files") if params.test_files else []
    unlabelled = take("unlabelled_files") if params.unlabelled_files else []
    return Roles(take("files"), test, unlabelled)
