"""The files to label: which ones a person names, how each is read, and which column holds the texts."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from headway.data.column_names import is_usual_name
from headway.data.column_values import NUMBER, ColumnValues, count_words
from headway.data.given_path import path_and_pattern
from headway.data.sampling import best_quoting, header_of
from headway.data.sources.delimited import table_rows
from headway.data.sources.file_set import FOLDER_NAME, assign_roles, folder_columns, is_document_name
from headway.data.sources.files import files_at
from headway.data.sources.formats import format_of
from headway.data.sources.rows import cell_text, replace_surrogates
from headway.data.sources.streams import CsvStyle, LocalFile, TextFile, kind_of
from headway.data.text_columns import ranked, text_scores
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import DataParams, nearest
from headway.phrases import counted, listed
from headway.serving.batch.records import Facts, InputFile, csv_layout, records

STDIN = "-"
SAMPLE = 1_000  # first rows, from which the column with the texts is recognised
CLOSE = 0.88  # ratio of the second best score to the best from which the choice is unclear
NAME_WORDS = 3  # in the name of a column, at most; longer ones may be texts
#: How files begin that standard input may carry, with the ending that makes them readable.
MAGIC = {b"PAR1": ".parquet", b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\x28\xb5\x2f\xfd": ".zst"}
ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class ReadingOptions:
    """How a person wants files to be read. None and "" stand for what params.yaml says, or for what is recognised."""

    text_column: str = ""
    header: bool | None = None
    columns: tuple[str, ...] = ()


def find_inputs(
    given: Sequence[str],
    options: ReadingOptions,
    params: DataParams,
    layout: Layout,
    spool: Path,
    stdin: BinaryIO,
    advice: str = "; to label a text itself, pass it with --text",
) -> list[InputFile]:
    """The files that paths, folders, globs, URLs or ``-`` name, in that order.

    Args:
        params: how files are read in training; their names of columns, encoding, quoting and header hold here too.
        layout: of the project.
        spool: folder for what comes from standard input.
        stdin: read to its end if ``-`` is given.
        advice: ends the error about a file that does not exist.

    Raises:
        HeadwayError: there is no such file, it is of an unknown kind or empty, or its text column is not known.
    """
    return [_complete(source, options, params) for source in named_files(given, params, layout, spool, stdin, advice)]


def named_files(
    given: Sequence[str], params: DataParams, layout: Layout, spool: Path, stdin: BinaryIO, advice: str = ""
) -> list[InputFile]:
    """The same files before it is known how their tables are read, and which column holds the texts; errors as above.

    Args:
        advice: ends the error about a file that does not exist.
    """
    if given.count(STDIN) > 1:
        raise HeadwayError("-: standard input is named twice; it can be read once")
    found: list[tuple[str, InputFile]] = []
    for name in given:
        if name == STDIN:
            found.append(("", InputFile(_spooled(stdin, spool), "", params.encoding)))
        else:
            found += _named(name, params, layout, advice)
    return _told_apart(found)


def _told_apart(found: Sequence[tuple[str, InputFile]]) -> list[InputFile]:
    """Files, each after its folder. Of those with one name, the names begin with the folder's name, or else with its path."""
    names = [source.file.name for _, source in found]
    for is_whole in (False, True):
        times = Counter(names)
        names = [
            f"{folder if is_whole else folder.rpartition('/')[2]}/{source.file.name}" if folder and times[name] > 1 else name
            for name, (folder, source) in zip(names, found, strict=True)
        ]
    return [replace(source, file=replace(source.file, name=name)) for name, (_, source) in zip(names, found, strict=True)]


