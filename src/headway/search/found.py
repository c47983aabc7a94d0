"""Reads the results of the last search from the files that the stage tune writes."""

from __future__ import annotations

from typing import Any

from headway.errors import HeadwayError
from headway.files import read_json
from headway.layout import Layout
from headway.search.results import SearchSummary, TrialResult


def trials_of(layout: Layout) -> list[TrialResult]:
    """The trials of the last search.

    Raises:
        HeadwayError: there is none, or another version made it.
    """
    trials: list[dict[str, Any]] = read_json(layout.study / "trials.json", made_by="tune")
    try:
        return [TrialResult(**trial) for trial in trials]
    except TypeError:
        raise _other_version(layout) from None


def summary_of(layout: Layout) -> SearchSummary:
    """The summary of the last search.

    Raises:
        HeadwayError: there is none, or another version made it.
    """
    try:
        return SearchSummary(**read_json(layout.metrics("search"), made_by="tune"))
    except TypeError:
        raise _other_version(layout) from None


def _other_version(layout: Layout) -> HeadwayError:
    return HeadwayError(f"{layout.study}: made by another version; run `dvc repro tune`")
