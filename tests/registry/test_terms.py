"""Who is and was in office by a history, and how often the gate was asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headway.evaluation.predictions import Predictions
from headway.params import Params
from headway.promotion import history_queries as terms
from headway.promotion.decision import FORCED, PROMOTION, REFUSAL, RETIREMENT, ROLLBACK, Rows, Subject, rows_of
from headway.promotion.gate import decide
from tests.registry.conftest import CHECK, ROWS, chain, story, subject, verdict, versions_of

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
    found = terms.in_office(records)
    assert (found and found.version) == champion
    assert versions_of(terms.former(records)) == former


def test_a_champion_that_was_appointed_twice_in_a_row_is_not_its_own_former_one() -> None:
    records = story((PROMOTION, 1), (PROMOTION, 2), (FORCED, 2))
    assert versions_of(terms.former(records)) == ["1"]


def test_a_champion_from_before_the_history_can_be_gone_back_to() -> None:
    records = chain(verdict(subject(2), subject(1), P))
    assert versions_of(terms.former(records)) == ["1"]
    assert terms.was_champion(records, "1") == subject(1)
    assert terms.was_champion(records, "3") is None


def test_a_version_that_was_only_refused_never_was_champion() -> None:
    records = story((P, 1), (R, 2))
    assert terms.was_champion(records, "2") is None
    assert terms.was_champion(records, "1") == subject(1)


@pytest.mark.parametrize(
    ("events", "withdrawn"),
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
def test_a_model_that_was_taken_out_of_office_is_known_until_it_is_put_back(
    events: list[tuple[str, int]], withdrawn: bool
) -> None:
    assert (terms.withdrawn(story(*events), "model 2") is not None) == withdrawn


def against(candidate: Subject, champion: Subject, value: float | None = 0.01, **more: Any) -> dict[str, Any]:
    """A refusal by the gate, which compared the two if it could."""
    checks = [CHECK, {**CHECK, "name": "better_than_champion", "passed": False, "value": value}]
    return verdict(candidate, champion, R, **{"checks": checks, **more})


def test_verdicts_against_a_champion_are_counted_by_pair_and_test_set() -> None:
    other_rows = {"test_rows": {"sha256": "9" * 64, "rows": 5}}
    policy = {"policy": "superior"}
    one, two, three = subject(1), subject(2), subject(3)
    records = chain(
        verdict(one, None),  # against nobody
        against(two, one),
        against(two, one, reason="asked again"),
        against(three, one),
        against(subject(4), one, **other_rows),
        verdict(one, two, B, checks=[]),  # no verdict of the gate
    )
    asked, other = Rows(**ROWS), Rows(**other_rows["test_rows"])
    assert terms.verdicts_before(records, asked, "model 9", "model 1", policy) == 2
    assert terms.verdicts_before(records, asked, "model 2", "model 1", policy) == 1, "the pair itself tells nothing new"
    assert terms.verdicts_before(records, asked, "model 2", "model 3", policy) == 2, "against another champion it does"
    assert terms.verdicts_before(records, asked, "model 2", "model 1", {"policy": "non_inferior"}) == 2, (
        "by another rule too"
    )
    assert terms.verdicts_before(records, other, "model 9", "model 1", policy) == 1
    assert terms.verdicts_before([], asked, "model 9", "model 1", policy) == 0


def test_rows_most_of_which_were_tested_before_share_the_verdicts_of_before() -> None:
    def rows(first: int, last: int) -> Rows:
        return rows_of([f"row {number}" for number in range(first, last)], ["a"] * (last - first))

    records = chain(against(subject(2), subject(1), test_rows=rows(0, 2000)))
    assert [
        terms.verdicts_before(records, now, "model 9", "model 1", {"policy": "superior"})
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
    grown = terms.verdicts_before(records, rows(0, 2001), "model 2", "model 1", {"policy": "superior"})
    assert grown == 1, "the same pair on other rows is another question"


def test_elections_on_a_test_set_are_counted_by_candidate_and_apart_from_verdicts_against_a_champion() -> None:
    one, two = subject(1), subject(2)
    unscored = {"checks": [{**CHECK, "passed": False, "value": None}]}
    records = chain(
        verdict(one, None, R),
        verdict(one, None, R),
        verdict(two, None, R, **unscored),
        verdict(subject(3), None, R, test_rows={"sha256": "9" * 64, "rows": 5}),
        verdict(two, None),
        against(subject(4), two),
        verdict(two, None, T, checks=[]),
    )
    asked, policy = Rows(**ROWS), {"policy": "superior"}
    assert terms.verdicts_before(records, asked, "model 9", None, policy) == 2
    assert terms.verdicts_before(records, asked, "model 1", None, policy) == 1, "to ask the same again tells nothing new"
    assert terms.verdicts_before(records, asked, "model 1", None, {"baseline_margin": 0.5}) == 2, (
        "with another margin it does"
    )
    assert terms.verdicts_before(records, asked, "model 9", "model 2", policy) == 1
    assert terms.verdicts_before(records[:1], asked, "model 9", "model 1", policy) == 0


def test_a_verdict_whose_champion_could_not_be_scored_spends_nothing() -> None:
    records = chain(against(subject(2), subject(1), None), against(subject(3), subject(1), 0.0))
    assert terms.verdicts_before(records, Rows(**ROWS), "model 9", "model 1", {"policy": "superior"}) == 1


@pytest.mark.parametrize("policy", ["superior", "non_inferior"])
def test_the_gates_comparison_with_a_champion_is_known_by_its_name(params: Params, policy: str) -> None:
    equal = Predictions(("a", "b"), np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), ("n", "p"))
    decision = decide(equal, equal, equal, params.override({"gate.policy": policy}).gate, seed=1)
    assert len([check for check in decision.checks if check.name in terms.AGAINST_CHAMPION]) == 1


def test_the_last_decision_on_a_model_is_found_whichever_version_holds_it() -> None:
    records = chain(verdict(subject(1, "same"), None), verdict(subject(2, "same"), None, R), verdict(subject(3), None, R))
    found = terms.about(records, "same")
    assert found is not None
    assert found.number == 2
    assert terms.about(records, "unknown") is None
