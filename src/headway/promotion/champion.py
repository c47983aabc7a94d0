"""Who is champion: decisions become records of the history first, then the registry is brought to say what the history says.

A record that stands in the history is decided. What follows from it (the aliases, what is attached to version and run) is
carried out by whoever comes next, so a kill anywhere costs nothing; and since only one of two writers can make the next record,
two promotions at once cannot both succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mlflow.entities import LifecycleStage
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from headway.errors import HeadwayError
from headway.promotion import history_queries as terms
from headway.promotion.decision import REFUSAL, RETIREMENT, ROLLBACK, Actor, Record, Subject, new_record
from headway.promotion.history import GONE, HistoryGrew, stored
from headway.registry.registry import MODEL_TAG, Registry
from headway.reporting.decision import card, page
from headway.tracking import Tracker, reachable

#: Of a version: where its last record lies, what kind that is, and when and why it was retired. A pipeline's run has the
#: first two as well, its record's id in place of where it lies.
DECISION_TAG, VERDICT_TAG, RETIRED_TAG = "headway.decision", "headway.verdict", "headway.retired"
MOST_DESCRIPTION = 5000
ATTEMPTS = 5
Result = TypeVar("Result")


@dataclass(frozen=True)
class Standing:
    """Attributes: the history's records, the champion as the registry has it, and the records that were carried out just now:
    those of a process that was killed."""

    records: list[Record]
    champion: ModelVersion | None
    completed: list[Record]


def standing(registry: Registry, moved_by_hand: bool = False) -> Standing:
    """The present state, once everything that was decided has been carried out.

    Args:
        registry: of the model.
        moved_by_hand: whether the caller is going to record a champion anyway, whoever moved the alias.

    Raises:
        HeadwayError: the history is broken; or the alias was moved, or the champion deleted, by hand.
    """
    history = registry.history
    completed: list[Record] = []
    while True:
        carried_out = history.carried_out()  # before the records are read: these are then never behind it
        records = history.records()
        pending = records[carried_out:]
        if pending and history.last() == records[-1].id:  # else what they say is no longer the last word
            _carry_out(registry, records, pending)
            completed += pending
        champion = registry.champion()
        # Another process may still have decided meanwhile, and seated its champion before ours.
        if history.last() == (records[-1].id if records else ""):
            break
    if not moved_by_hand and not _agree(records, champion):
        raise HeadwayError(_changed_by_hand(registry, records, champion))
    return Standing(records, champion, completed)


def _carry_out(registry: Registry, records: Sequence[Record], pending: Sequence[Record]) -> None:
    """Do what the last records say; to do it twice does no harm. The office first: a run that takes no files keeps nobody out."""
    if any(record.kind != REFUSAL for record in pending):
        subject = terms.in_office(records)
        version = registry.holding(subject) if subject else None
        if subject is None or version is not None:
            registry.seat(version)
    for record in pending:
        _attach(registry, record)
    registry.history.mark_carried_out(records[-1])


def _agree(records: Sequence[Record], champion: ModelVersion | None) -> bool:
    """Whether the alias is where the history left it; without a history it may be anywhere."""
    return terms.last_change(records) is None or (champion and described(champion)) == terms.in_office(records)


def _changed_by_hand(registry: Registry, records: Sequence[Record], champion: ModelVersion | None) -> str:
    """What disagrees, and what a person can do about it."""
    last, by_history = terms.last_change(records), terms.in_office(records)
    assert last is not None
    how = "was changed by hand"
    late = _left_late(records, last, champion)
    if late:
        how += f", or by a process that carried out record {late.number} too late and was killed"
    said = f"version {by_history.version}" if by_history else "nobody"
    found = f"version {champion.version}" if champion else "nobody"
    ways = "`headway retire --reason …` records that there is none"
    if champion:
        ways = f"`headway promote {champion.version} --force --reason …` records version {champion.version}"
    if by_history and registry.holding(by_history) is None:
        said, back = f"{said}, which was deleted", "`headway rollback --reason …` goes back to the champion before it"
    elif by_history:
        back = f"`headway rollback --to {by_history.version} --reason …` puts it back"
    else:
        back = "`headway retire --reason …` empties the office"
    return (
        f"the champion of {registry.name} {how}: the history (record {last.number}) has {said}, "
        f"the registry {found}; {back}, {ways}"
    )


def _left_late(records: Sequence[Record], last: Record, champion: ModelVersion | None) -> Record | None:
    """An earlier record that says what the registry has: whoever was carrying it out may have been overtaken, then killed."""
    found = champion and described(champion)
    changes = [record for record in records[: last.number - 1] if record.kind != REFUSAL]
    return next((one for one in reversed(changes) if (one.candidate if one.appoints else None) == found), None)


def decide(registry: Registry, before: Standing, content: dict[str, Any]) -> Record:
    """Record a decision and carry it out. The same refusal again, with nothing decided in between, stays one record.

    Args:
        registry: of the model.
        before: the state that was decided on.
        content: attributes of :class:`Record`, without its place in the history.

    Raises:
        HistoryGrew: something else was decided since; nothing is recorded.
    """
    last = before.records[-1] if before.records else None
    place = {"number": last.number + 1 if last else 1, "previous": last.id if last else ""}
    record = new_record(**content, **place)
    if last is not None and record.kind == REFUSAL and record.repeats(last):
        return last
    registry.history.begin()
    registry.history.append(record)
    standing(registry, moved_by_hand=True)
    return record


def interrupted(before: Standing, kind: str, reason: str, version: str | None = None) -> Record | None:
    """What the same command decided before it was killed, carried out just now; None when there is no such record."""
    for record in before.completed:
        if (record.kind, record.reason) == (kind, reason) and version in (None, record.candidate.version):
            return record
    return None


def insistently(attempt: Callable[[], Result]) -> Result:
    """The result of an attempt to decide, made again when another process decided meanwhile.

    Raises:
        HistoryGrew: that happened again and again.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return attempt()
        except HistoryGrew:
            continue
    return attempt()


