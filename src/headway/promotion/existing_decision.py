"""Finds a decision on the stages' candidate that is still valid. Light to import: nothing is scored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headway.files import read_json
from headway.layout import Layout
from headway.promotion import history_queries as queries
from headway.promotion.champion import RegistryState
from headway.promotion.check import Check
from headway.promotion.decision import BASELINE, CANDIDATE, DECLINE, REFUSAL, REQUEST, RETIREMENT, Decision, plain
from headway.promotion.decision_report import publish
from headway.promotion.gate_code import gate_code
from headway.promotion.outcome import REFUSED, UNCHANGED, Outcome
from headway.promotion.project import RESULTS, Project
from headway.promotion.test_rows import TestRows
from headway.registry.registry import MODEL_TAG
from headway.serving import package


def existing_outcome(project: Project, state: RegistryState, rows: TestRows) -> Outcome | None:
    """The outcome of a decision that is still valid, None if a new one is needed.

    The pages are written, and whatever a killed process did not log to the pipeline's MLflow run is logged now. The test
    rows are read only if there is a decision of the gate to compare them with.
    """
    outcome = (
        unchanged(project, state)
        or existing_gate_decision(project, state, rows)
        or declined(project, state)
        or removed_by_hand(project, state)
    )
    if outcome is not None:
        publish(project, outcome.decision)
    return outcome


def unchanged(project: Project, state: RegistryState) -> Outcome | None:
    """The outcome if the champion is the stages' candidate itself, with its files complete."""
    layout, registry, champion = project.layout, project.registry, state.champion
    if champion is None or champion.tags.get(MODEL_TAG) != package.fingerprint(layout.candidate):
        return None
    if not registry.loads(champion):
        return None
    number = str(champion.version)
    line = f"nothing to decide: the candidate is version {number}, which is champion"
    return Outcome(UNCHANGED, number, number, [line], staged_scores(layout), queries.last_change(state.decisions))


def existing_gate_decision(project: Project, state: RegistryState, rows: TestRows) -> Outcome | None:
    """The outcome if this candidate was refused, or waits for approval, and nothing that this is based on has changed.

    It is based on the candidate, the champion, the test rows, the policy, the gate's code, and, through params.yaml and
    dvc.lock (without the pages), the seed and the baseline's predictions. Some refusals are always reconsidered, see
    :func:`_may_pass_later`.
    """
    params, layout, registry, champion = project.params, project.layout, project.registry, state.champion
    known = queries.last_decision_on(state.decisions, package.fingerprint(layout.candidate))
    if known is None or known.kind not in (REFUSAL, REQUEST) or any(map(_may_pass_later, known.failed)):
        return None
    if known.kind == REQUEST and known != queries.open_request(state.decisions):
        return None  # it was replaced by another candidate's, or the champion changed
    now = project.lineage()
    # The commit may differ, as it does after `git commit`. The pages may differ too, but older decisions hash all of
    # dvc.lock.
    compared = ("headway.params", RESULTS if RESULTS in known.project else "headway.dvc_lock")
    holds = (
        known.champion == state.champion_ref
        and known.policy == plain(params.gate)
        and known.gate_code == gate_code()
        and all(known.project.get(name) == now[name] for name in compared)
        and known.test_rows == rows.fingerprint
    )
    version = registry.find(known.candidate)
    if not holds or version is None or not all(registry.loads(one) for one in (version, champion) if one is not None):
        return None
    outcome = Outcome.of(known, state.champion_number)
    return replace(outcome, lines=[*outcome.lines, f"decided before ({known.when}); nothing has changed since"])


def declined(project: Project, state: RegistryState) -> Outcome | None:
    """The outcome if a person declined this very model after it had passed the gate."""
    layout = project.layout
    answer = queries.last_decision_on(state.decisions, package.fingerprint(layout.candidate))
    if answer is None or answer.kind != DECLINE:
        return None
    return _answered_by_hand(project, state, answer, answer.candidate.version, "was declined")


def removed_by_hand(project: Project, state: RegistryState) -> Outcome | None:
    """The outcome if a person removed this very model as champion, by a rollback or a retirement.

    Only a person promotes it again. The exception is a champion that was retired because its files were lost. Trained again,
    it may be promoted.
    """
    layout, registry = project.layout, project.registry
    removal = queries.removal_of(state.decisions, package.fingerprint(layout.candidate))
    if removal is None or removal.champion is None:
        return None
    if removal.kind == RETIREMENT:
        retired = registry.find(removal.champion)
        if retired is None or not registry.loads(retired):
            return None
    return _answered_by_hand(project, state, removal, removal.champion.version, "was removed as champion")


def _answered_by_hand(project: Project, state: RegistryState, decision: Decision, version: str, done: str) -> Outcome:
    """The outcome of a decision by which a person spoke against a version."""
    lines = [
        decision.headline,
        f"version {version} holds the same model and {done} ({decision.when}: {decision.reason}); train another "
        f"model, or let the gate decide again with `headway promote {version}`",
    ]
    return Outcome(REFUSED, version, state.champion_number, lines, staged_scores(project.layout), decision)


def staged_scores(layout: Layout) -> dict[str, dict[str, Any]]:
    """Test metrics of the stages' candidate and of the linear baseline, on the same rows."""
    return {
        CANDIDATE: read_json(layout.metrics("test"), made_by="evaluate"),
        BASELINE: read_json(layout.metrics("baseline"), made_by="baseline")["test"],
    }


def _may_pass_later(check: Check) -> bool:
    """Whether a failed check may pass on the same inputs later: its value could not be computed, or it is the latency, which
    depends on how busy the machine is."""
    return check.value is None or check.name == "latency"
