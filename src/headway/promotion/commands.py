"""The commands by which a person changes the champion: promote, roll back, retire.

Like a flow, each runs alone in a project: the caller holds the lock. The caller also passes functions that name the stages
that are out of date and publish a decision elsewhere, so that nothing here depends on DVC or Prefect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headway.errors import HeadwayError
from headway.files import read_json, write_json
from headway.promotion import rollback
from headway.promotion.champion import reconcile
from headway.promotion.decision import Decision, current_requester
from headway.promotion.decision_report import write_page
from headway.promotion.outcome import Outcome
from headway.promotion.project import Project

Publish = Callable[[Decision], None]


def promote(
    project: Project,
    version: str,
    force: bool,
    reason: str,
    publish: Publish,
    changed_stages: Callable[[], set[str] | None],
) -> tuple[Outcome, Path]:
    """Let the gate decide on a registered version.

    Args:
        project: the project.
        version: its number.
        force: promote it even if the gate refuses.
        reason: why it is forced; only with ``force``.
        publish: called with the decision.
        changed_stages: returns the names of stages that are out of date, None if unknown.

    Returns:
        The outcome, and the path of the decision's page.

    Raises:
        HeadwayError: see :func:`headway.promotion.promote.promote`; or the stages that make the test rows are out of date;
            or only one of ``force`` and ``reason`` is given.
    """
    if force != bool(reason.strip()):
        raise HeadwayError('to promote a version against the gate, give both --force and --reason "…"')
    from headway.promotion.promote import Request
    from headway.promotion.promote import promote as decide

    def require_current() -> None:
        needed = {"ingest", "prepare"} | (set() if force else {"baseline"})
        if changed := sorted(needed & (changed_stages() or set())):
            raise HeadwayError(
                f"params.yaml, the data or the code changed since {', '.join(changed)} ran, so the prepared test rows are out of "
                "date; run `dvc repro baseline` or undo the change, then promote"
            )

    requester = current_requester(f"headway promote {version}{' --force' if force else ''}")
    outcome = decide(project, Request(requester, version, force, reason, require_current))
    assert outcome.decision is not None
    return outcome, _publish(project, outcome.decision, publish)


def roll_back(project: Project, to: str | None, reason: str, publish: Publish) -> tuple[Decision, Path]:
    """Restore a former champion, by default the previous one; returns the decision and the path of its page."""
    _require_reason(reason)
    command = f"headway rollback{f' --to {to}' if to else ''}"
    return _idempotent(
        project,
        command,
        reason,
        publish,
        lambda: rollback.roll_back(project.registry, to, reason, current_requester(command), project.lineage()),
    )


def retire(project: Project, reason: str, publish: Publish) -> tuple[Decision, Path]:
    """Remove the champion without a successor; returns the decision and the path of its page."""
    _require_reason(reason)
    command = "headway retire"
    return _idempotent(
        project,
        command,
        reason,
        publish,
        lambda: rollback.retire(project.registry, reason, current_requester(command), project.lineage()),
    )


def _idempotent(
    project: Project, command: str, reason: str, publish: Publish, decide: Callable[[], Decision]
) -> tuple[Decision, Path]:
    with _finished_before(project, command, reason) as finished:
        decision = finished or decide()
        return decision, _publish(project, decision, publish)


@contextmanager
def _finished_before(project: Project, command: str, reason: str) -> Iterator[Decision | None]:
    """The decision that this very command made if it was killed before the end of the block, else None.

    Without this, repeating a rollback after a kill would go back one champion further.
    """
    note = project.layout.scratch / "by-hand.json"
    last = project.registry.log.entries().last
    request = {"command": command, "reason": reason}
    noted = read_json(note, made_by="this command") if note.is_file() else {}
    finished = None
    if noted != {**request, "after": noted.get("after")}:
        write_json(note, {**request, "after": last})
    elif last != noted["after"]:
        newest = reconcile(project.registry, accept_manual_change=True).decisions[-1]
        if (newest.previous, newest.requested_by.command, newest.reason) == (noted["after"], command, reason):
            finished = newest
        else:
            write_json(note, {**request, "after": last})
    try:
        yield finished
    except Exception:
        note.unlink()
        raise
    note.unlink()


def _publish(project: Project, decision: Decision, publish: Publish) -> Path:
    publish(decision)
    return write_page(project.layout, decision)


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise HeadwayError('the reason is empty; state one, for example --reason "too many complaints labelled as praise"')