def roll_back(registry: Registry, to: str | None, reason: str, asked_by: Actor, project: dict[str, str]) -> Record:
    """Restore a former champion.

    Args:
        registry: of the model.
        to: its version; None for the champion before.
        reason, asked_by, project: for the record.

    Raises:
        HeadwayError: there is none, it never was champion, it is champion already, or its files are gone or damaged.
    """

    def attempt() -> Record:
        before = standing(registry, moved_by_hand=True)
        done = interrupted(before, ROLLBACK, reason, to)
        if done:
            return done
        subject = _former(registry, before, to)
        version = registry.holding(subject)
        if version is None:
            raise HeadwayError(
                f"version {subject.version} of {registry.name} cannot be restored: it was deleted from MLflow"
            )
        try:
            registry.load(version)
        except HeadwayError as error:
            kind = type(error)
            raise kind(f"version {subject.version} is not restored, nothing has changed: {error}") from None
        content = {
            "kind": ROLLBACK,
            "reason": reason,
            "asked_by": asked_by,
            "candidate": subject,
            "champion": _displaced(before),
            "lineage": lineage_of(version),
            "project": project,
        }
        return decide(registry, before, content)

    return insistently(attempt)


def _former(registry: Registry, before: Standing, to: str | None) -> Subject:
    """Whom a rollback restores."""
    if to is None:
        former = terms.former(before.records)
        if not former:
            raise HeadwayError(
                f"{registry.name} has no former champion to go back to; name a version with --to, see `headway history`"
            )
        return former[-1]
    known = terms.was_champion(before.records, to)
    if known is None:
        raise HeadwayError(
            f"version {to} of {registry.name} never was champion; `headway promote {to}` puts it before the gate"
        )
    if before.champion is not None and described(before.champion) == known == terms.in_office(before.records):
        raise HeadwayError(f"version {to} of {registry.name} is champion already")
    return known


def _displaced(before: Standing) -> Subject | None:
    """The champion that is put out of office, whether the registry still has it or the history alone."""
    return described(before.champion) if before.champion else terms.in_office(before.records)


def retire(registry: Registry, reason: str, asked_by: Actor, project: dict[str, str]) -> Record:
    """Take the champion out of office.

    Raises:
        HeadwayError: there is none.
    """

    def attempt() -> Record:
        before = standing(registry, moved_by_hand=True)
        done = interrupted(before, RETIREMENT, reason)
        if done:
            return done
        subject = _displaced(before)
        if subject is None:
            raise HeadwayError(f"model {registry.name} has no champion to retire")
        content = {"kind": RETIREMENT, "reason": reason, "asked_by": asked_by, "candidate": subject, "champion": subject}
        return decide(registry, before, {**content, "project": project})

    return insistently(attempt)


def _attach(registry: Registry, record: Record) -> None:
    """Leave a record with its version and with the version's run, as far as these are still there."""
    version = registry.holding(record.candidate)
    if version is None:
        return
    client, name = registry.client, registry.name
    with reachable(registry.tracker.uri), stored(f"what belongs to version {version.version} of {name}"):
        described_by = record.summary
        tags = {VERDICT_TAG: record.kind, DECISION_TAG: f"{record.number} {record.id}"}
        if version.run_id and is_there(registry.tracker, version.run_id):
            stem = f"decisions/version-{version.version}-{record.number}-{record.id[:12]}"
            client.log_text(version.run_id, record.as_json(), f"{stem}.json")
            client.log_text(version.run_id, page.render(record), f"{stem}.html")
            tags[DECISION_TAG] = f"runs:/{version.run_id}/{stem}.json"
            if record.checks:
                file = card.artifact(record)
                client.log_text(version.run_id, card.render(record, registry.name), file)
                described_by = [*described_by, f"Model card: runs:/{version.run_id}/{file}"]
        if record.kind == RETIREMENT:
            tags[RETIRED_TAG] = f"{record.when}: {record.reason}"[:MOST_DESCRIPTION]
        for tag, value in tags.items():
            client.set_model_version_tag(name, version.version, tag, value)
        text = "\n\n".join(described_by)
        client.update_model_version(name, version.version, description=text[:MOST_DESCRIPTION])


def is_there(tracker: Tracker, run: str) -> bool:
    """Whether a run can be written to."""
    try:
        return bool(tracker.client.get_run(run).info.lifecycle_stage == LifecycleStage.ACTIVE)
    except MlflowException as error:
        if error.error_code == GONE:
            return False
        raise


def described(version: ModelVersion) -> Subject:
    """A version as records speak of it."""
    return Subject(version=str(version.version), model=version.tags.get(MODEL_TAG, ""), run=version.run_id or "")


def lineage_of(version: ModelVersion) -> dict[str, str]:
    """The lineage that a version was registered with."""
    names = ("headway.git_commit", "headway.dvc_lock", "headway.data_fingerprint", "headway.params")
    return {name: version.tags[name] for name in names if name in version.tags}
