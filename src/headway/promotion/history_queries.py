"""Queries on a history: the champion, former champions, decisions on a model, and earlier looks at a test set.

Pure functions over the decisions in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headway.promotion.decision import FORCED, REQUEST, RETIREMENT, ROLLBACK, Decision, TestSet
from headway.registry.version_ref import ModelVersionRef

#: Checks that compare a candidate with the champion, one for each policy, and the knobs under ``gate`` that define them.
WITH_CHAMPION = ("better_than_champion", "no_worse_than_champion"), ("policy", "champion_margin", "confidence")
#: The check that decides a first promotion, and its knobs.
FIRST_PROMOTION = ("no_worse_than_baseline",), ("baseline_margin", "confidence")
#: A test set that shares at least this part of its rows with an earlier one counts as the same test set.
SAME_TEST_SET = 0.5


def current_champion(history: Sequence[Decision]) -> ModelVersionRef | None:
    """The champion according to the history, None if the last one was retired or there never was one."""
    last = last_change(history)
    return last.candidate if last is not None and last.appoints else None


def last_change(history: Sequence[Decision]) -> Decision | None:
    """The last decision that appointed or retired a champion."""
    return next((decision for decision in reversed(history) if decision.changes_champion), None)


def previous_champions(history: Sequence[Decision]) -> list[ModelVersionRef]:
    """The champions that a rollback can go back to, the nearest last.

    They form a stack. A promotion pushes the new champion. A rollback pops down to the version that it restores. A
    retirement pops the retired version.
    """
    stack: list[ModelVersionRef] = []
    for decision in history:
        version = decision.candidate
        if decision.kind == ROLLBACK and version in stack:
            while stack[-1] != version:
                stack.pop()
        elif decision.kind == RETIREMENT:
            if stack and stack[-1] == version:
                stack.pop()
        elif decision.appoints:
            if not stack and decision.champion is not None:
                stack.append(decision.champion)  # champion before the history began
            if not stack or stack[-1] != version:
                stack.append(version)
    current = current_champion(history)
    return stack[:-1] if current is not None and stack and stack[-1] == current else stack


def open_request(history: Sequence[Decision]) -> Decision | None:
    """The approval request that a person has to answer, None if nothing waits.

    It ends with its answer, with a newer request, and with a newer decision on the same model. It also ends when the champion
    changes, because its evidence is about another pair then.
    """
    request = last_request(history)
    if request is None:
        return None
    later = history[request.number :]
    ended = any(one.changes_champion or one.candidate.model == request.candidate.model for one in later)
    return None if ended else request


def last_request(history: Sequence[Decision]) -> Decision | None:
    """The last approval request, whether it waits or not."""
    return next((one for one in reversed(history) if one.kind == REQUEST), None)


def find_former_champion(history: Sequence[Decision], number: str) -> ModelVersionRef | None:
    """The version with this number if it ever was champion, else None."""
    known = [decision.candidate for decision in history if decision.appoints]
    known += [decision.champion for decision in history if decision.champion is not None]
    return next((version for version in reversed(known) if version.version == number), None)


def last_decision_on(history: Sequence[Decision], model: str) -> Decision | None:
    """The last decision on a model with this fingerprint, in whichever version."""
    return next((decision for decision in reversed(history) if decision.candidate.model == model), None)


def training_params(history: Sequence[Decision], model: str) -> dict[str, Any] | None:
    """The params that a model with this fingerprint was trained with, None if unknown.

    A run decides on the model that it trains, so the first decision on a model has them. A forced promotion does not count,
    because it can concern a version that no run has decided on.
    """
    found = (one.params for one in history if one.candidate.model == model and one.params and one.kind != FORCED)
    return next(found, None)


def removal_of(history: Sequence[Decision], model: str) -> Decision | None:
    """The rollback or retirement that removed a model as champion, None if there is none or the model became champion later."""
    for decision in reversed(history):
        if decision.appoints and decision.candidate.model == model:
            return None
        if decision.kind in (ROLLBACK, RETIREMENT) and decision.champion is not None and decision.champion.model == model:
            return decision
    return None


def earlier_looks(
    history: Sequence[Decision], rows: TestSet, candidate: str, champion: str | None, policy: Mapping[str, Any]
) -> int:
    """How many comparisons of this kind the gate has made on these test rows, without the present one.

    With a champion, comparisons with any champion count; without one, decisions on a first promotion. Test sets that share
    most of their rows count as one, because a lucky result on the shared rows is lucky again. Each pair of models counts
    once per rule; repeating the same comparison reveals nothing new. A comparison that could not be computed does not count:
    it refuses for that reason alone, so it takes no part in the shared risk of promoting by luck.

    Args:
        history: all decisions.
        rows: the present test rows.
        candidate, champion: fingerprints of the present pair; None for a first promotion.
        policy: the present section ``gate`` of params.yaml.
    """
    comparisons, knobs = FIRST_PROMOTION if champion is None else WITH_CHAMPION

    def comparison(rows: TestSet, candidate: str, champion: str | None, policy: Mapping[str, Any]) -> tuple[Any, ...]:
        return rows.sha256, candidate, champion, *(policy.get(knob) for knob in knobs)

    seen = {
        comparison(one.test_rows, one.candidate.model, one.champion.model if one.champion else None, one.policy)
        for one in history
        if (one.champion is None) == (champion is None)
        if one.test_rows is not None and rows.overlap(one.test_rows) >= SAME_TEST_SET
        if any(check.name in comparisons and check.value is not None for check in one.checks)
    }
    return len(seen - {comparison(rows, candidate, champion, policy)})
