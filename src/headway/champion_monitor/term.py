"""The champion's term: since when it is champion, and which accuracy the decision promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from headway.errors import HeadwayError
from headway.promotion import history_queries as queries
from headway.promotion.decision import Decision
from headway.registry.version_ref import ModelVersionRef


@dataclass(frozen=True)
class Term:
    """The time since a model became champion.

    Attributes:
        champion: its version.
        decision: id of the decision that made it champion, and its number in the history.
        number: see ``decision``.
        since: time of that decision, in UTC.
        promised: its accuracy on the test rows of the last decision that scored it, from 0 to 1; None if none did.
        former: the champion before it, None if there was none.
    """

    champion: ModelVersionRef
    decision: str
    number: int
    since: datetime
    promised: float | None
    former: ModelVersionRef | None


def current_term(decisions: Sequence[Decision], name: str) -> Term:
    """The term of the present champion.

    Args:
        name: of the registered model, for the message.

    Raises:
        HeadwayError: the history has no champion.
    """
    last = queries.last_change(decisions)
    if last is None or not last.appoints:
        raise HeadwayError(
            f"model {name} has no champion in its history, so there is nothing to monitor; `make run` promotes one"
        )
    promised = next(
        (
            float(accuracy)
            for one in reversed(decisions[: last.number])
            if one.candidate.model == last.candidate.model and (accuracy := one.candidate_scores.get("accuracy")) is not None
        ),
        None,
    )
    before = queries.previous_champions(decisions)
    former = last.champion if last.champion != last.candidate else before[-1] if before else None
    return Term(last.candidate, last.id, last.number, datetime.fromisoformat(last.when), promised, former)
