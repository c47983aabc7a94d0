"""The monitoring page in every state: what it says first, and that nothing from outside becomes markup."""

from __future__ import annotations

import html
import re
from functools import cache

import pytest

from headway.monitoring.record import MonitoringRecord
from headway.reporting.monitoring.page import headline, odds, render
from tests.reporting.monitoring_records import NAMES, STATES


@cache
def drawn(state: str) -> tuple[MonitoringRecord, str]:
    record = STATES[state]()
    return record, render(record)


@pytest.mark.parametrize(
    ("state", "status", "sentence"),
    [
        ("no_answers", "ok", "version 2 has not answered yet"),
        ("ok", "ok", "nothing shows that version 2 has become worse"),
        ("labelled", "ok", "nothing shows that version 2 has become worse"),
        ("warning", "warning", "the texts that version 2 gets have changed"),
        ("table", "warning", "the texts that version 2 gets have changed"),
        ("biased", "warning", "version 2 may have become worse"),
        ("alarm", "alarm", "version 2 has become worse"),
        ("many_classes", "alarm", "version 2 has become worse"),
        ("guard", "alarm", "version 1, the former champion, is better than version 2"),
    ],
)
def test_the_first_line_says_what_was_found(state: str, status: str, sentence: str) -> None:
    record, page = drawn(state)
    assert (record.status, headline(record)) == (status, sentence)
    heading = re.search(r"<h1>(.*?)</h1>", page, re.DOTALL)
    assert heading
    assert html.unescape(re.sub("<.*?>", "", heading[1])).lower() == f"{status} {sentence}"


def test_an_alarm_that_is_only_estimated_says_probably() -> None:
    record, _ = drawn("alarm")
    not_shown = record.loss.model_copy(update={"crossed_row": None, "crossed_day": None})
    assert headline(record.model_copy(update={"loss": not_shown, "by_class": ()})) == "version 2 has probably become worse"


def test_the_accuracies_come_before_everything_else() -> None:
    for state, words in {"ok": "no labels yet", "labelled": "1,080 labelled answers"}.items():
        _, page = drawn(state)
        key = re.search(r'<p class="key">(.*?)</p>', page)
        assert key
        assert words in key[1]
        assert page.index('class="key"') < page.index("<h2>")
    assert 'class="key"' not in drawn("no_answers")[1]


@pytest.mark.parametrize("state", STATES)
def test_the_same_record_gives_the_same_page(state: str) -> None:
    record, page = drawn(state)
    assert render(MonitoringRecord.model_validate_json(record.as_json())) == page


@pytest.mark.parametrize("state", ["warning", "many_classes"])
def test_hostile_texts_and_names_are_shown_as_they_are(state: str) -> None:
    _, page = drawn(state)
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_names_with_a_dollar_sign_and_of_300_characters_are_drawn() -> None:
    record, page = drawn("many_classes")
    assert {one.name for one in record.by_class} & set(NAMES)
    assert "costs $5 and $6" in page


def test_a_biased_sample_is_named_and_weighted() -> None:
    record, page = drawn("biased")
    assert record.labels_biased.split(":")[0].capitalize() in page
    assert "the same, weighted as all answers are" in page or record.reweighted is None
    assert "7 texts that could not be classified" in page


def test_skipped_parts_are_listed() -> None:
    assert "part-1: cut off" in drawn("warning")[1]


def test_a_table_has_no_days() -> None:
    _, page = drawn("table")
    assert " from  to " not in page
    assert "By day" not in page
    assert re.search(r"answer \d+</td>", page)


def test_odds_beyond_a_million_are_not_spelled_out() -> None:
    record, _ = drawn("alarm")
    spelled = {one.name: odds(one) for one in record.drift}
    assert spelled["length"] == "> 1,000,000 : 1"
    assert re.fullmatch(r"\d\.\d : 1", spelled["unknown words"])
