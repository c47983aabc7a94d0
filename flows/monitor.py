"""Monitoring as a flow: brings the monitor up to date with the prediction log, and emits an event that retraining can follow."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from prefect import flow, get_run_logger, runtime
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event

from flows import missed_runs, report
from flows.execution import exclusive
from flows.pipeline import announced_failures  # whose module also keeps tracebacks out of the flow's log
from headway import preflight
from headway.champion_monitor.auto_rollback import restore_former_champion
from headway.champion_monitor.monitor import monitor_log
from headway.champion_monitor.publication import publish
from headway.errors import HeadwayError
from headway.foreign_text import markdown, one_line
from headway.layout import Layout
from headway.monitoring.record import MonitoringRecord
from headway.params import Params
from headway.promotion.project import Project
from headway.registry.registry import Registry
from headway.reporting.monitoring.page import headline
from headway.tracking import Tracker

#: Event of a finished run, followed by its status: ok, warning or alarm.
EVENT = "headway.monitor."


@flow(name="headway-monitor", validate_parameters=False)
def monitor(project: str = "") -> str:
    """Read what is new in the prediction log, and say whether the champion is still as good.

    Args:
        project: folder of the project; by default the one around the working directory.

    Returns:
        ``ok``, ``warning`` or ``alarm``.

    Raises:
        HeadwayError: see :func:`headway.champion_monitor.monitor.monitor_log`.
    """
    layout = Layout.find(Path(project) if project else None)
    with (
        announced_failures(layout, lambda line: get_run_logger().warning(line)),
        missed_runs.noted_run(layout, "monitor"),  # before any check, because a run that fails has started
    ):
        return _run(preflight.check(layout), layout)


def _run(params: Params, layout: Layout) -> str:
    """The flow's work: monitor, report, and restore the former champion if that is wanted and shown."""
    report.label_flow_run(layout.root.name)
    found = Project(params, layout, Registry(Tracker(params, layout)))
    record = monitor_log(found)
    published = publish(found, record, get_run_logger().warning)
    for line in (f"{record.status}: {headline(record)}", *record.reasons, f"page: {published.page}"):
        get_run_logger().info(one_line(line))
    report.label_flow_run(record.status, f"version {record.version}")
    lines = [f"# {markdown(headline(record).capitalize())}", *(f"- {markdown(reason)}" for reason in record.reasons)]
    create_markdown_artifact("\n\n".join(lines), key="headway-monitoring", description=headline(record))
    if not _restored(found, record):  # else a retraining would start against the champion that is back
        _emit(record)
    return record.status


def _restored(project: Project, record: MonitoringRecord) -> bool:
    """Whether the former champion was restored. While a flow is running it is not, and the next monitoring run tries again."""
    try:
        restored = restore_former_champion(project, record, report.publish_by_hand, partial(exclusive, project.layout))
    except HeadwayError as error:
        get_run_logger().warning("the former champion is not restored yet: %s", one_line(str(error)))
        return False
    if restored is not None:
        get_run_logger().warning(one_line(restored.headline))
    return restored is not None


def _emit(record: MonitoringRecord) -> None:
    """Tell the Prefect server what was found, for automations."""
    emit_event(
        f"{EVENT}{record.status}",
        resource={"prefect.resource.id": f"headway.model.{record.model}", "prefect.resource.name": record.model},
        related=[{"prefect.resource.id": f"prefect.flow-run.{runtime.flow_run.id}", "prefect.resource.role": "flow-run"}],
        payload={"version": record.version, "decision": record.decision, "reasons": list(record.reasons)},
    )
