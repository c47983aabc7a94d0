"""Histories written by Headway 0.1.0 (record_version 2) are read, verified and continued.

The files in ``records_v2`` were written by that version, with its gate: two promotions, a refusal, a forced promotion, a
rollback and a retirement.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headway.errors import HeadwayError
from headway.promotion import history
from headway.promotion import history_queries as queries
from headway.promotion.champion import commit, reconcile
from headway.promotion.decision import FORCED, PROMOTION, REFUSAL, RETIREMENT, ROLLBACK, Decision, parse
from headway.registry.record_log import CARRIED_OUT_TAG, RUN_TAG
from headway.reporting.decision import card, page
from tests.promotion.conftest import House, decision_content, ref

FILES = sorted((Path(__file__).parent / "records_v2").glob("*.json"))


def id_of(file: Path) -> str:
    return file.stem.split("-")[1]


@pytest.fixture(scope="module")
def written() -> list[Decision]:
    return [parse(file.read_text(encoding="utf-8"), id_of(file)) for file in FILES]


@pytest.fixture
def old(house: House) -> House:
    """A registry whose history Headway 0.1.0 has written."""
    house.registry.log.create()
    for number, file in enumerate(FILES, start=1):
        house.registry.log.append(number, id_of(file), file.read_text(encoding="utf-8"))
    house.registry.log.mark_carried_out(len(FILES), id_of(FILES[-1]))
    return house.another()


def test_every_record_keeps_the_id_and_the_text_that_it_was_written_with(written: list[Decision]) -> None:
    for file, decision in zip(FILES, written, strict=True):
        assert decision.record_version == 2
        assert decision.id == id_of(file)
        assert decision.as_json() == file.read_text(encoding="utf-8")


def test_records_are_read_by_todays_names(written: list[Decision]) -> None:
    assert [one.kind for one in written] == [PROMOTION, PROMOTION, REFUSAL, FORCED, ROLLBACK, RETIREMENT]
    assert written[0].requested_by.label == "owner@laptop: headway run, flow run brave-otter"
    assert written[2].gate_code == "f" * 64
    assert [one.name for one in written[2].failed] == ["better_than_champion", "negative_log_likelihood"]
    gain = written[1].accuracy_gain
    assert gain is not None
    assert gain[0] == "champion"
    assert gain[1].confidence == pytest.approx(1 - 2 * gain[1].details["significance"])


def test_an_edit_of_a_record_shows() -> None:
    text = FILES[2].read_text(encoding="utf-8")
    assert '"asked_by"' in text
    for forged in (text.replace('"owner"', '"another"'), text.replace('"asked_by"', '"requested_by"')):
        with pytest.raises(HeadwayError, match=r"^altered"):
            parse(forged, id_of(FILES[2]))


def test_a_new_decision_continues_the_chain(old: House) -> None:
    assert history.examine(old.registry)[1] == ""
    commit(old.registry, reconcile(old.registry, accept_manual_change=True), **decision_content(ref(7), None, REFUSAL))
    found, problem = history.examine(old.another().registry)
    assert problem == ""
    assert [one.record_version for one in found] == [2, 2, 2, 2, 2, 2, 3]
    assert found[-1].previous == id_of(FILES[-1])
    assert "asked_by" not in json.loads(found[-1].as_json())


def test_a_broken_record_in_a_mixed_chain_is_named(old: House) -> None:
    commit(old.registry, reconcile(old.registry, accept_manual_change=True), **decision_content(ref(7), None, REFUSAL))
    run = old.registry.log.model().tags[RUN_TAG]
    file = old.stock.layout.tracking / "artifacts" / run / "artifacts" / "records" / f"{id_of(FILES[1])}.json"
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace('"movie-reviews"', '"other-reviews"'), encoding="utf-8")
    try:
        found, problem = history.examine(old.another().registry)
    finally:
        file.write_text(whole, encoding="utf-8")
    assert len(found) == 1
    assert problem.startswith("record 2: altered")


def test_the_carried_out_tag_is_the_one_that_was_written(old: House) -> None:
    model = old.registry.log.model()
    assert model is not None
    assert model.tags[CARRIED_OUT_TAG] == f"6 {id_of(FILES[-1])}"
    assert CARRIED_OUT_TAG == "headway.history_carried_out"


def test_queries_understand_the_records(written: list[Decision]) -> None:
    assert queries.current_champion(written) is None
    assert [one.version for one in queries.previous_champions(written)] == ["1"]
    rows = written[2].test_rows
    assert rows is not None
    policy = written[2].policy
    assert queries.earlier_looks(written, rows, "9" * 64, "2" * 64, policy) == 2
    assert queries.earlier_looks(written, rows, "3" * 64, "2" * 64, policy) == 1
    assert queries.training_params(written, "3" * 64) == written[2].params


def test_page_and_card_of_a_record_are_drawn(written: list[Decision]) -> None:
    assert "Version 3 is refused" in page.render(written[2])
    assert "# Model card: headway, version 3" in card.render(written[2], "headway")
