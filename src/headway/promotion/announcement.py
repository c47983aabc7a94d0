"""The notification of a decision: what was decided, and where its page is."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from headway.errors import HeadwayError
from headway.notifications import Message, configured_file, notify
from headway.promotion.champion import artifact
from headway.promotion.check import points
from headway.promotion.decision import APPROVAL, DECLINE, FORCED, PROMOTION, REFUSAL, REQUEST, RETIREMENT, ROLLBACK, Decision
from headway.promotion.project import Project

EVENT_OF = {
    PROMOTION: "promotion",
    FORCED: "promotion",
    REFUSAL: "refusal",
    ROLLBACK: "rollback",
    RETIREMENT: "retirement",
    REQUEST: "approval",
    APPROVAL: "promotion",
    DECLINE: "refusal",
}


def announce(project: Project, decision: Decision, decided_before: int, warn: Callable[[str], object]) -> None:
    """Send the notification of a decision that is on record. Never raises; ``warn`` gets one line about what went wrong.

    Args:
        decided_before: number of the last decision that had been carried out before. An older decision that still holds, such as
            a repeated refusal, is not announced again.
    """
    if configured_file() is None or decision.number <= decided_before:
        return
    notify(Message(EVENT_OF[decision.kind], project.layout.root.name, line_of(decision), _link(project, decision)), warn)


def line_of(decision: Decision) -> str:
    """What was decided, with the gain in accuracy or the first check that failed."""
    if decision.kind == REFUSAL and decision.failed:
        others = len(decision.failed) - 1
        more = f"; {others} more failed" if others else ""
        return f"{decision.headline}: {decision.failed[0].name}: {decision.failed[0].explanation}{more}"
    version = decision.candidate.version
    answer = (
        f'; answer with `headway approve {version} --reason "…"` or `headway decline {version} --reason "…"`'
        if decision.kind == REQUEST
        else ""
    )
    if decision.accuracy_gain is None:
        return f"{decision.headline}{answer}"
    opponent, check = decision.accuracy_gain
    assert check.value is not None
    mark = ";" if decision.reason else ":"
    return f"{decision.headline}{mark} accuracy {points(check.value)} against the {opponent}{answer}"


def on_this_machine(path: Path) -> str:
    """Where a file is, for a reader who may be on another machine."""
    return f"{socket.gethostname()}: {path}"


def _link(project: Project, decision: Decision) -> str:
    """Address of the decision's page on an MLflow server; without one, the page's path on this machine."""
    tracker, run = project.registry.tracker, decision.candidate.run
    with suppress(HeadwayError):  # MLflow may have stopped to answer, which is no reason to send nothing
        if tracker.pages and not tracker.own and run and project.registry.has_run(run):
            return tracker.pages + tracker.run_path(run, f"{artifact(decision)}.html")
    return on_this_machine(project.layout.page("decision"))
