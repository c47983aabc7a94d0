"""Restores the former champion when labels have shown that it was better, if ``registry.auto_rollback`` says so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from headway.champion_monitor.term import current_term
from headway.monitoring.record import MonitoringRecord
from headway.promotion import commands, history
from headway.promotion.decision import Decision
from headway.promotion.project import Project
from headway.reporting.formatting import points


def restore_former_champion(
    project: Project, record: MonitoringRecord, publish: commands.Publish, lock: Callable[[], AbstractContextManager[None]]
) -> Decision | None:
    """Roll back, with the evidence as the reason; None if that is not wanted or not shown, or there is another champion already.

    Args:
        publish: called with the decision.
        lock: holds the project's lock, as every decision does.

    Raises:
        HeadwayError: a flow is running, or the former champion's files are lost or damaged; nothing has changed then.
    """
    guard, registry = record.guard, project.registry
    if not project.params.registry.auto_rollback or guard is None or not guard.is_shown:
        return None
    reason = (
        f"monitoring: on {guard.rows:,} labelled texts that both answered, version {guard.former} alone was right on "
        f"{guard.only_former:,} and version {record.version} alone on {guard.only_champion:,}; the former champion is "
        f"{points(guard.difference, guard.low, guard.high)} more accurate"
    )
    with lock():
        if current_term(history.decisions(registry), registry.name).decision != record.decision:
            return None
        return commands.roll_back(project, guard.former, reason, publish)[0]
