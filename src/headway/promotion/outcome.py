"""How a request to promote a model ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from headway.promotion.decision import REFUSAL, REQUEST, Decision

PROMOTED, REFUSED, UNCHANGED, WAITING = "promoted", "refused", "unchanged", "waiting"


@dataclass(frozen=True)
class Outcome:
    """Result of a request to promote a model.

    Attributes:
        result: ``promoted``, ``refused``, ``waiting`` for approval, or ``unchanged`` if the model is champion already.
        version: number of the candidate's version.
        champion: number of the version that is champion now, None if there is none.
        lines: result and reasons, for people.
        scores: test metrics by model, all on the same rows.
        decision: the decision that holds, None if it is older than the history.
        problem: what a person has to fix before anything can be promoted again; "" if nothing.
    """

    result: str
    version: str
    champion: str | None
    lines: list[str]
    scores: dict[str, dict[str, Any]]
    decision: Decision | None = None
    problem: str = ""

    @classmethod
    def of(cls, decision: Decision, champion: str | None, problem: str = "") -> Self:
        """The outcome of a decision of the gate, or of a forced promotion; ``champion`` is the one before it."""
        if decision.kind == REQUEST:
            return cls.waiting(decision, champion)
        return cls.refused(decision, champion, problem) if decision.kind == REFUSAL else cls.promoted(decision)

    @classmethod
    def promoted(cls, decision: Decision) -> Self:
        """The outcome of a decision that makes its candidate champion."""
        version = decision.candidate.version
        return cls(PROMOTED, version, version, decision.summary, decision.scores, decision)

    @classmethod
    def refused(cls, decision: Decision, champion: str | None, problem: str = "") -> Self:
        """The outcome of a refusal, with the champion that stays."""
        version = decision.candidate.version
        lines = [*decision.summary, f'Ask the refused model with `headway predict --version {version} --text "a text"`.']
        return cls(REFUSED, version, champion, lines, decision.scores, decision, problem)

    @classmethod
    def waiting(cls, decision: Decision, champion: str | None) -> Self:
        """The outcome of an approval request, with the champion that stays until a person answers it."""
        version = decision.candidate.version
        lines = [
            *decision.summary,
            f'Promote version {version} with `headway approve {version} --reason "…"`, or end its candidacy with '
            f'`headway decline {version} --reason "…"`.',
        ]
        return cls(WAITING, version, champion, lines, decision.scores, decision)