def _named(given: str, params: DataParams, layout: Layout, advice: str) -> Iterator[tuple[str, InputFile]]:
    """The files that one argument names, each after the path or URL of the folder or zip file that its name is relative to."""
    no_file = HeadwayError(f"{given[:200]!r}: no such file{advice}")
    try:
        path, pattern = path_and_pattern(given)
        is_missing = "://" not in path and not Path(path).exists()
    except (OSError, ValueError):  # such as a name that is too long
        raise no_file from None
    if is_missing:
        raise no_file
    chosen = params.model_copy(
        update={"path": path, "files": pattern, "test_files": "", "unlabelled_files": "", "txt_files": "table"}
    )
    try:
        files = files_at(chosen, layout.root, layout.scratch)
        tables = [name for name in files.names if kind_of(name)]
        documents = [name for name in files.names if is_document_name(name)]
        if pattern == "*" and files.is_folder and not any("/" not in name for name in tables):
            chosen = chosen.model_copy(update={"files": "**/*"})
        folders = {name.rpartition("/")[0] for name in documents}
        if documents and not tables and (params.txt_files == "document" or (files.is_folder and len(folders) > 1)):
            chosen = chosen.model_copy(update={"txt_files": "document"})
        names = assign_roles(files, chosen).labelled
    except HeadwayError as error:
        message = str(error).removeprefix("data.path: ").removeprefix("data.files: ")
        raise HeadwayError(message + (advice if pattern != "*" else "")) from None
    for name in names:
        constant = folder_columns(name) if files.is_folder else {}
        constant.pop(FOLDER_NAME, None)
        file = files.local(name, CsvStyle())
        folder = replace_surrogates(path).removesuffix(f"/{file.name}")
        yield folder, InputFile(file, "", params.encoding, constant, chosen.txt_files == "document")


def _spooled(stdin: BinaryIO, folder: Path) -> LocalFile:
    """Standard input as a file, with the ending that its content shows."""
    start = stdin.read(4)
    if start == ZIP:
        raise HeadwayError("-: standard input is a zip file, which is read from its end; pass its path instead")
    ending = next((ending for magic, ending in MAGIC.items() if start.startswith(magic)), "")
    path = folder / "stdin"
    with path.open("wb") as file:
        file.write(start)
        shutil.copyfileobj(stdin, file)
    return LocalFile(path, "stdin" + ending)


def _complete(source: InputFile, options: ReadingOptions, params: DataParams) -> InputFile:
    """A file with its CSV style and its text column."""
    if not source.file.member and not source.file.path.stat().st_size:
        raise HeadwayError(f"{source.file.name}: empty; expected rows with a text")
    if source.is_document:
        return replace(source, text_column="text")
    form = _format(source)
    is_table = form == "csv"
    if is_table:
        source = replace(source, file=replace(source.file, csv=_csv_style(source, options, params)))
    elif options.columns or options.header is False:
        option = "--columns" if options.columns else "--no-header"
        raise HeadwayError(
            f"{option}: {source.file.name} is not a CSV file, and only a CSV's columns can be named; leave it out"
        )
    column = _text_column(source, options.text_column, params.text_column, is_table)
    return replace(source, text_column=column, is_json=form == "json")


def _format(source: InputFile) -> str:
    """``parquet``, ``csv``, ``json`` or ``lines``."""
    if source.file.kind == ".parquet":
        return "parquet"
    with source.file.opened() as (_, stream):
        form = format_of(TextFile(source.file, stream, source.encoding))
    return form if isinstance(form, str) else "lines"


def _csv_style(source: InputFile, options: ReadingOptions, params: DataParams) -> CsvStyle:
    """Header, columns and quoting: as a person says, else as in training if that fits the file."""
    quoting = params.quoting if params.quoting != "auto" else best_quoting(source.file, source.encoding)
    if options.columns or options.header is not None:
        style = CsvStyle(quoting, params.header if options.header is None else options.header, options.columns)
        _require_width(replace(source, file=replace(source.file, csv=style)))
        return style
    plain = replace(source.file, csv=CsvStyle(quoting))
    if params.header and not params.columns:
        return plain.csv
    first = header_of(plain, source.encoding)
    if params.text_column in first:
        return plain.csv
    if params.columns and len(params.columns) != len(_first_row(source, quoting, params)):
        if params.header:
            return plain.csv
        raise HeadwayError(
            f"{source.file.name}: has {len(first)} columns, and data.columns in params.yaml names {len(params.columns)} "
            f"({listed(params.columns, 3)}); name those of this file, as in --no-header --columns "
            + ",".join(["text", *(f"column_{number}" for number in range(2, len(first) + 1))])
        )
    return CsvStyle(quoting, params.header, tuple(params.columns))


