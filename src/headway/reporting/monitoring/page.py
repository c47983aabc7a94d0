"""The page that says whether the champion is still as good as it was, and how one knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headway.monitoring.record import ALARM, WARNING, Capital, ChangeRecord, MonitoringRecord
from headway.phrases import counted
from headway.reporting import pages
from headway.reporting.formatting import MINUS, signed
from headway.reporting.monitoring import charts

TEMPLATE = Path(__file__).with_name("page.html")
#: Changes that are listed, the largest evidence first.
MOST_CHANGES = 12


def render(record: MonitoringRecord) -> str:
    """The page as HTML. It loads nothing from outside itself."""
    figures = {}
    if record.first_day and record.answers:
        figures["accuracy"] = (
            charts.accuracy(record),
            "Accuracy by day: estimated, of labelled answers, promised and accepted",
        )
    if record.answers:
        figures["evidence"] = (charts.evidence(record.drift), "Evidence for a change of the texts by number of answers")
    filters: dict[str, Callable[..., str]] = {"counted": counted, "odds": odds, "moved": moved, "amount": amount}
    return pages.render(
        TEMPLATE,
        figures=figures,
        filters=filters,
        record=record,
        headline=headline(record),
        promised=record.promised if record.promised is not None else record.reference.value,
        changes=record.changes[:MOST_CHANGES],
    ).html


def headline(record: MonitoringRecord) -> str:
    """What was found, in one sentence."""
    champion = f"version {record.version}"
    if not record.answers:
        return f"{champion} has not answered yet"
    if record.guard is not None and record.guard.crossed_row is not None:
        return f"version {record.guard.former}, the former champion, is better than {champion}"
    if record.status == ALARM:
        is_shown = record.loss.crossed or any(one.capital.crossed for one in record.by_class)
        return f"{champion} has become worse" if is_shown else f"{champion} has probably become worse"
    if any(one.crossed for one in record.drift):
        return f"the texts that {champion} gets have changed"
    if record.status == WARNING:
        return f"{champion} may have become worse"
    return f"nothing shows that {champion} has become worse"


def odds(capital: Capital) -> str:
    """The highest capital of a bet as odds, such as "35 : 1"; beyond a million, more would say nothing."""
    if capital.highest > 6:
        return "> 1,000,000 : 1"
    value = 10**capital.highest
    return f"{value:,.0f} : 1" if value >= 10 else f"{value:.1f} : 1"


def amount(value: float, unit: str) -> str:
    """A number of a change with its unit."""
    return f"{100 * value:.1f}%" if unit == "share" else f"{value:,.0f} characters"


def moved(change: ChangeRecord) -> str:
    """How far a number has moved, with its interval."""
    if change.unit == "share":
        low, high = (f"{100 * end:.1f}".replace("-", MINUS) for end in (change.low, change.high))
        return f"{signed(100 * (change.now - change.before), 1)} points ({low} to {high})"
    return f"× {change.now / change.before:.2f} ({change.low:.2f} to {change.high:.2f})" if change.before else ""
