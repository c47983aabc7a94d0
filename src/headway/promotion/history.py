"""The history: all decisions in order, stored in the registry's log that every machine appends to."""

from __future__ import annotations

from functools import lru_cache

from headway.errors import HeadwayError
from headway.promotion import decision
from headway.promotion.decision import Decision
from headway.registry.record_log import Entries
from headway.registry.registry import Registry

REMEDY = (
    "see `headway history --verify`; restore MLflow's database and artifacts from a backup, or, to begin a new history and "
    "keep this one, choose another registry.model_name in params.yaml"
)

#: Reading is a pure function of the stored text, and a process reads the same decisions several times.
parse = lru_cache(maxsize=4096)(decision.parse)


def decisions(registry: Registry) -> list[Decision]:
    """All decisions in order.

    Raises:
        HeadwayError: the chain is broken. Nothing is decided on a history that was altered.
    """
    found, problem = examine(registry)
    if problem:
        raise HeadwayError(f"the history of {registry.name} is broken: {problem}; {REMEDY}")
    return found


def examine(registry: Registry) -> tuple[list[Decision], str]:
    """The decisions up to the first broken one, and what is wrong with that one; "" if nothing is."""
    entries = registry.log.entries()
    if entries.lost_run:
        return [], f"its run {entries.lost_run} is gone"
    texts = registry.log.texts(entries.ids.values())
    found: list[Decision] = []
    for number in range(1, max(entries.ids, default=0) + 1):
        try:
            found.append(_read(number, entries, texts, found[-1].id if found else ""))
        except HeadwayError as error:
            return found, f"record {number}: {error}"
    number, record_id = entries.carried_out
    if number and (len(found) < number or found[number - 1].id != record_id):
        return found, f"record {number}: it was carried out and is missing; the history's end was cut off or replaced"
    return found, ""


def append(registry: Registry, new: Decision) -> None:
    """Append a decision to the history.

    Raises:
        LogConflict: another process decided first.
    """
    registry.log.create()
    registry.log.append(new.number, new.id, new.as_json())


def _read(number: int, entries: Entries, texts: dict[str, str], previous: str) -> Decision:
    """One decision of the chain; raises a HeadwayError that names the problem."""
    key = entries.ids.get(number)
    if key is None:
        raise HeadwayError("missing")
    if key not in texts:
        raise HeadwayError("its file is missing")
    found = parse(texts[key], key)
    if (found.number, found.previous) != (number, previous):
        raise HeadwayError("it does not name the id of the record before it")
    return found
