"""What a history says: who is in office, who was before, which candidates were judged. Pure functions over its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headway.promotion.decision import FORCED, REFUSAL, RETIREMENT, ROLLBACK, Record, Rows, Subject

#: The gate's comparisons of a candidate with the champion, one for each policy; and the one that elects, without a champion.
AGAINST_CHAMPION = ("better_than_champion", "no_worse_than_champion")
ELECTING = ("no_worse_than_baseline",)
#: The knobs that say what such a comparison asks, and how surely.
AGAINST_CHAMPION_KNOBS = ("policy", "champion_margin", "confidence")
ELECTING_KNOBS = ("baseline_margin", "confidence")
#: Test rows of which this share belonged to another test set are counted as that one.
SAME = 0.5


def in_office(records: Sequence[Record]) -> Subject | None:
    """The champion by the history, None when the last one was retired or there never was one."""
    last = last_change(records)
    return last.candidate if last is not None and last.appoints else None


def last_change(records: Sequence[Record]) -> Record | None:
    """The record that last filled or emptied the office."""
    return next((record for record in reversed(records) if record.kind != REFUSAL), None)


def former(records: Sequence[Record]) -> list[Subject]:
    """The champions that a rollback goes back to, the nearest last.

    A promotion lays the one in office aside; a rollback goes back to one that was laid aside and forgets those after it, as a
    retirement forgets the one retired.
    """
    stack: list[Subject] = []
    for record in records:
        subject = record.candidate
        if record.kind == ROLLBACK and subject in stack:
            while stack[-1] != subject:
                stack.pop()
        elif record.kind == RETIREMENT:
            if stack and stack[-1] == subject:
                stack.pop()
        elif record.appoints:
            if not stack and record.champion is not None:
                stack.append(record.champion)  # in office before the history began
            if not stack or stack[-1] != subject:  # appointed twice in a row, it is in office once
                stack.append(subject)
    current = in_office(records)
    return stack[:-1] if current is not None and stack and stack[-1] == current else stack


def was_champion(records: Sequence[Record], version: str) -> Subject | None:
    """A version that was in office at some time, None when it never was."""
    known = [record.candidate for record in records if record.appoints]
    known += [record.champion for record in records if record.champion is not None]
    return next((subject for subject in reversed(known) if subject.version == version), None)


def about(records: Sequence[Record], model: str) -> Record | None:
    """The last decision on a model, by its fingerprint, whichever versions hold it."""
    return next((record for record in reversed(records) if record.candidate.model == model), None)


def first_about(records: Sequence[Record], model: str) -> Record | None:
    """The first decision on a model that has params: those that it was trained with, since a run decides on what it trains.

    Not so a forced one, which may be of a version that no run has decided on.
    """
    found = (record for record in records if record.candidate.model == model and record.params and record.kind != FORCED)
    return next(found, None)


def withdrawn(records: Sequence[Record], model: str) -> Record | None:
    """The rollback or retirement that took a model out of office; None when there was none or it has been put there since."""
    for record in reversed(records):
        if record.appoints and record.candidate.model == model:
            return None
        if record.kind in (ROLLBACK, RETIREMENT) and record.champion is not None and record.champion.model == model:
            return record
    return None


def verdicts_before(
    records: Sequence[Record], rows: Rows, candidate: str, champion: str | None, policy: Mapping[str, Any]
) -> int:
    """How often the gate compared a candidate with a champion on these test rows before; or, without one, how often it was asked
    to elect one there.

    Rows most of which were tested before are those of before, for what they have shown by luck they will show again. Each
    pair of models counts once for each of them and for each rule it was held against, and the present question not at all: to
    ask the same again tells nothing new. Nor does a verdict count whose champion (or, in an election, baseline) could not be
    scored: it was a refusal for that alone, whatever else it saw of the rows, and so could not promote by luck, which is the risk
    that is shared.

    Args:
        rows: the test rows.
        candidate, champion: fingerprints of the present pair; no champion in an election.
        policy: the section gate of params.yaml.
    """
    comparisons, knobs = (ELECTING, ELECTING_KNOBS) if champion is None else (AGAINST_CHAMPION, AGAINST_CHAMPION_KNOBS)

    def question(rows: Rows, candidate: str, champion: str | None, policy: Mapping[str, Any]) -> tuple[Any, ...]:
        return rows.sha256, candidate, champion, *(policy.get(knob) for knob in knobs)

    asked = {
        question(record.test_rows, record.candidate.model, record.champion.model if record.champion else None, record.policy)
        for record in records
        if (record.champion is None) == (champion is None)
        if record.test_rows is not None and rows.shared_with(record.test_rows) >= SAME
        if any(check.name in comparisons and check.value is not None for check in record.checks)
    }
    return len(asked - {question(rows, candidate, champion, policy)})
