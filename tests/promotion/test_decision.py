"""The record of a decision: identified by its content, and only readable as it was written."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import HeadwayError
from headway.promotion.decision import (
    APPROVAL,
    DECLINE,
    DONE,
    FORCED,
    PROMOTION,
    REFUSAL,
    REQUEST,
    RETIREMENT,
    ROLLBACK,
    Decision,
    RecordRef,
    TestSet,
    new_decision,
    parse,
)
from tests.promotion.conftest import CHECK, chain, decision_content, ref, story, who


def a_record(**more: Any) -> Decision:
    return new_decision(**decision_content(ref(2), ref(1), **more), number=1, previous="")


def test_a_record_reads_as_it_was_written() -> None:
    record = a_record()
    again = parse(record.as_json(), record.id)
    assert again == record
    assert again.id == record.id


def leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in a record's JSON."""
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in leaves(value, (*path, key))]
    if isinstance(node, list):
        return [leaf for index, value in enumerate(node) for leaf in leaves(value, (*path, index))]
    return [path]


EVERY = leaves(json.loads(a_record().as_json()))


@pytest.mark.parametrize("path", EVERY, ids=[".".join(map(str, path)) for path in EVERY])
def test_an_edit_anywhere_shows(path: tuple[Any, ...]) -> None:
    record = a_record()
    content = json.loads(record.as_json())
    node = content
    for part in path[:-1]:
        node = node[part]
    old = node[path[-1]]
    changes = {bool: lambda: not old, str: lambda: f"{old}x", int: lambda: old + 1, float: lambda: old + 0.01}
    node[path[-1]] = changes.get(type(old), lambda: "x")()
    with pytest.raises(HeadwayError, match=r"^(altered|record_version|damaged)"):
        parse(json.dumps(content), record.id)


def test_a_record_that_is_whole_but_not_the_one_expected_shows() -> None:
    with pytest.raises(HeadwayError, match=r"^altered: its SHA-256 is"):
        parse(a_record().as_json(), a_record(reason="another").id)


@pytest.mark.parametrize(
    ("written", "forged"),
    [
        ('"reason": ""', '"reason": "another", "reason": ""'),
        ('"number": 1', '"number": "1"'),
        ('"reason": "",', '"reason":  "",'),
    ],
    ids=["a repeated key", "another type", "a blank"],
)
def test_the_same_content_in_other_bytes_is_altered(written: str, forged: str) -> None:
    record = a_record()
    text = record.as_json()
    assert written in text
    with pytest.raises(HeadwayError, match=r"^altered: its text is not the one that Headway writes$"):
        parse(text.replace(written, forged), record.id)


@pytest.mark.parametrize("text", ["", "{", "[]", '"a word"', "{}"])
def test_a_text_that_is_no_record_is_damaged(text: str) -> None:
    with pytest.raises(HeadwayError, match="damaged") as error:
        parse(text, "any")
    assert "\n" not in str(error.value)


def test_a_record_of_a_later_headway_says_so() -> None:
    content = json.loads(a_record().as_json())
    content["record_version"] = 4
    with pytest.raises(HeadwayError, match="record_version 4, this Headway reads 2 and 3; update Headway"):
        parse(json.dumps(content), content["id"])


def test_numbers_that_are_not_finite_are_kept_as_none() -> None:
    record = a_record(scores={"candidate": {"accuracy": 0.5, "negative_log_likelihood": float("nan"), "rows": np.int64(7)}})
    assert record.scores["candidate"] == {"accuracy": 0.5, "negative_log_likelihood": None, "rows": 7}
    assert parse(record.as_json(), record.id) == record


@given(st.permutations(range(6)))
def test_the_order_of_the_test_rows_is_irrelevant(order: list[int]) -> None:
    ids, labels = [f"row {index}" for index in range(6)], ["a", "b", "a", "b", "b", "a"]
    assert TestSet.of([ids[index] for index in order], [labels[index] for index in order]) == TestSet.of(ids, labels)


def test_another_label_or_row_makes_other_test_rows() -> None:
    known = TestSet.of(["1", "2"], ["a", "b"])
    assert known.rows == 2
    assert len({known.sha256, TestSet.of(["1", "2"], ["b", "a"]).sha256, TestSet.of(["1", "3"], ["a", "b"]).sha256}) == 3


def test_the_same_decision_requested_later_by_someone_else_is_a_repetition() -> None:
    first = a_record(kind=REFUSAL)
    again = a_record(kind=REFUSAL, requested_by=who("another")).model_copy(update={"when": "2031-01-01", "number": 2})
    assert again.repeats(first)
    commit = {**first.project, "headway.git_commit": "another"}
    assert a_record(kind=REFUSAL, project=commit).repeats(first), "a commit alone changes nothing"


