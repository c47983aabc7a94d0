"""Approval by a person: a request moves no champion, and its answer holds for the pair of models that the gate compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import HeadwayError
from headway.promotion import approval, history, rollback
from headway.promotion import champion as promotion
from headway.promotion import history_queries as queries
from headway.promotion.champion import DECISION_KIND_TAG, reconcile, ref_of
from headway.promotion.decision import (
    APPROVAL,
    DECLINE,
    FORCED,
    PROMOTION,
    REFUSAL,
    REQUEST,
    RETIREMENT,
    ROLLBACK,
    Decision,
    RecordRef,
    TestSet,
)
from headway.registry.record_log import LogConflict
from headway.registry.registry import CHALLENGER
from headway.serving import package
from tests.mortal import each_kill
from tests.promotion.conftest import CHECK, REQUESTER, ROWS, House, chain, decision_content, ref, story, who
from tests.promotion.test_champion import mortal

Act = Callable[[House], Any]


@pytest.fixture
def waiting(house: House) -> House:
    """Version 1 was promoted, then version 2; version 3 waits for approval."""
    for which in range(2):
        house.decide(house.version(which))
    house.decide(house.version(2), REQUEST)
    return house


def challenger(house: House) -> str | None:
    """Number of the version that has the alias."""
    found = [str(one.version) for one in house.registry.versions() if CHALLENGER in one.aliases]
    return found[0] if found else None


def request(house: House) -> None:
    house.decide(house.registry.version("3"), REQUEST)


def approve(house: House, version: str = "3", reason: str = "tried on last week's tickets") -> Decision:
    return approval.approve(house.registry, version, reason, who("reviewer"))


def decline(house: House, version: str = "3") -> Decision:
    return approval.decline(house.registry, version, "too slow for us", who("reviewer"))


def refuse_another(house: House) -> None:
    house.decide(house.version(0), REFUSAL)


def test_a_request_leaves_the_champion_and_makes_its_version_the_challenger(waiting: House) -> None:
    assert (waiting.champion(), challenger(waiting)) == ("2", "3")
    assert waiting.kinds()[-1] == (REQUEST, "3")
    assert waiting.registry.version("3").tags[DECISION_KIND_TAG] == REQUEST
    assert queries.open_request(waiting.decisions()) == waiting.decisions()[-1]


def test_an_approval_promotes_with_the_evidence_of_the_request(waiting: House) -> None:
    asked = waiting.decisions()[-1]
    approve(waiting)
    records, problem = history.examine(waiting.another().registry)
    assert problem == ""
    done = records[-1]
    assert (waiting.champion(), challenger(waiting)) == ("3", None)
    assert done.kind == APPROVAL
    assert (done.requested_by.user, done.reason) == ("reviewer", "tried on last week's tickets")
    assert done.request == RecordRef(number=asked.number, id=asked.id)
    assert done.previous == asked.id
    same = ("candidate", "champion", "checks", "scores", "test_rows", "policy", "lineage", "project", "gate_code", "params")
    assert {name: getattr(done, name) for name in same} == {name: getattr(asked, name) for name in same}
    assert queries.previous_champions(records) == [ref_of(waiting.registry.version(number)) for number in ("1", "2")]
    assert queries.find_former_champion(records, "3") == done.candidate
    assert reconcile(waiting.registry).champion_number == "3"


def test_a_decline_ends_the_candidacy_and_leaves_the_champion(waiting: House) -> None:
    asked = waiting.decisions()[-1]
    done = decline(waiting)
    assert (waiting.champion(), challenger(waiting)) == ("2", None)
    assert (done.kind, done.request, done.checks) == (DECLINE, RecordRef(number=3, id=asked.id), asked.checks)
    with pytest.raises(
        HeadwayError, match=r"^version 3 of headway does not wait for approval \(decision 4: version 3 is dec"
    ):
        approve(waiting)
    assert queries.find_former_champion(waiting.decisions(), "3") is None


def test_the_first_champion_can_need_approval_too(house: House) -> None:
    house.decide(house.version(0), REQUEST)
    assert house.champion() is None
    with pytest.raises(HeadwayError, match=r"no champion yet; version 1 waits for approval: `headway approve 1 --reason"):
        promotion.load_champion(house.registry)
    approve(house, "1")
    assert house.champion() == "1"
    assert queries.previous_champions(house.decisions()) == []


@pytest.mark.parametrize(
    ("act", "kind", "champion", "alias"),
    [(approve, APPROVAL, "3", None), (decline, DECLINE, "2", None), (refuse_another, REFUSAL, "2", "3")],
)
def test_killed_before_any_call_the_next_process_completes_it(
    waiting: House, act: Act, kind: str, champion: str, alias: str | None
) -> None:
    database = waiting.registry.tracker.layout.tracking / "mlflow.db"
    known, deadline = waiting.kinds(), 0
    for deadline in each_kill(database, lambda calls: act(mortal(waiting, calls))):
        after = waiting.another()
        reconcile(after.registry)  # what every command begins with
        decided = after.kinds() != known
        assert [one for one, _ in after.kinds()[len(known) :]] == [kind] * decided, f"killed before call {deadline}"
        assert (after.champion(), challenger(after)) == ((champion, alias) if decided else ("2", "3"))
    assert deadline + 1 > 5, "MLflow was not called through the client that dies"


@pytest.mark.parametrize(("act", "kind", "champion"), [(approve, APPROVAL, "3"), (decline, DECLINE, "2")])
def test_a_killed_answer_that_is_given_again_is_one_decision(waiting: House, act: Act, kind: str, champion: str) -> None:
    database = waiting.registry.tracker.layout.tracking / "mlflow.db"
    known, deadline = waiting.kinds(), 0
    for deadline in each_kill(database, lambda calls: act(mortal(waiting, calls))):
        act(waiting.another())
        assert waiting.another().kinds() == [*known, (kind, "3")], f"killed before call {deadline}"
        assert (waiting.champion(), challenger(waiting)) == (champion, None)
    assert deadline + 1 > 5


def test_a_request_that_is_killed_before_any_call_is_completed_with_its_alias(house: House) -> None:
    for which in range(2):
        house.decide(house.version(which))
    house.version(2)
    database = house.registry.tracker.layout.tracking / "mlflow.db"
    deadline = 0
    for deadline in each_kill(database, lambda calls: request(mortal(house, calls))):
        after = house.another()
        reconcile(after.registry)
        is_recorded = after.kinds()[2:] == [(REQUEST, "3")]
        assert (after.champion(), challenger(after)) == ("2", "3" if is_recorded else None), f"killed before call {deadline}"
    assert deadline + 1 > 5


@pytest.mark.parametrize(
    "act",
    [
        lambda house: rollback.roll_back(house.registry, None, "complaints", REQUESTER, {}),
        lambda house: rollback.retire(house.registry, "complaints", REQUESTER, {}),
        lambda house: house.decide(house.version(0), FORCED, reason="agreed"),
        lambda house: house.decide(house.version(0), PROMOTION),
    ],
    ids=["rollback", "retirement", "forced promotion", "promotion"],
)
def test_after_a_change_of_champion_the_evidence_is_about_another_pair(waiting: House, act: Act) -> None:
    act(waiting)
    before, champion = waiting.kinds(), waiting.champion()
    assert challenger(waiting) is None
    for answer in (approve, decline):
        with pytest.raises(HeadwayError) as error:
            answer(waiting)
        assert str(error.value) == (
            "the champion of headway changed since version 3 passed the gate (decision 3, against version 2); let the gate "
            "decide again with `headway promote 3`"
        )
    assert (waiting.kinds(), waiting.champion()) == (before, champion)


def test_a_champion_that_was_moved_by_hand_is_reported_before_anything_is_approved(waiting: House) -> None:
    waiting.registry.set_champion(waiting.registry.version("1"))
    with pytest.raises(HeadwayError, match="was changed by hand"):
        approve(waiting)
    assert waiting.kinds()[-1] == (REQUEST, "3")


def test_a_champion_from_before_the_history_that_changed_since_is_noticed(house: House) -> None:
    first, second = house.version(0), house.version(1)
    house.registry.set_champion(first)
    house.decide(house.version(2), REQUEST)
    house.registry.set_champion(second)
    with pytest.raises(HeadwayError, match=r"changed since version 3 passed the gate \(decision 1, against version 1\)"):
        approve(house)
    assert house.champion() == "2"


def test_a_newer_candidate_that_passes_replaces_the_one_that_waits(waiting: House) -> None:
    waiting.decide(waiting.version(0), REQUEST, replaces=ref_of(waiting.registry.version("3")))
    assert challenger(waiting) == "4"
    for answer in (approve, decline):
        with pytest.raises(
            HeadwayError, match=r"no longer waits for approval: version 4 passed the gate after it \(decision 4\)"
        ):
            answer(waiting)
    approve(waiting, "4")
    assert waiting.champion() == "4"


def test_a_request_that_was_replaced_is_not_back_when_the_newer_one_is_declined(waiting: House) -> None:
    waiting.decide(waiting.version(0), REQUEST, replaces=ref_of(waiting.registry.version("3")))
    decline(waiting, "4")
    with pytest.raises(
        HeadwayError, match=r"no longer waits for approval: version 4 passed the gate after it \(decision 4\)"
    ):
        approve(waiting)


def test_a_refusal_of_another_candidate_gives_the_alias_back_to_the_one_that_waits(waiting: House) -> None:
    fourth = waiting.version(0)
    waiting.challenge(fourth)
    waiting.decide(fourth, REFUSAL)
    assert challenger(waiting) == "3"
    approve(waiting)
    assert waiting.champion() == "3"


def test_a_later_refusal_of_the_same_model_ends_its_request(waiting: House) -> None:
    waiting.decide(waiting.registry.version("3"), REFUSAL)
    with pytest.raises(HeadwayError, match=r"does not wait for approval \(decision 4: version 3 is refused\)"):
        approve(waiting)
    assert waiting.champion() == "2"


@pytest.mark.parametrize("version", ["2", "9"])
def test_only_the_version_that_waits_can_be_answered(waiting: House, version: str) -> None:
    for answer in (approve, decline):
        with pytest.raises(
            HeadwayError, match=rf"^version {version} of headway does not wait for approval.*; version 3 does;"
        ):
            answer(waiting, version)
    assert len(waiting.kinds()) == 3


def test_a_version_that_was_deleted_or_tampered_with_is_not_approved(waiting: House) -> None:
    (weights,) = waiting.stored(2).rglob(package.WEIGHTS)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\0\0\0\1")
    try:
        with pytest.raises(HeadwayError, match=r"^version 3 was not promoted, and nothing has changed: .*altered"):
            approve(waiting)
    finally:
        weights.write_bytes(whole)
    waiting.registry.client.delete_model_version(waiting.registry.name, "3")
    with pytest.raises(HeadwayError, match="version 3 of headway cannot be promoted: it was deleted"):
        approve(waiting)
    assert (waiting.champion(), len(waiting.kinds())) == ("2", 3)


def test_of_two_concurrent_answers_one_counts(waiting: House, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, quick = waiting.another(), waiting.another()
    append, overtaken = history.append, []

    def late(registry: Any, new: Decision) -> None:
        if registry is slow.registry and not overtaken:
            overtaken.append(decline(quick))
        append(registry, new)

    monkeypatch.setattr(history, "append", late)
    with pytest.raises(HeadwayError, match="does not wait for approval") as error:
        approve(slow)
    assert not isinstance(error.value, LogConflict)
    assert waiting.another().kinds()[3:] == [(DECLINE, "3")]
    assert (waiting.champion(), challenger(waiting)) == ("2", None)


def waits(events: list[tuple[str, int]]) -> int | None:
    """What waits for approval after these events, worked out one event at a time."""
    held = None
    for kind, version in events:
        if kind == REQUEST:
            held = version
        elif kind in (PROMOTION, FORCED, ROLLBACK, RETIREMENT, APPROVAL) or version == held:
            held = None
    return held


KINDS = [PROMOTION, FORCED, REFUSAL, ROLLBACK, RETIREMENT, REQUEST, APPROVAL, DECLINE]


@given(st.lists(st.tuples(st.sampled_from([*KINDS, REQUEST, REFUSAL]), st.integers(1, 3)), max_size=8))
def test_what_waits_follows_from_the_events_one_by_one(events: list[tuple[str, int]]) -> None:
    found = queries.open_request(story(*events))
    assert (found and int(found.candidate.version)) == waits(events)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 4), st.sampled_from([None, 8, 9])), max_size=8),
    st.integers(1, 5),
    st.sampled_from([None, 8, 9]),
)
def test_a_request_spends_as_much_alpha_as_a_promotion_and_its_answer_no_more(
    comparisons: list[tuple[bool, int, int | None]], candidate: int, champion: int | None
) -> None:
    def records(passed: str, *answers: str) -> list[Decision]:
        contents = []
        for has_passed, number, opponent in comparisons:
            name = "no_worse_than_baseline" if opponent is None else "better_than_champion"
            checks = [{**CHECK, "name": name, "passed": has_passed}]
            for kind in (passed, *answers) if has_passed else (REFUSAL,):
                contents.append(decision_content(ref(number), opponent and ref(opponent), kind, checks=checks))
        return chain(*contents)

    def looks(history: list[Decision]) -> int:
        opponent = champion and f"model {champion}"
        return queries.earlier_looks(history, TestSet(**ROWS), f"model {candidate}", opponent, {"policy": "superior"})

    assert looks(records(REQUEST)) == looks(records(PROMOTION))
    for answer in (APPROVAL, DECLINE):
        assert looks(records(REQUEST, answer)) == looks(records(PROMOTION))
