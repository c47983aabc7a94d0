"""How a person answers an approval request: the candidate that passed the gate becomes champion, or its candidacy ends."""

from __future__ import annotations

from typing import Any

from headway.errors import HeadwayError
from headway.params import GateParams
from headway.phrases import listed
from headway.promotion import history_queries as queries
from headway.promotion.champion import RegistryState, commit, reconcile, retry_on_conflict
from headway.promotion.decision import APPROVAL, DECLINE, REQUEST, Decision, RecordRef, Requester, TestSet, plain
from headway.registry.registry import Registry

#: What an answer takes over from the request: the gate's evidence, and what it is about.
EVIDENCE = (
    "candidate",
    "champion",
    "checks",
    "scores",
    "test_rows",
    "policy",
    "lineage",
    "project",
    "params",
    "data",
    "training",
    "gate_code",
)


@retry_on_conflict
def approve(registry: Registry, version: str, reason: str, requester: Requester) -> Decision:
    """Promote a version that waits for approval, on the evidence of its approval request.

    Raises:
        HeadwayError: the version does not wait for approval (the message says why), or its files are lost or damaged, or the
            champion is not the one that the gate compared it with.
    """
    state = reconcile(registry)
    if done := state.completed_request(APPROVAL, reason, version):
        return done
    request = _request(registry, state, version)
    if request.champion != state.champion_ref:
        raise _outdated(registry, request)
    found = registry.find(request.candidate)
    if found is None:
        raise HeadwayError(f"version {version} of {registry.name} cannot be promoted: it was deleted from MLflow")
    try:
        registry.load(found)
    except HeadwayError as error:
        raise type(error)(f"version {version} was not promoted, and nothing has changed: {error}") from None
    return commit(registry, state, kind=APPROVAL, reason=reason, requested_by=requester, **_evidence(request))


@retry_on_conflict
def decline(registry: Registry, version: str, reason: str, requester: Requester) -> Decision:
    """End the candidacy of a version that waits for approval. The champion stays.

    Raises:
        HeadwayError: the version does not wait for approval; the message says why.
    """
    state = reconcile(registry, accept_manual_change=True)
    if done := state.completed_request(DECLINE, reason, version):
        return done
    request = _request(registry, state, version)
    return commit(registry, state, kind=DECLINE, reason=reason, requested_by=requester, **_evidence(request))


def require_same_terms(request: Decision, policy: GateParams, rows: TestSet | None) -> None:
    """Check that the gate would decide on the same terms today.

    Args:
        policy: the section ``gate`` of params.yaml.
        rows: the present test rows, None if they are not on this machine.

    Raises:
        HeadwayError: the policy or the test rows changed since the candidate passed.
    """
    now = plain(policy)
    changed = [f"gate.{name}" for name, value in request.policy.items() if now.get(name) != value]
    if rows is not None and request.test_rows is not None and request.test_rows != rows:
        changed.append("the test rows")
    if changed:
        version = request.candidate.version
        raise HeadwayError(
            f"{listed(changed, 3)} changed since version {version} passed the gate (decision {request.number}); let the gate "
            f"decide again with `headway promote {version}`"
        )


def _request(registry: Registry, state: RegistryState, version: str) -> Decision:
    """The request that waits, which must be that of this version."""
    request = queries.open_request(state.decisions)
    if request is not None and request.candidate.version == version:
        return request
    on_version = [one for one in state.decisions if one.candidate.version == version]
    last = on_version[-1] if on_version else None
    if last is not None and last.kind == REQUEST:
        later = next((one for one in state.decisions if one.kind == REQUEST and one.number > last.number), None)
        if later is None:
            raise _outdated(registry, last)
        raise HeadwayError(
            f"version {version} of {registry.name} no longer waits for approval: version {later.candidate.version} passed the "
            f"gate after it (decision {later.number}); let the gate decide again with `headway promote {version}`"
        )
    waiting = f"; version {request.candidate.version} does" if request is not None else ""
    decided = f" (decision {last.number}: {last.headline})" if last is not None else ""
    raise HeadwayError(
        f"version {version} of {registry.name} does not wait for approval{decided}{waiting}; see `headway history`"
    )


def _outdated(registry: Registry, request: Decision) -> HeadwayError:
    """The error that the gate compared the candidate with another champion than today's."""
    compared = f"version {request.champion.version}" if request.champion is not None else "no champion"
    version = request.candidate.version
    return HeadwayError(
        f"the champion of {registry.name} changed since version {version} passed the gate (decision {request.number}, against "
        f"{compared}); let the gate decide again with `headway promote {version}`"
    )


def _evidence(request: Decision) -> dict[str, Any]:
    return {name: getattr(request, name) for name in EVIDENCE} | {"request": RecordRef(number=request.number, id=request.id)}
