"""Your own files as a source: one file or those of a folder, of any kind, on this machine or behind a URL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from headway.data.sources.delimited import read_csv
from headway.data.sources.file_set import FileSet, assign_roles, in_order, is_hidden
from headway.data.sources.json_objects import read_json
from headway.data.sources.parquet import read_parquet
from headway.data.sources.remote import remote_files
from headway.data.sources.rows import Row, replace_surrogates
from headway.data.sources.source import Columns, FileInfo, Part, Source
from headway.data.sources.streams import LocalFile, TextFile
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import DataParams


def open_files(params: DataParams, root: Path, scratch: Path) -> Source:
    """The files that ``data.path``, below ``root``, and the patterns beside it name; those behind a URL are downloaded first.

    HeadwayError if there are no such files, or one is not of a known kind.
    """
    files = _files_at(params.path, root, scratch)
    roles = assign_roles(files, params)
    labelled = Columns(params.text_column, params.label_column, tuple(params.slice_columns))

    def parts(names: Iterable[str], columns: Columns, is_test: bool = False) -> list[Part]:
        chosen = [LocalFile(files.fetch(name), replace_surrogates(name), params.quoting) for name in names]
        return [file_part(file, columns, params.encoding, is_test) for file in chosen]

    read = {name for names in roles for name in names}
    return Source(
        name=f"file {params.path}",
        version="",
        labelled=[*parts(roles.test, labelled, is_test=True), *parts(roles.labelled, labelled)],
        unlabelled=parts(roles.unlabelled, Columns(params.text_column, None)),
        ignored_files=[replace_surrogates(name) for name in files.names if name not in read and not is_hidden(name)],
        slice_columns=params.slice_columns,
    )


def first_file(params: DataParams, root: Path, scratch: Path) -> LocalFile:
    """The first of the files with labels; arguments and errors as for :func:`open_files`."""
    files = _files_at(params.path, root, scratch)
    name = assign_roles(files, params).labelled[0]
    return LocalFile(files.fetch(name), name, params.quoting)


def file_part(file: LocalFile, columns: Columns, encoding: str, is_test: bool = False) -> Part:
    """A file as part of a source."""
    info = FileInfo(file.name)
    return Part(info, partial(_read, file, columns, encoding, info), is_test)


def _read(file: LocalFile, columns: Columns, encoding: str, info: FileInfo) -> Iterator[Row]:
    """All rows of a file, which is hashed while it is parsed; Parquet, which is not read in order, is hashed after that."""
    with file.opened() as (stored, stream):
        if file.kind == ".parquet":
            yield from read_parquet(file, stream, columns, info)
        else:
            text = TextFile(file, stream, encoding)
            info.encoding, info.encoding_guessed = text.encoding
            yield from (read_csv if file.kind in (".csv", ".tsv") else read_json)(text, columns, info)
        info.size, info.sha256 = file.path.stat().st_size, stored.sha256()


def _files_at(where: str, root: Path, scratch: Path) -> FileSet:
    """The file or folder at a URL, or at a path on this machine."""
    if "://" in where:
        return remote_files(where, scratch / "downloads")
    path, raw = root / where, Layout(root).raw.resolve()
    if raw.is_relative_to(path.resolve()) or path.resolve().is_relative_to(raw):
        raise HeadwayError(
            f"data.path: {where} includes files that the pipeline writes; put yours into a folder of their own, "
            "such as data/input"
        )
    if path.is_dir():
        names = in_order(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        return FileSet(where, names, is_folder=True, fetch=lambda name: path / name)
    if path.is_file():
        return FileSet(where, [path.name], is_folder=False, fetch=lambda _: path)
    advice = "give the path of your file, relative to the project's folder"
    if re.search(r"[*?\[]", where):
        advice = "give the folder here, and the pattern of its files in data.files"
    raise HeadwayError(f"data.path: {where} does not exist; {advice}")
