"""How the champion is doing, from what is stored: nothing is computed anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from headway.champion_monitor.publication import RECORD
from headway.champion_monitor.term import current_term
from headway.champion_monitor.triggers import labels_since
from headway.layout import Layout
from headway.monitoring.record import MonitoringRecord
from headway.params import Params
from headway.phrases import counted
from headway.promotion import history_queries as queries
from headway.promotion.decision import Decision
from headway.reporting.index.page import INDEX
from headway.serving.log.store import located
from headway.serving.log.writer import open_log

#: Decisions that are listed, the last one first.
LAST_DECISIONS = 5


def status_lines(
    params: Params, layout: Layout, decisions: Sequence[Decision], next_runs: Sequence[str], missed_runs: Sequence[str]
) -> Iterator[str]:
    """The champion, what monitoring last found, labels, decisions and scheduled runs, in lines for a terminal.

    Args:
        decisions: the history.
        next_runs: descriptions of the runs that a schedule will start next.
        missed_runs: those that should have started and did not, with what to do.

    Raises:
        HeadwayError: the prediction log is set and cannot be listed.
    """
    name = params.registry.model_name
    if queries.current_champion(decisions) is None:
        yield f"champion: none of {name}; `make run` promotes one"
    else:
        term = current_term(decisions, name)
        days = (datetime.now(UTC) - term.since).days
        yield f"champion: version {term.champion.version} of {name}, for {counted(days, 'day')}, since {_minute(term.since)}"
        if term.promised is not None:
            yield f"accuracy: {100 * term.promised:.1f}% promised"
        yield from _monitoring(_record(layout.reports / RECORD, term.decision), bool(params.serving.log.folder))
    if params.serving.log.folder:
        since = datetime.fromisoformat(decisions[-1].when) if decisions else None
        labels = labels_since(open_log(located(params.serving.log, layout.root)), since)
        due = f"; a reason to retrain from {params.retrain.new_labels:,} on" if params.retrain.new_labels else ""
        yield f"labels: {labels:,} since the last decision{due}"
    for decision in list(reversed(decisions))[:LAST_DECISIONS]:
        yield f"decision {decision.number}, {_minute(datetime.fromisoformat(decision.when))}: {decision.headline}"
    yield from (f"missed run: {run}" for run in missed_runs)
    yield from (f"next run: {run}" for run in next_runs)
    if not next_runs:
        yield "next run: none is scheduled here; `headway schedule` or cron starts runs by the clock"
    if layout.page(INDEX).is_file():
        yield f"pages: {layout.page(INDEX)}"


def _monitoring(record: MonitoringRecord | None, has_log: bool) -> Iterator[str]:
    if record is None:
        remedy = "`headway monitor` does it" if has_log else "serving.log.folder is empty, so that no answers are kept"
        yield f"monitoring: not yet for this champion; {remedy}"
        return
    until = f" to {record.last_day}" if record.last_day else ""
    yield f"monitoring: {record.status}, {counted(record.answers, 'answer')}{until}"
    yield from (f"  {reason}" for reason in record.reasons)
    for words, estimate in (("estimated without labels", record.estimated), ("of labelled answers", record.realised)):
        if estimate is not None:
            yield f"accuracy: {estimate.with_rows} {words}"


def _record(file: Path, decision: str) -> MonitoringRecord | None:
    """What was last found about this champion, None if nothing was."""
    try:
        record = MonitoringRecord.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or of another version of Headway
        return None
    return record if record.decision == decision else None


def _minute(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
