"""The commands by which a person decides on the champion: promote, approve, decline, roll back, retire.

Like a flow, each runs alone in a project: the caller holds the lock. The caller also passes functions that name the stages
that are out of date and publish a decision elsewhere, so that nothing here depends on DVC or Prefect.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from headway.errors import HeadwayError
from headway.files import read_json, write_json
from headway.promotion import approval, history, rollback
from headway.promotion import history_queries as queries
from headway.promotion.champion import reconcile
from headway.promotion.decision import Decision, Requester, current_requester
from headway.promotion.decision_report import write_pages
from headway.promotion.outcome import Outcome
from headway.promotion.project import Project
from headway.promotion.test_rows import TestRows

Publish = Callable[[Decision], None]


def promote(
    project: Project,
    version: str,
    force: bool,
    reason: str,
    publish: Publish,
    changed_stages: Callable[[], set[str] | None],
    on_step: Callable[[str], None] = lambda _: None,
) -> tuple[Outcome, Path]:
    """Let the gate decide on a registered version.

    Args:
        project, version: the project, and the number of the version.
        force, reason: promote it even if the gate refuses, and why; both or neither.
        publish: called with the decision.
        changed_stages: returns the names of stages that are out of date, None if unknown.
        on_step: called with what is done next, since each step can take a minute.

    Returns:
        The outcome, and the path of the decision's page.

    Raises:
        HeadwayError: see :func:`headway.promotion.promote.promote`; or the stages that make the test rows are out of date,
            or without ``force`` it is unknown whether they are; or only one of ``force`` and ``reason`` is given.
    """
    if force != bool(reason.strip()):
        raise HeadwayError('to promote a version against the gate, give both --force and --reason "…"')
    from headway.promotion.promote import Request
    from headway.promotion.promote import promote as decide

    def require_current() -> None:
        on_step("checking that the stages are up to date")
        needed = {"ingest", "prepare"} | (set() if force else {"baseline"})
        found = changed_stages()
        if found is None and not force:
            raise HeadwayError(
                "it is unknown whether the prepared test rows are up to date, because `dvc status` fails; run it to see why, "
                'correct that, then promote, or promote with --force and --reason "…"'
            )
        if changed := sorted(needed & (found or set())):
            raise HeadwayError(
                f"params.yaml, the data or the code changed since {', '.join(changed)} ran, so the prepared test rows are out of "
                "date; run `dvc repro baseline` or undo the change, then promote"
            )

    requester = current_requester(f"headway promote {version}{' --force' if force else ''}")
    outcome = decide(project, Request(requester, version, force, reason, require_current, on_step))
    assert outcome.decision is not None
    return outcome, _publish(project, outcome.decision, publish)


def roll_back(project: Project, to: str | None, reason: str, publish: Publish) -> tuple[Decision, Path]:
    """Restore a former champion, by default the previous one; returns the decision and the path of its page."""
    command = f"headway rollback{f' --to {to}' if to else ''}"
    return _idempotent(project, command, reason, publish, partial(rollback.roll_back, project.registry, to))


def retire(project: Project, reason: str, publish: Publish) -> tuple[Decision, Path]:
    """Remove the champion without a successor; returns the decision and the path of its page."""
    return _idempotent(project, "headway retire", reason, publish, partial(rollback.retire, project.registry))


def approve(project: Project, version: str, reason: str, publish: Publish) -> tuple[Decision, Path]:
    """Promote a version that waits for approval; returns the decision and the path of its page.

    Raises:
        HeadwayError: see :func:`headway.promotion.approval.approve`, or policy or test rows changed since then.
    """

    def answer(why: str, requester: Requester) -> Decision:
        request = queries.open_request(history.decisions(project.registry))
        if request is not None and request.candidate.version == version:
            rows = TestRows(project.layout)
            approval.require_same_terms(request, project.params.gate, rows.fingerprint if rows.exist else None)
        return approval.approve(project.registry, version, why, requester)

    return _answer(project, f"headway approve {version}", reason, publish, answer)


def decline(project: Project, version: str, reason: str, publish: Publish) -> tuple[Decision, Path]:
    """End the candidacy of a version that waits for approval; returns the decision and the path of its page."""
    return _answer(
        project, f"headway decline {version}", reason, publish, partial(approval.decline, project.registry, version)
    )


def _answer(
    project: Project, command: str, reason: str, publish: Publish, answer: Callable[[str, Requester], Decision]
) -> tuple[Decision, Path]:
    # The record has the project as it was when the gate decided.
    return _idempotent(project, command, reason, publish, lambda why, requester, _: answer(why, requester))


def _idempotent(
    project: Project,
    command: str,
    reason: str,
    publish: Publish,
    decide: Callable[[str, Requester, dict[str, str]], Decision],
) -> tuple[Decision, Path]:
    """Decide and publish. If the same command was killed after its decision, only publish that decision.

    Otherwise, repeating a rollback after a kill would go back one champion further.
    """
    if not reason.strip():
        raise HeadwayError('the reason is empty; state one, for example --reason "too many complaints labelled as praise"')
    note = project.layout.scratch / "by-hand.json"
    noted = read_json(note, made_by="this command") if note.is_file() else {}
    request = {"command": command, "reason": reason}
    last, after = project.registry.log.entries().last, noted.get("after")
    decision = None
    if noted == {**request, "after": after} and last != after:
        newest = reconcile(project.registry, accept_manual_change=True).decisions[-1]
        if (newest.previous, newest.requested_by.command, newest.reason) == (after, command, reason):
            decision = newest
    if decision is None:
        write_json(note, {**request, "after": last})
    try:
        decision = decision or decide(reason, current_requester(command), project.lineage())
    except Exception:
        note.unlink()
        raise
    page = _publish(project, decision, publish)  # the note stays until this succeeds, so that a repetition only publishes
    note.unlink()
    return decision, page


def _publish(project: Project, decision: Decision, publish: Publish) -> Path:
    publish(decision)
    write_pages(project, decision)
    return project.layout.page("decision")
