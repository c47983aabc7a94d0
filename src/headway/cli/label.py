"""The command that adds true labels to the prediction log."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.model import PANEL
from headway.cli.project import project
from headway.cli.streams import say

if TYPE_CHECKING:
    from headway.serving.log import LabelCounts

app = typer.Typer()
#: Conflicts and reasons that are printed.
MOST_CONFLICTS, MOST_REASONS = 5, 5


@app.command(rich_help_panel=PANEL)
def label(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE…", help="Files, folders, globs in quotes, URLs, or - for standard input.")
    ],
    label_column: Annotated[
        str, typer.Option(help="Column with the true labels; by default true_label, or that of training.")
    ] = "",
    request_id_column: Annotated[str, typer.Option(help="Column with ids of answers; by default request_id.")] = "",
    text_column: Annotated[str, typer.Option(help="Column with the texts; by default that of training.")] = "",
    hash_column: Annotated[
        str, typer.Option(help="Column with SHA-256 hashes of the texts; by default text_sha256 or text_hash.")
    ] = "",
    time_column: Annotated[str, typer.Option(help="Column with the times of labelling; by default labelled_at.")] = "",
) -> None:
    """Add true labels that have arrived to the prediction log.

    A row names an answer by its request id, or else a text by its hash or by itself. The same labels again change nothing. Rows
    without a label, and labels that contradict each other, are put aside with the reason.
    """
    from headway.files import TEMPORARY_PREFIX
    from headway.phrases import listed
    from headway.serving.log import add_labels
    from headway.serving.log.label_files import LabelColumns, find_label_files, label_rows
    from headway.serving.log.store import located
    from headway.serving.log.writer import open_log

    layout, params = project()
    log = located(params.serving.log, layout.root)
    open_log(log)  # an error before standard input is read
    wanted = LabelColumns(request_id_column, hash_column, text_column, label_column, time_column)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as spool:
        stdin = sys.stdin.buffer if sys.stdin else io.BytesIO()  # None if it is closed
        sources = find_label_files(files, params.data, layout, Path(spool), stdin)
        names = listed([source.file.name for source in sources], 3)
        rows = (row for source in sources for row in label_rows(source, wanted, params.data))
        counts = add_labels(log, rows, names, look_up=True)
    for line in _summary(counts, names, log.folder):
        say(line)


def _summary(counts: LabelCounts, names: str, folder: str) -> Iterator[str]:
    """What became of the rows; the numbers of the first line add up."""
    from headway.phrases import and_more, counted

    aside = sum(counts.quarantined.values())
    yield (
        f"{names}: {counted(counts.rows, 'row')}: {counts.added:,} added, {counts.repeated:,} known already, "
        f"{aside:,} quarantined"
    )
    reasons = sorted(counts.quarantined.items(), key=lambda entry: -entry[1])
    for reason, number in reasons[:MOST_REASONS]:
        yield f"  {number:,}: {reason}"
    if rest := aside - sum(number for _, number in reasons[:MOST_REASONS]):
        yield f"  {rest:,}: other reasons"
    for conflict in counts.conflicts[:MOST_CONFLICTS]:
        each = (f"{one!r} ({place or 'added before'})" for one, place in zip(conflict.labels, conflict.places, strict=True))
        yield f"  {conflict.key}: {' and '.join(each)}"
    if len(counts.conflicts) > MOST_CONFLICTS:
        yield f"  {and_more(len(counts.conflicts), MOST_CONFLICTS).strip()} contradictions"
    if aside:
        yield f"quarantined rows: {folder}/labels/quarantine"
    if counts.unmatched:
        yield f"{counted(counts.unmatched, 'added label')} without an answer in the log; kept, because the answer may come later"
    for name, number in counts.new_classes.items():
        yield f"{name!r} is no class of the last model in the log: {counted(number, 'label')}"
