"""The data page: what was read, kept and quarantined, and what in the data deserves attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.reporting import pages
from headway.reporting.data.charts import (
    MAX_BARS,
    SPLIT_NAMES,
    bar_figure,
    by_size,
    class_figure,
    length_figure,
    rows_of,
)
from headway.reporting.data.remarks import remarks, rows_lost, rows_unsplit
from headway.reporting.figures import ACCENT, MUTED
from headway.reporting.formatting import clip, share, visible
from headway.reporting.pages import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("page.html")
MAX_SCRIPTS = 8
MAX_FILES = 50
DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}


def data_page(profile: Mapping[str, Any], examples: Sequence[Mapping[str, Any]]) -> Page:
    """Draw the page.

    Args:
        profile: from :func:`headway.data.preparation.profile.profile`.
        examples: some quarantined rows: file, row, reason, label (or None) and text (an excerpt, or None).
    """
    filters: dict[str, Callable[..., Any]] = {
        "visible": visible,
        "clip": clip,
        "share": share,
        "per_cent": lambda value: f"{100 * value:g}%",
        "rows": rows_of,
        "delimiter": lambda delimiter: DELIMITERS.get(delimiter, visible(delimiter)),
    }
    return pages.render(
        TEMPLATE,
        filters,
        _figures(profile),
        profile=profile,
        examples=examples,
        files=profile.get("files", ()),
        classes=by_size(profile),
        split_names=SPLIT_NAMES,
        max_bars=MAX_BARS,
        max_files=MAX_FILES,
        sums=_sums(profile),
        remarks=remarks(profile),
    )


def _sums(profile: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the rows read, and the rows kept, come to: a total, its parts, and whether they add up."""
    read = [("rows read", profile["rows_in"], ""), ("kept", profile["rows_kept"], "")]
    read.append(("in quarantine", sum(profile["rows_quarantined"].values()), ""))
    if profile["rows_left_by_sampling"]:
        read.append(("left by sampling", profile["rows_left_by_sampling"], ""))
    kept = [("rows kept", profile["rows_kept"], "")]
    kept += [(name, profile["splits"][split], split) for split, name in SPLIT_NAMES.items()]
    return [
        {"terms": [{"name": name, "rows": rows, "split": split} for name, rows, split in terms], "adds_up": not missing}
        for terms, missing in ((read, rows_lost(profile)), (kept, rows_unsplit(profile)))
    ]


def _figures(profile: Mapping[str, Any]) -> dict[str, tuple[Figure, str]]:
    """Each figure with what it shows, by name; none of reasons for quarantine when nothing is there."""
    figures = {
        "classes": (class_figure(profile), f"Rows of {len(profile['classes']):,} classes by split"),
        "lengths": (length_figure(profile), "Histogram of the texts' lengths in characters"),
        "scripts": (_script_figure(profile["scripts"]), "Share of the rows by script"),
        "duplicates": (_duplicate_figure(profile["duplicates"]), "Equal texts and near copies"),
        "leakage": (_leakage_figure(profile["leakage"]), "Share of the test rows with a twin in training, before and now"),
    }
    reasons = sorted(((rows, reason) for reason, rows in profile["rows_quarantined"].items() if rows), reverse=True)
    if reasons:
        rows = [rows for rows, _ in reasons]
        chart = bar_figure([reason for _, reason in reasons], [rows], [f"{count:,}" for count in rows])
        figures["quarantine"] = chart, "Rows in quarantine by reason"
    return figures


def _script_figure(scripts: Mapping[str, float]) -> Figure:
    largest = sorted(scripts.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = largest[:MAX_SCRIPTS], largest[MAX_SCRIPTS:]
    if rest:
        shown.append((f"{len(rest)} more", sum(value for _, value in rest)))
    return bar_figure([name for name, _ in shown], [[value for _, value in shown]], [share(value) for _, value in shown])


def _duplicate_figure(duplicates: Mapping[str, int]) -> Figure:
    rows = [duplicates["exact"], duplicates["near_rows"]]
    notes = [f"{rows[0]:,} left out", f"{rows[1]:,} in {duplicates['near_groups']:,} groups"]
    return bar_figure(["equal texts", "near copies"], [rows], notes)


def _leakage_figure(leakage: Mapping[str, float]) -> Figure:
    before, after = leakage["before"], leakage["after"]
    return bar_figure(
        ["split at random", "as split here"],
        [[before, 0], [0, after]],
        [share(before), share(after)],
        colours=(MUTED, ACCENT),
    )
