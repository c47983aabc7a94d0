"""A decision in Markdown, for the pages of MLflow and Prefect: what was decided and why, with the scores and every check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from headway.foreign_text import markdown
from headway.reporting.formatting import interval, shown, signed

if TYPE_CHECKING:
    from headway.promotion.decision import Decision

PASSED, FAILED = "✓", "✗"


def render(record: Decision, links: Mapping[str, str] | None = None) -> str:
    """The decision without a title; a title is its headline, which holds the reason that a person gave.

    Args:
        links: addresses of further pages, by what they show.
    """
    linked = " · ".join(f"[{name}]({address})" for name, address in (links or {}).items())
    parts = [_difference(record), linked, _checks(record), _scores(record), _origin(record)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _difference(record: Decision) -> str:
    """What the candidate's accuracy gains, in percentage points."""
    if record.accuracy_gain is None:
        return ""
    opponent, check = record.accuracy_gain
    assert check.value is not None
    assert check.low is not None
    assert check.high is not None
    level = f"{100 * check.confidence:.4g}% interval" if check.confidence is not None else "interval"
    high = signed(100 * check.high, 2)
    rows = f", on {record.test_rows.rows:,} test rows" if record.test_rows else ""
    return (
        f"**Accuracy {signed(100 * check.value, 2)} points** against the {opponent} "
        f"({level} {signed(100 * check.low, 2)} to {high}){rows}."
    )


def _checks(record: Decision) -> str:
    # Two dashes at least: MLflow's pages take a column with one for no table.
    rows = [
        f"| {PASSED if one.passed else FAILED} | {one.name.replace('_', ' ')} | {markdown(one.explanation)} |"
        for one in record.checks
    ]
    return "\n".join(["| | Check | Result |", "|:--:|:--|:--|", *rows]) if rows else ""


def _scores(record: Decision) -> str:
    rows = [
        f"| {markdown(model)} | {shown(one.get('accuracy'))} | {interval(one.get('accuracy_low'), one.get('accuracy_high'))} "
        f"| {shown(one.get('macro_f1'))} | {shown(one.get('negative_log_likelihood'))} |"
        for model, one in record.scores.items()
    ]
    title = ["| Model | Accuracy | Interval | Macro F1 | NLL |", "|:--|--:|:--:|--:|--:|"]
    return "\n".join([*title, *rows]) if rows else ""


def _origin(record: Decision) -> str:
    """When, by whom and from what it was decided; the record's number and id find it in ``headway history``."""
    commit = record.lineage.get("headway.git_commit", "")
    made_from = f" from commit `{commit[:12]}`" if commit else ""
    return (
        f"Version {record.candidate.version}{made_from} · record {record.number}, `{record.id[:12]}` · "
        f"{record.when[:16].replace('T', ' ')} UTC · {markdown(record.requested_by.label)}"
    )
