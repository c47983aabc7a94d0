"""The command that labels texts and files."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.model import PANEL
from headway.cli.project import project
from headway.cli.which_model import Candidate, Version, load_model, model_folder
from headway.cli.workers import Address, Executor, require_ray_for
from headway.errors import HeadwayError
from headway.foreign_text import one_line

if TYPE_CHECKING:
    from headway.serving.batch import Counts, Workers
    from headway.serving.batch.inputs import ReadingOptions

app = typer.Typer()
STDOUT = "-"
REASONS = 5  # named at the end, the most frequent ones


@app.command(rich_help_panel=PANEL)
def predict(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE…", help="Files, folders, globs in quotes, URLs, or - for standard input."),
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="A text to label, in quotes; can be repeated.")] = None,
    out: Annotated[str, typer.Option(help="File to write: .csv, .tsv, .jsonl or .parquet, or - for standard output.")] = "",
    text_column: Annotated[str, typer.Option(help="Column with the texts; by default that of training.")] = "",
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first line of a CSV names its columns.")
    ] = None,
    columns: Annotated[str, typer.Option(help="Names of a CSV's columns, in order: id,text.")] = "",
    top_k: Annotated[int, typer.Option(min=1, help="Number of labels per row, the most probable first.")] = 1,
    all_probabilities: Annotated[
        bool, typer.Option("--all-probabilities", help="Write the probability of each class.")
    ] = False,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Processes; 0 for one per core and 20,000 rows, at most 8, or one per CPU with --address."),
    ] = 0,
    executor: Executor = "processes",
    address: Address = "",
    restart: Annotated[
        bool, typer.Option("--restart", help="Drop finished parts, and replace the file of --out if it exists.")
    ] = False,
    version: Version = "",
    candidate: Candidate = False,
    log: Annotated[bool, typer.Option("--log", help="Log the answers in the folder of serving.log.")] = False,
) -> None:
    """Label the rows of files, or single texts, with the champion or another version.

    Files: writes all columns of the input, and label, probability, model version and reason, to the file of --out. A row
    without a usable text has no label, and the reason. A job that was killed continues if the same command runs again.

    Texts: prints one line per text: label, probability and text, separated by tabs. Line breaks, tabs and control characters
    in a label or text are written as escapes, such as ``\\n``.
    """
    if bool(files) == bool(text):
        raise HeadwayError(
            "expected either files, as in `headway predict reviews.csv --out labels.csv`, or texts with --text"
        )
    if text:
        if out:
            raise HeadwayError("--out is for files; the labels of --text are printed")
        for_files = {
            "--text-column": text_column,
            "--header" if header else "--no-header": header is not None,
            "--columns": columns,
            "--top-k": top_k != 1,
            "--all-probabilities": all_probabilities,
            "--workers": workers,
            "--executor": executor != "processes",
            "--address": address,
            "--restart": restart,
            "--log": log,
        }
        if given := [option for option, is_given in for_files.items() if is_given]:
            raise HeadwayError(f"{given[0]} is for files; leave it out, or put the texts of --text into a file")
        _predict_texts(text, version, candidate)
    else:
        from headway.serving.batch import Workers
        from headway.serving.batch.inputs import ReadingOptions

        require_ray_for(address, executor)
        names = tuple(name.strip() for name in columns.split(",")) if columns else ()
        reading = ReadingOptions(text_column, header, names)
        where = Workers(workers, executor, address)
        _predict_files(files or [], out, reading, top_k, all_probabilities, where, restart, version, candidate, log)


def _predict_texts(texts: Sequence[str], version: str, candidate: bool) -> None:
    from headway.serving.package import require_text

    for number, text in enumerate(texts, 1):
        require_text(text, f"text {number} of {len(texts)}")
    package = load_model(version, candidate)
    for text, probabilities in zip(texts, package.predict_proba(texts), strict=True):
        best = int(probabilities.argmax())
        print(f"{one_line(package.classes[best])}\t{probabilities[best]:.4f}\t{one_line(text)}")


def _predict_files(
    files: Sequence[str],
    out: str,
    reading: ReadingOptions,
    top_k: int,
    all_probabilities: bool,
    workers: Workers,
    restart: bool,
    version: str,
    candidate: bool,
    log: bool,
) -> None:
    from headway.files import TEMPORARY_PREFIX
    from headway.serving.batch import Job, formats, predict_files
    from headway.serving.batch.inputs import find_inputs
    from headway.serving.log.batch import BatchLog
    from headway.serving.log.store import located

    stdin = sys.stdin.buffer if sys.stdin else io.BytesIO()  # None if it is closed
    layout, params = project()
    form = formats.format_of(out) if out not in ("", STDOUT) else ""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as scratch:
        folder = Path(scratch)
        inputs = find_inputs(files, reading, params.data, layout, folder, stdin)
        if not out:  # after a text that is taken for a file was noticed
            raise HeadwayError("--out: name the file to write, such as --out labels.csv, or - for standard output")
        form = form or ("jsonl" if all(source.is_json for source in inputs) else "csv")
        role = "other" if version or candidate else "champion"
        logged = BatchLog.open(located(params.serving.log, layout.root), role) if log else None
        with model_folder(version, candidate) as (model, name):
            job = Job(inputs, model, name, form, top_k, all_probabilities, logged)
            counts = predict_files(job, folder / "stdout" if out == STDOUT else Path(out), workers, restart)
        if out == STDOUT:
            _copy_to_stdout(folder / "stdout")
    for line in _summary(counts, "standard output" if out == STDOUT else out):
        print(one_line(line), file=sys.stderr if out == STDOUT else sys.stdout)
    if logged and logged.rows_dropped:
        print(one_line(f"{logged.rows_dropped:,} rows were not logged: {logged.problem}"), file=sys.stderr)


def _copy_to_stdout(path: Path) -> None:
    """Copy a file as it is. A reader that has gone, as in ``… | head -1``, is no error."""
    with path.open("rb") as file:
        try:
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _summary(counts: Counts, where: str) -> Iterator[str]:
    """How many rows were labelled, and why the others were not."""
    from headway.phrases import counted

    without = counts.unlabelled.total()
    yield f"{where}: {counted(counts.rows, 'row')}: {counts.labelled:,} labelled, {without:,} not"
    for reason, number in (frequent := counts.unlabelled.most_common(REASONS)):
        yield f"  {number:,}: {reason}"
    if rest := without - sum(number for _, number in frequent):
        yield f"  {rest:,}: other reasons; see the column reason"