def test_a_multiple_of_the_latency_that_was_measured_makes_no_other_decision() -> None:
    first, again = (
        a_record(kind=REFUSAL, checks=[{**CHECK, "name": "latency", "passed": False, "threshold": 2 * measured}])
        for measured in (3.01, 3.02)
    )
    assert again.repeats(first)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": PROMOTION},
        {"candidate": ref(3)},
        {"champion": None},
        {"policy": {"policy": "non_inferior"}},
        {"gate_code": "another"},
        {"project": {"headway.dvc_lock": "another"}},
        {"test_rows": {"sha256": "f" * 64, "rows": 2458}},
        {"checks": [{**CHECK, "passed": False, "threshold": -0.01}]},
        {"checks": [{**CHECK, "passed": False, "value": None}]},
        {"reason": "another"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_fact_makes_another_decision(change: dict[str, Any]) -> None:
    first = a_record(kind=REFUSAL)
    assert not new_decision(**{**decision_content(ref(2), ref(1), REFUSAL), **change}, number=1, previous="").repeats(first)


def test_the_gain_is_that_over_the_champion_where_there_was_one() -> None:
    against_champion = {**CHECK, "name": "better_than_champion", "value": 0.001}
    gain = a_record(checks=[CHECK, against_champion]).accuracy_gain
    assert gain is not None
    assert (gain[0], gain[1].value) == ("champion", 0.001)
    gain = a_record().accuracy_gain
    assert gain is not None
    assert gain[0] == "linear baseline"
    uncomputed = {**CHECK, "value": None, "low": None, "high": None}
    assert a_record(checks=[uncomputed]).accuracy_gain is None


def test_a_sketch_estimates_which_rows_were_in_another_set() -> None:
    def rows(first: int, last: int) -> TestSet:
        return TestSet.of([f"row {number}" for number in range(first, last)], ["a"] * (last - first))

    few, many = rows(0, 100), rows(0, 30_000)
    assert few.overlap(rows(50, 150)) == pytest.approx(0.5)
    assert few.overlap(rows(0, 50)) == pytest.approx(0.5)
    assert rows(0, 50).overlap(few) == pytest.approx(1)
    assert few.overlap(rows(100, 200)) == 0
    assert many.overlap(rows(10_000, 40_000)) == pytest.approx(2 / 3, abs=0.1)
    assert many.overlap(rows(0, 31_000)) == pytest.approx(1, abs=0.05)
    assert rows(0, 10_000).overlap(many) == pytest.approx(1, abs=0.15)
    assert TestSet.of([], []).overlap(few) == 0
    relabelled = TestSet.of([f"row {number}" for number in range(100)], ["b"] * 100)
    assert few.sha256 != relabelled.sha256
    assert few.overlap(relabelled) == 1
    assert few.overlap(TestSet(sha256="of old", rows=100)) == 0


def test_a_record_from_before_there_were_sketches_keeps_its_id() -> None:
    old = a_record(test_rows={"sha256": "d" * 64, "rows": 7})
    assert '"sketch"' not in old.as_json()
    assert parse(old.as_json(), old.id) == old
    new = a_record(test_rows=TestSet.of(["a", "b"], ["x", "y"]))
    assert parse(new.as_json(), new.id) == new
    assert len(new.test_rows.sketch.split()) == 2


def test_a_record_from_before_training_was_recorded_keeps_its_id() -> None:
    old = a_record()
    assert '"training"' not in old.as_json()
    new = a_record(training={"epoch": 3})
    assert new.id != old.id
    assert parse(new.as_json(), new.id).training == {"epoch": 3}


def test_a_record_from_before_there_were_approvals_keeps_its_id() -> None:
    old = a_record()
    assert not {"request", "replaces"} & json.loads(old.as_json()).keys()
    new = a_record(kind=APPROVAL, request=RecordRef(number=4, id="f" * 64))
    assert parse(new.as_json(), new.id).request == RecordRef(number=4, id="f" * 64)
    replacing = a_record(kind=REQUEST, replaces=ref(3))
    assert parse(replacing.as_json(), replacing.id).replaces == ref(3)
    assert len({old.id, new.id, replacing.id}) == 3


def test_only_decisions_that_appoint_or_retire_change_the_champion() -> None:
    changing = {kind for kind in DONE if a_record(kind=kind).changes_champion}
    assert changing == {PROMOTION, FORCED, ROLLBACK, RETIREMENT, APPROVAL}
    assert {kind for kind in DONE if a_record(kind=kind).appoints} == changing - {RETIREMENT}


def test_every_headline_says_what_happened_and_why() -> None:
    expected = {
        PROMOTION: "version 2 is promoted",
        FORCED: "version 2 is promoted by force: a good reason",
        REFUSAL: "version 2 is refused",
        ROLLBACK: "version 2 is restored: a good reason",
        RETIREMENT: "version 2 is retired: a good reason",
        REQUEST: "version 2 passed the gate and waits for approval",
        APPROVAL: "version 2 is approved and promoted: a good reason",
        DECLINE: "version 2 is declined: a good reason",
    }
    assert expected.keys() == DONE.keys()
    for kind, headline in expected.items():
        reason = "a good reason" if "a good reason" in headline else ""
        assert a_record(kind=kind, reason=reason).headline == headline
    request = {"number": 7, "id": "f" * 64}
    assert a_record(kind=APPROVAL, reason="tried", request=request).headline == (
        "version 2 is approved and promoted, on the evidence of decision 7: tried"
    )
    assert a_record(kind=REQUEST, replaces=ref(1)).headline == (
        "version 2 passed the gate and waits for approval, in place of version 1"
    )


def test_a_chain_names_the_record_before_each() -> None:
    first, second, third = story((PROMOTION, 1), (REFUSAL, 2), (PROMOTION, 3))
    assert (first.previous, second.previous, third.previous) == ("", first.id, second.id)
    (alone,) = chain(decision_content(ref(1), None))
    assert alone.previous == ""
