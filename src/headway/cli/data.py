"""The commands below ``headway data``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

app = typer.Typer(help="Compare the data's versions.", no_args_is_help=True)

MOST_LABELS = 20


@app.command()
def diff(revision: Annotated[str, typer.Argument(metavar="REV", help="A git commit, branch or tag, as HEAD~1.")]) -> None:
    """Tell which rows changed since a git revision."""
    from rich.console import Console

    from headway.data.diff import compare, rows_at
    from headway.errors import HeadwayError
    from headway.layout import Layout

    layout = Layout.find()
    now = layout.raw / "rows.parquet"
    if not now.exists():
        raise HeadwayError(f"{now}: missing; make it with `dvc repro ingest`, or fetch it with `dvc pull`")
    with rows_at(revision, layout) as before:
        told = compare(before, now)
    console = Console(highlight=False, markup=False)
    if told["unchanged"] == told["rows_before"] == told["rows_after"]:
        console.print(f"nothing changed: the same {told['rows_after']:,} rows at {revision} and now", soft_wrap=True)
        return
    counts = ", ".join(f"{told[kind]:,} {kind}" for kind in ("added", "removed", "relabelled", "unchanged"))
    console.print(f"{told['rows_before']:,} rows at {revision}, {told['rows_after']:,} now: {counts}", soft_wrap=True)
    console.print(_table(told["labels"]))


def _table(labels: list[dict[str, Any]]) -> Any:
    """Rows of each label before and now: the labels that changed most, and the others' sum."""
    from rich.table import Table
    from rich.text import Text

    table = Table("label", "before", "now", "change")
    for column in table.columns[1:]:
        column.justify = "right"
    ranked = sorted(labels, key=lambda entry: (-abs(entry["after"] - entry["before"]), -entry["after"]))
    shown, others = ranked[:MOST_LABELS], ranked[MOST_LABELS:]
    if others:
        total = {when: sum(entry[when] for entry in others) for when in ("before", "after")}
        shown.append({"label": f"{len(others):,} others", **total})
    for entry in shown:
        name = "(missing)" if entry["label"] is None else entry["label"]
        change = entry["after"] - entry["before"]
        table.add_row(Text(name), f"{entry['before']:,}", f"{entry['after']:,}", f"{change:+,}" if change else "0")
    return table
