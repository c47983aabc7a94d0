"""The data page: what was read, kept and quarantined, and what in the data deserves attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.reporting import pages
from headway.reporting.data import charts
from headway.reporting.data.charts import MAX_BARS, SPLIT_NAMES, by_size, rows_of_class
from headway.reporting.data.remarks import remarks, rows_lost, rows_unsplit
from headway.reporting.formatting import visible
from headway.reporting.pages import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("page.html")
MAX_FILES = 50
#: Classes of which texts are shown, the largest.
MAX_TEXT_CLASSES = 100
DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}


def data_page(
    profile: Mapping[str, Any], examples: Sequence[Mapping[str, Any]], texts: Mapping[str, Any] | None = None
) -> Page:
    """Draw the page.

    Args:
        profile: from :func:`headway.data.preparation.profile.profile`.
        examples: some quarantined rows: file, row, reason, label (or None) and text (an excerpt, or None).
        texts: from :class:`headway.data.preparation.text_examples.TextExamples`; None leaves out its sections.
    """
    return pages.render(
        TEMPLATE,
        _figures(profile),
        {
            "percentage": lambda value: f"{100 * value:g}%",
            "rows": rows_of_class,
            "delimiter": lambda delimiter: DELIMITERS.get(delimiter, visible(delimiter)),
        },
        profile=profile,
        examples=examples,
        texts=texts,
        max_text_classes=MAX_TEXT_CLASSES,
        files=profile.get("files", ()),
        classes=by_size(profile),
        split_names=SPLIT_NAMES,
        max_bars=MAX_BARS,
        max_files=MAX_FILES,
        sums=_sums(profile),
        remarks=remarks(profile),
    )


def _sums(profile: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows that were read and those that were kept: each total with its parts, and whether these add up to it."""
    read = [("rows read", profile["rows_in"], ""), ("kept", profile["rows_kept"], "")]
    read.append(("quarantined", sum(profile["rows_quarantined"].values()), ""))
    if profile["rows_not_sampled"]:
        read.append(("not sampled", profile["rows_not_sampled"], ""))
    kept = [("rows kept", profile["rows_kept"], "")]
    kept += [(name, profile["splits"][split], split) for split, name in SPLIT_NAMES.items()]
    return [
        {"terms": [{"name": name, "rows": rows, "split": split} for name, rows, split in terms], "adds_up": not missing}
        for terms, missing in ((read, rows_lost(profile)), (kept, rows_unsplit(profile)))
    ]


def _figures(profile: Mapping[str, Any]) -> dict[str, tuple[Figure, str]]:
    """The figures by name, each with its description. There is no figure of reasons where no row is quarantined."""
    figures = {
        "classes": (charts.class_figure(profile), f"Rows of {len(profile['classes']):,} classes by split"),
        "lengths": (charts.length_figure(profile), "Histogram of the texts' lengths in characters"),
        "scripts": (charts.script_figure(profile["scripts"]), "Share of the rows by script"),
        "duplicates": (charts.duplicate_figure(profile["duplicates"]), "Exact duplicates and near-duplicates"),
        "leakage": (
            charts.leakage_figure(profile["leakage"]),
            "Share of the test rows with a near-duplicate in training, in a random split and in this one",
        ),
    }
    if any(profile["rows_quarantined"].values()):
        figures["quarantine"] = charts.quarantine_figure(profile["rows_quarantined"]), "Quarantined rows by reason"
    return figures
