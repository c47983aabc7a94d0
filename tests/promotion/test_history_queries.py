"""Who is and was champion according to a history, and how often a test set was looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headway.evaluation.predictions import Predictions
from headway.params import Params
from headway.promotion import history_queries as queries
from headway.promotion.decision import FORCED, PROMOTION, REFUSAL, RETIREMENT, ROLLBACK, ModelVersionRef, TestSet
from headway.promotion.gate import GateInput, decide
from tests.promotion.conftest import CHECK, ROWS, chain, decision_content, numbers, ref, story

P, F, R, B, T = PROMOTION, FORCED, REFUSAL, ROLLBACK, RETIREMENT


@pytest.mark.parametrize(
    ("events", "champion", "former"),
    [
        ([], None, []),
        ([(R, 1)], None, []),
        ([(P, 1)], "1", []),
        ([(P, 1), (R, 2)], "1", []),
        ([(P, 1), (P, 2), (P, 3)], "3", ["1", "2"]),
        ([(P, 1), (F, 2)], "2", ["1"]),
        ([(P, 1), (P, 2), (P, 3), (B, 2)], "2", ["1"]),
        ([(P, 1), (P, 2), (P, 3), (B, 2), (B, 1)], "1", []),
        ([(P, 1), (P, 2), (P, 3), (B, 1), (P, 4)], "4", ["1"]),
        ([(P, 1), (P, 2), (B, 1), (B, 2)], "2", ["1"]),
        ([(P, 1), (P, 2), (T, 2)], None, ["1"]),
        ([(P, 1), (T, 1), (P, 1)], "1", []),
        ([(P, 1), (T, 1), (P, 2)], "2", []),
        ([(P, 1), (P, 2), (P, 1)], "1", ["1", "2"]),
    ],
)
def test_champions_and_those_before(events: list[tuple[str, int]], champion: str | None, former: list[str]) -> None:
    records = story(*events)
    found = queries.current_champion(records)
    assert (found and found.version) == champion
    assert numbers(queries.previous_champions(records)) == former


def test_a_champion_that_was_appointed_twice_in_a_row_is_not_its_own_former_one() -> None:
    records = story((PROMOTION, 1), (PROMOTION, 2), (FORCED, 2))
    assert numbers(queries.previous_champions(records)) == ["1"]


def test_a_champion_from_before_the_history_is_a_previous_champion() -> None:
    records = chain(decision_content(ref(2), ref(1), P))
    assert numbers(queries.previous_champions(records)) == ["1"]
    assert queries.find_former_champion(records, "1") == ref(1)
    assert queries.find_former_champion(records, "3") is None


def test_a_version_that_was_only_refused_never_was_champion() -> None:
    records = story((P, 1), (R, 2))
    assert queries.find_former_champion(records, "2") is None
    assert queries.find_former_champion(records, "1") == ref(1)


@pytest.mark.parametrize(
    ("events", "removed"),
    [
        ([(P, 1), (P, 2)], False),
        ([(P, 1), (P, 2), (B, 1)], True),
        ([(P, 1), (P, 2), (B, 1), (R, 3)], True),
        ([(P, 1), (P, 2), (B, 1), (F, 2)], False),
        ([(P, 1), (P, 2), (B, 1), (P, 3), (B, 1)], True),
        ([(P, 1), (P, 2), (T, 2)], True),
        ([(P, 1), (P, 2), (T, 2), (P, 3), (R, 2)], True),
        ([(P, 1), (P, 2), (T, 2), (B, 2)], False),
        ([(P, 2), (P, 1), (T, 1)], False),
    ],
)
def test_a_removed_champion_is_known_until_it_is_champion_again(events: list[tuple[str, int]], removed: bool) -> None:
    assert (queries.removal_of(story(*events), "model 2") is not None) == removed


def against(
    candidate: ModelVersionRef, champion: ModelVersionRef, value: float | None = 0.01, **more: Any
) -> dict[str, Any]:
    """A refusal after a comparison with a champion; without a value, it could not be computed."""
    checks = [CHECK, {**CHECK, "name": "better_than_champion", "passed": False, "value": value}]
    return decision_content(candidate, champion, R, **{"checks": checks, **more})


def test_looks_are_counted_by_pair_and_test_set() -> None:
    other_rows = {"test_rows": {"sha256": "9" * 64, "rows": 5}}
    policy = {"policy": "superior"}
    one, two, three = ref(1), ref(2), ref(3)
    records = chain(
        decision_content(one, None),  # without a champion
        against(two, one),
        against(two, one, reason="asked again"),
        against(three, one),
        against(ref(4), one, **other_rows),
        decision_content(one, two, B, checks=[]),  # the gate was not run
    )
    asked, other = TestSet(**ROWS), TestSet(**other_rows["test_rows"])
    assert queries.earlier_looks(records, asked, "model 9", "model 1", policy) == 2
    assert queries.earlier_looks(records, asked, "model 2", "model 1", policy) == 1, "repeating a pair is no new look"
    assert queries.earlier_looks(records, asked, "model 2", "model 3", policy) == 2, "another champion is a new look"
    assert queries.earlier_looks(records, asked, "model 2", "model 1", {"policy": "non_inferior"}) == 2, (
        "another rule is a new look"
    )
    assert queries.earlier_looks(records, other, "model 9", "model 1", policy) == 1
    assert queries.earlier_looks([], asked, "model 9", "model 1", policy) == 0


def test_test_sets_that_share_most_rows_share_their_looks() -> None:
    def rows(first: int, last: int) -> TestSet:
        return TestSet.of([f"row {number}" for number in range(first, last)], ["a"] * (last - first))

    records = chain(against(ref(2), ref(1), test_rows=rows(0, 2000)))
    assert [
        queries.earlier_looks(records, now, "model 9", "model 1", {"policy": "superior"})
        for now in (
            rows(0, 2000),
            rows(0, 2001),
            rows(10, 2500),
            rows(0, 3500),
            rows(600, 2600),
            rows(0, 900),
            rows(0, 4700),
            rows(1500, 3500),
            rows(2000, 4000),
        )
    ] == [1, 1, 1, 1, 1, 1, 0, 0, 0]
    grown = queries.earlier_looks(records, rows(0, 2001), "model 2", "model 1", {"policy": "superior"})
    assert grown == 1, "the same pair on other rows is a new look"


def test_first_promotions_are_counted_by_candidate_and_apart_from_looks_with_a_champion() -> None:
    one, two = ref(1), ref(2)
    unscored = {"checks": [{**CHECK, "passed": False, "value": None}]}
    records = chain(
        decision_content(one, None, R),
        decision_content(one, None, R),
        decision_content(two, None, R, **unscored),
        decision_content(ref(3), None, R, test_rows={"sha256": "9" * 64, "rows": 5}),
        decision_content(two, None),
        against(ref(4), two),
        decision_content(two, None, T, checks=[]),
    )
    asked, policy = TestSet(**ROWS), {"policy": "superior"}
    assert queries.earlier_looks(records, asked, "model 9", None, policy) == 2
    assert queries.earlier_looks(records, asked, "model 1", None, policy) == 1, "repeating a candidate is no new look"
    assert queries.earlier_looks(records, asked, "model 1", None, {"baseline_margin": 0.5}) == 2, (
        "another margin is a new look"
    )
    assert queries.earlier_looks(records, asked, "model 9", "model 2", policy) == 1
    assert queries.earlier_looks(records[:1], asked, "model 9", "model 1", policy) == 0


def test_a_comparison_that_could_not_be_computed_is_no_look() -> None:
    records = chain(against(ref(2), ref(1), None), against(ref(3), ref(1), 0.0))
    assert queries.earlier_looks(records, TestSet(**ROWS), "model 9", "model 1", {"policy": "superior"}) == 1


@pytest.mark.parametrize("policy", ["superior", "non_inferior"])
def test_the_gates_comparison_with_a_champion_is_known_by_its_name(params: Params, policy: str) -> None:
    equal = Predictions(("a", "b"), np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), ("n", "p"))
    result = decide(GateInput(equal, equal, equal), params.override({"gate.policy": policy}).gate, seed=1)
    assert len([check for check in result.checks if check.name in queries.WITH_CHAMPION[0]]) == 1


def test_the_last_decision_on_a_model_is_found_whichever_version_holds_it() -> None:
    records = chain(
        decision_content(ref(1, "same"), None), decision_content(ref(2, "same"), None, R), decision_content(ref(3), None, R)
    )
    found = queries.last_decision_on(records, "same")
    assert found is not None
    assert found.number == 2
    assert queries.last_decision_on(records, "unknown") is None
