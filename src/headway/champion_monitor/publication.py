"""Where a monitoring record goes: a page and a file in the project; metrics, a tag and the page with the version in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headway.champion_monitor.term import current_term
from headway.files import write_text
from headway.monitoring.record import ALARM, OK, WARNING, MonitoringRecord, Status
from headway.notifications import Message, notify
from headway.promotion import history
from headway.promotion.decision_report import write_index
from headway.promotion.project import Project
from headway.reporting.index.page import MONITOR
from headway.reporting.monitoring import page
from headway.serving.log.store import MONITOR_FOLDER, MONITOR_RECORD, located
from headway.serving.log.writer import open_log
from headway.tracking_labels import version_path

RECORD = "monitoring.json"
#: Names of the page and the record of tables in a project with a log, without their endings.
TABLES = "monitor_tables"
#: From the best status to the worst.
ORDER: tuple[Status, ...] = (OK, WARNING, ALARM)


@dataclass(frozen=True)
class Publication:
    """Where the record can be read.

    Attributes:
        page: path of the page.
        link: address of the version in MLflow, "" if MLflow serves no pages.
        is_news: whether the status is worse than when this champion was last looked at.
    """

    page: Path
    link: str
    is_news: bool


def publish(project: Project, record: MonitoringRecord, warn: Callable[[str], object]) -> Publication:
    """Write the page and the record, send a notification if the status got worse, and store all with the champion's version.

    Example texts stay in the project: what is stored in MLflow is not removed when the log's rows expire. Beside the log, the
    record is for the services that write it.

    Args:
        warn: called with what went wrong with the notification.

    Raises:
        HeadwayError: the log's folder cannot be written to.
        Unreachable: MLflow or its artifact store does not answer; the page is written, and the notification sent, nevertheless.
    """
    layout, registry = project.layout, project.registry
    pages = registry.tracker.pages
    link = pages + version_path(registry.name, record.version) if pages else ""
    published = Publication(layout.page(MONITOR), link, _is_worse(record, layout.reports / RECORD))
    write_text(layout.page(MONITOR), page.render(record))
    if published.is_news:
        line = f"version {record.version} of {record.model}: {record.reasons[0]}"
        notify(Message(record.status, layout.root.name, line, link), warn)
    write_text(layout.reports / RECORD, record.as_json())
    stored = record.model_copy(update={"examples": ()})
    if project.params.serving.log.folder:
        log = open_log(located(project.params.serving.log, layout.root))
        log.below(MONITOR_FOLDER).write_file(MONITOR_RECORD, stored.as_json().encode())
    decisions = history.decisions(registry)
    write_index(project, decisions[-1] if decisions else None)
    term = current_term(decisions, registry.name)
    version = registry.find(term.champion)
    if version is not None and term.decision == record.decision:  # else there is another champion meanwhile
        tag = f"{record.status}, {record.last_day or record.source}" + "".join(f"; {reason}" for reason in record.reasons)
        files = {"monitoring/page.html": page.render(stored), "monitoring/record.json": stored.as_json()}
        registry.store_monitoring(version, _metrics(record), record.answers, tag, files)
    return published


def publish_tables(project: Project, record: MonitoringRecord, warn: Callable[[str], object]) -> Publication:
    """Write the page and the record of tables that a person has named; errors as for :func:`publish`.

    In a project with a log, the log says how the champion is doing: its page, its record and what MLflow has stay as they are.
    """
    if not project.params.serving.log.folder:
        return publish(project, record, warn)
    path = project.layout.page(TABLES)
    write_text(path, page.render(record))
    write_text(path.with_suffix(".json"), record.as_json())
    return Publication(path, "", is_news=False)


def _is_worse(record: MonitoringRecord, file: Path) -> bool:
    """Whether the status is worse than in the record that is there, of the same champion and the same source."""
    before: Status = OK
    try:
        earlier = MonitoringRecord.model_validate_json(file.read_text(encoding="utf-8"))
        if (earlier.decision, earlier.source) == (record.decision, record.source):
            before = earlier.status
    except (OSError, ValueError):  # none yet, or of another version of Headway
        pass
    return ORDER.index(record.status) > ORDER.index(before)


def _metrics(record: MonitoringRecord) -> dict[str, float]:
    """Numbers that are worth a curve in MLflow."""
    found: dict[str, float | None] = {
        "monitor_answers": float(record.answers),
        "monitor_estimated_accuracy": record.estimated.value if record.estimated else None,
        "monitor_realised_accuracy": record.realised.value if record.realised else None,
        "monitor_loss": record.loss.highest - record.loss.threshold,
        # 0 and above: a change of the texts is shown.
        "monitor_drift": max((one.highest - one.threshold for one in record.drift), default=None),
    }
    return {name: value for name, value in found.items() if value is not None}
