"""Your own files as a source: one file or those of a folder, of any kind, on this machine or behind a URL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from headway.data.sources.file_set import FileSet, assign_roles, folder_columns, in_order, is_hidden, with_zips_opened
from headway.data.sources.formats import read_document, read_text
from headway.data.sources.parquet import read_parquet
from headway.data.sources.remote import remote_files
from headway.data.sources.rows import Row, replace_surrogates
from headway.data.sources.source import Columns, FileInfo, Part, Source, extra_columns
from headway.data.sources.streams import CsvStyle, LocalFile, TextFile
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import TIME_COLUMN, DataParams

TEST_NAMES = ("test", "testing")  # values of ``data.split_column`` that mark the test split


def open_files(params: DataParams, root: Path, scratch: Path, time_column: str = "") -> Source:
    """The files that ``data.path``, below ``root``, and the patterns beside it name; those behind a URL are downloaded first.

    The rows have the cells of ``time_column``, unless it is "". HeadwayError if there are no such files, or one is not of a
    known kind.
    """
    files = files_at(params, root, scratch)
    roles = assign_roles(files, params)
    extra = extra_columns(params.slice_columns, time_column)
    labelled = Columns(params.text_column, params.label_column, extra, time=time_column)

    def parts(names: Iterable[str], columns: Columns, is_test: bool = False) -> list[Part]:
        return [
            file_part(
                files.local(name, csv_style(params)),
                columns,
                params.encoding,
                is_test,
                split=params.split_column if columns.label else "",
                constant=folder_columns(name) if files.is_folder else {},
                is_document=params.txt_files == "document",
            )
            for name in names
        ]

    read = {name for names in roles for name in names}
    return Source(
        name=f"file {params.path}",
        version="",
        labelled=[*parts(roles.test, labelled, is_test=True), *parts(roles.labelled, labelled)],
        unlabelled=parts(roles.unlabelled, Columns(params.text_column, None)),
        ignored_files=[replace_surrogates(name) for name in files.names if name not in read and not is_hidden(name)],
        extra_columns=extra_columns(params.slice_columns, TIME_COLUMN if time_column else ""),
    )


class SampledFile(NamedTuple):
    """One of the files with labels, and what the names of its folders say about its rows."""

    file: LocalFile
    constant: dict[str, str]


def files_to_sample(params: DataParams, root: Path, scratch: Path, most: int) -> list[SampledFile]:
    """At most ``most`` of the files with labels, the first one and others from all over; errors as for :func:`open_files`."""
    files = files_at(params, root, scratch)
    names = assign_roles(files, params).labelled
    chosen = names if len(names) <= most else [names[index * len(names) // most] for index in range(most)]
    style = csv_style(params)
    return [SampledFile(files.local(name, style), folder_columns(name) if files.is_folder else {}) for name in chosen]


def is_test_name(value: str | None) -> bool:
    """Whether a value of the split column puts its row into the test split."""
    return (value or "").strip().lower() in TEST_NAMES


def csv_style(params: DataParams) -> CsvStyle:
    """How CSV files are written, as params say."""
    return CsvStyle(params.quoting, params.header, tuple(params.columns))


def file_part(
    file: LocalFile,
    columns: Columns,
    encoding: str,
    is_test: bool = False,
    split: str = "",
    constant: Mapping[str, str] | None = None,
    is_document: bool = False,
) -> Part:
    """A file as part of a source.

    Args:
        split: column whose value ``test`` puts a row into the test split, "" for none.
        constant: values of columns that are the same for all rows, because they come from the names of the file's folders.
        is_document: whether the whole file is one text.
    """
    info = FileInfo(file.name)
    constant = {name: value for name, value in (constant or {}).items() if name in (*columns.extra, columns.label, split)}
    if not split and not constant:
        return Part(info, partial(_read, file, columns, encoding, info, is_document), is_test)
    extra = [name for name in (*columns.extra, split) if name]
    in_file = Columns(
        columns.text,
        None if columns.label in constant else columns.label,
        tuple(dict.fromkeys(name for name in extra if name not in constant)),
        split,
        columns.time,
    )

    def completed() -> Iterator[Row]:
        for row in _read(file, in_file, encoding, info, is_document):
            if row.problem:
                yield row
                continue
            cells = constant | dict(zip(in_file.extra, row.extra, strict=True))
            yield row._replace(
                label=constant.get(columns.label or "", row.label),
                extra=tuple(cells[name] for name in columns.extra),
                test=bool(split) and is_test_name(cells[split]),
            )
        info.columns += constant

    return Part(info, completed, is_test)


def _read(file: LocalFile, columns: Columns, encoding: str, info: FileInfo, is_document: bool = False) -> Iterator[Row]:
    """All rows of a file, which is hashed while it is parsed; Parquet, which is not read in order, is hashed after that."""
    with file.opened() as (stored, stream):
        if file.kind == ".parquet":
            yield from read_parquet(file, stream, columns, info)
        else:
            text = TextFile(file, stream, encoding)
            info.encoding, info.encoding_guessed = text.encoding
            yield from (read_document if is_document else read_text)(text, columns, info)
        info.sha256 = stored.sha256()
        info.size = stored.size


def files_at(params: DataParams, root: Path, scratch: Path) -> FileSet:
    """The file or folder at a URL, or at a path on this machine; a zip file is like a folder of the files inside it."""
    return with_zips_opened(_files_at(params, root, scratch))


def _files_at(params: DataParams, root: Path, scratch: Path) -> FileSet:
    """The file or folder at a URL, or at a path on this machine."""
    where, max_mb = params.path, params.max_download_mb
    if "://" in where:
        return remote_files(where, scratch / "downloads", max_mb)
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
