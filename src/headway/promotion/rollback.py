"""Decisions that a person makes without the gate: restore a former champion, or remove the champion."""

from __future__ import annotations

from headway.errors import HeadwayError
from headway.promotion import history_queries as queries
from headway.promotion.champion import RegistryState, commit, lineage_of, reconcile, retry_on_conflict
from headway.promotion.decision import RETIREMENT, ROLLBACK, Decision, Requester
from headway.registry.registry import Registry
from headway.registry.version_ref import ModelVersionRef


@retry_on_conflict
def roll_back(registry: Registry, to: str | None, reason: str, requester: Requester, project: dict[str, str]) -> Decision:
    """Restore a former champion: the version with the number ``to``, by default the previous champion.

    Raises:
        HeadwayError: there is no such former champion, it is champion now, or its files are lost or damaged.
    """
    state = reconcile(registry, accept_manual_change=True)
    if done := state.completed_request(ROLLBACK, reason, to):
        return done
    former = _former_champion(registry, state, to)
    version = registry.find(former)
    if version is None:
        raise HeadwayError(f"version {former.version} of {registry.name} cannot be restored: it was deleted from MLflow")
    try:
        registry.load(version)
    except HeadwayError as error:
        raise type(error)(f"version {former.version} was not restored, and nothing has changed: {error}") from None
    models = {"candidate": former, "champion": _replaced(state), "lineage": lineage_of(version)}
    return commit(registry, state, kind=ROLLBACK, reason=reason, requested_by=requester, project=project, **models)


@retry_on_conflict
def retire(registry: Registry, reason: str, requester: Requester, project: dict[str, str]) -> Decision:
    """Remove the champion without a successor.

    Raises:
        HeadwayError: there is no champion.
    """
    state = reconcile(registry, accept_manual_change=True)
    if done := state.completed_request(RETIREMENT, reason):
        return done
    champion = _replaced(state)
    if champion is None:
        raise HeadwayError(f"model {registry.name} has no champion to retire")
    models = {"candidate": champion, "champion": champion}
    return commit(registry, state, kind=RETIREMENT, reason=reason, requested_by=requester, project=project, **models)


def _former_champion(registry: Registry, state: RegistryState, to: str | None) -> ModelVersionRef:
    """The version that a rollback restores."""
    if to is None:
        previous = queries.previous_champions(state.decisions)
        if not previous:
            raise HeadwayError(
                f"{registry.name} has no previous champion to restore; name a version with --to, see `headway history`"
            )
        return previous[-1]
    known = queries.find_former_champion(state.decisions, to)
    if known is None:
        raise HeadwayError(
            f"version {to} of {registry.name} never was champion; `headway promote {to}` lets the gate decide on it"
        )
    if state.champion_ref == known == queries.current_champion(state.decisions):
        raise HeadwayError(f"version {to} of {registry.name} is champion already")
    return known


def _replaced(state: RegistryState) -> ModelVersionRef | None:
    """The champion that a decision replaces: the registry's, or the history's if a person removed that."""
    return state.champion_ref or queries.current_champion(state.decisions)