def _require_width(source: InputFile) -> None:
    """Check that some of a CSV's first rows have as many cells as its columns have names."""
    names = source.file.csv.columns
    if not names:
        return
    with source.file.opened() as (_, stream):
        text = TextFile(source.file, stream, source.encoding)
        rows = table_rows(text, csv_layout(text, "").delimiter, head_only=True)
        if any(len(row.cells) == len(names) for row in islice(rows, SAMPLE)):
            return
    plain = replace(source.file, csv=replace(source.file.csv, columns=()))
    with plain.opened() as (_, stream):
        width = len(csv_layout(TextFile(plain, stream, source.encoding), "").names)
    raise HeadwayError(
        f"--columns: names {counted(len(names), 'column')}, and {source.file.name} has {width}; name each of them, in order"
    )


def _first_row(source: InputFile, quoting: str, params: DataParams) -> list[str]:
    """The cells of a CSV's first row with the delimiter that fits the columns of params best."""
    file = replace(source.file, csv=CsvStyle(quoting, params.header, tuple(params.columns)))
    with file.opened() as (_, stream):
        text = TextFile(file, stream, source.encoding)
        return next(table_rows(text, csv_layout(text, "").delimiter, head_only=True)).cells


def _text_column(source: InputFile, wanted: str, usual: str, is_table: bool) -> str:
    """The column with the texts: the one that a person names, else that of training, the only one, or the most likely one."""
    where, target = source.file.name, wanted or usual
    if is_table:
        try:
            with source.file.opened() as (_, stream):
                csv_layout(TextFile(source.file, stream, source.encoding), target)
            return target
        except HeadwayError as error:
            if wanted:
                raise HeadwayError(str(error).replace("data.text_column", "--text-column")) from None
    first = list(islice(records(source, facts := Facts()), SAMPLE))
    names = [name for name in facts.types if name not in source.constant]
    if not names:
        raise HeadwayError(f"{where}: holds no row with a column; expected a table, or JSON objects with a text")
    if any(name in names for name in (target, target.split(".")[0])):
        return target
    if wanted:
        raise HeadwayError(f"--text-column: {where} has no column {wanted!r}; {nearest(wanted, names)}")
    style = source.file.csv
    named = not is_table or not style.header or bool(style.columns)  # the names are no row of the file
    if len(names) == 1 and (named or _is_name(names[0], names)):
        return names[0]
    columns = {name: ColumnValues([cell_text(row.values.get(name)) or "" for row in first]) for name in names if name}
    scores = ranked(text_scores(columns))
    likely = [name for name in scores if scores[name] >= CLOSE * max(scores.values())]
    if len(likely) == 1 and (named or _is_name(likely[0], names)):
        return likely[0]
    advice = "name the one with the texts with --text-column"
    if not named:
        advice += f", or add --no-header --columns {','.join(_example(names, likely))} if the first line is a row"
    there = listed([repr(name[:40]) for name in names], 5)
    raise HeadwayError(f"{where}: has no column {usual!r} (data.text_column in params.yaml), but {there}; {advice}")


def _is_name(name: str, names: Sequence[str]) -> bool:
    """Whether a cell of the first line is the usual name of a column, and no text: each word is usual, and no cell a number."""
    is_short = 0 < count_words(name) <= NAME_WORDS
    return is_short and is_usual_name(name) and not any(NUMBER.fullmatch(other.strip()) for other in names)


def _example(names: Sequence[str], likely: Sequence[str]) -> list[str]:
    """Names for the columns of a table without a header."""
    text = likely[0] if likely else names[0]
    return ["text" if name == text else f"column_{number}" for number, name in enumerate(names, 1)]
