"""The benchmarks of kills and of a shared server notice what they are there to notice. What they measure is not tested."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kills import __main__ as kills
from benchmarks.kills import service
from benchmarks.kills.comparison import differences
from benchmarks.kills.jobs import JOBS, Job, Reference, Row, Sight
from benchmarks.kills.page import differing, table
from benchmarks.kills.projects import Place
from benchmarks.shared.checks import Term, lag_of
from benchmarks.shared.people import Answer
from headway.serving.log.rows import SCHEMA, with_classes
from headway.serving.log.store import PartStore, part_name
from tests.conftest import new_project

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def row(job: str = "label", phase: str = "reading", differs: list[str] | None = None) -> Row:
    return Row(job, 0, 1, "abc", phase, "the command", 0.5, differs=differs or [])


def test_the_kills_of_all_jobs_are_two_hundred_and_each_job_has_some() -> None:
    found = kills.numbers(200, [])
    assert sum(found.values()) == 200
    assert set(kills.numbers(5, []).values()) == {1}
    assert kills.numbers(200, ["label"]) == {"label": found["label"]}


def test_all_jobs_advance_together() -> None:
    found = kills.in_turn({"label": 2, "run": 4})
    assert found == [("label", 0), ("run", 0), ("run", 1), ("label", 1), ("run", 2), ("run", 3)]


def test_a_difference_is_named_by_where_it_is() -> None:
    whole = {"lock": "a", "files": {"x": 1, "y": 2}, "history": [{"kind": "promotion"}], "versions": [1]}
    assert differences(whole, whole) == []
    assert differences(whole, {**whole, "lock": "b"}) == ['lock: "a", found "b"']
    assert differences(whole, {**whole, "files": {"x": 1}}) == ["files: y: 2, found null"]
    assert differences(whole, {**whole, "history": [{"kind": "refusal"}]}) == [
        'history, 1: kind: "promotion", found "refusal"'
    ]
    assert differences(whole, {**whole, "versions": [1, 1]}) == ["versions: [1], found [1, 1]"]


def test_the_page_counts_kills_by_phase_and_lists_what_differed() -> None:
    rows = [row(), row(), row(phase="labels written", differs=["labels: 1, found 2"])]
    found = table(rows, {"label": ["reading", "labels written", "never"]}).rows
    assert [tuple(one)[1:] for one in found] == [
        ("reading", "2", "2"),
        ("labels written", "1", "0"),
        ("**all**", "**3**", "**2**"),
        ("", "**3**", "**2**"),
    ]
    assert "labels: 1, found 2" in differing(rows)
    assert "Nothing." in differing(rows[:2])


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_job_is_in_its_first_phase_when_nothing_can_be_seen_of_it_yet(job: Job, tmp_path: Path) -> None:
    assert [bool(reached(Sight("", tmp_path))) for _, reached in job.phases] == [True] + [False] * (len(job.phases) - 1)


def test_a_phase_lasts_until_the_next_one_that_was_seen() -> None:
    found = Reference({}, [0.0, 2.0, None, 5.0], 9.0)
    assert [found.duration(phase) for phase in range(4)] == [2.0, 3.0, 0.0, 4.0]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place whose project logs into its folder log."""
    layout = new_project(tmp_path / "place" / "project")
    text = layout.params.read_text(encoding="utf-8")
    layout.params.write_text(text.replace('    folder: ""', "    folder: log"), encoding="utf-8")
    return Place(tmp_path / "place")


def write_log(place: Place, ids: list[str], label: str = "positive") -> None:
    """Write a part of the log with answers."""
    import pyarrow as pa

    values = {"request_id": ids, "label": [label] * len(ids), "probability": np.full(len(ids), 0.75, np.float32)}
    values |= {"time": [NOW] * len(ids), "version": ["1"] * len(ids), "role": ["champion"] * len(ids)}
    columns = [pa.array(values[name], SCHEMA.field(name).type) if name in values else None for name in SCHEMA.names]
    arrays = [
        pa.nulls(len(ids), field.type) if column is None else column for column, field in zip(columns, SCHEMA, strict=True)
    ]
    found = pa.table(arrays, schema=SCHEMA.with_metadata(with_classes(["negative", "positive"])))
    PartStore.open(str(place.root / "log")).write(part_name(NOW, f"test-{len(ids)}-{label}"), NOW.date(), found)


@pytest.mark.parametrize(
    ("logged", "complete", "expected"),
    [
        (["life-0", "life-1", "life-2"], True, ""),
        (["life-0", "life-1"], False, ""),
        (["life-0", "life-1"], True, "1 answers are not in the log of a service that ended in order"),
        (["life-0", "life-2"], False, "1 answers are not in the log, and they are not the last ones"),
        (["life-0", "life-0", "life-1"], False, "1 rows twice in the log"),
        (["life-0", "life-1", "life-7"], False, "1 rows in the log that nobody asked for"),
        (["life-0"], False, "2 rows were counted as written, and 1 are in the log"),
    ],
)
def test_what_is_wrong_with_the_log_of_a_killed_service_is_noticed(
    place: Place, logged: list[str], complete: bool, expected: str
) -> None:
    ids = ["life-0", "life-1", "life-2"]
    client = service.Client(0, [], "life", {*ids}, dict.fromkeys(ids, ("positive", 0.75)), written=2)
    write_log(place, logged)
    assert service._log_problems(place, client, complete) == ([expected] if expected else [])


def test_a_row_of_the_log_that_is_not_what_was_answered_is_noticed(place: Place) -> None:
    client = service.Client(0, [], "life", {"life-0"}, {"life-0": ("positive", 0.75)})
    write_log(place, ["life-0"], "negative")
    assert service._log_problems(place, client, True) == ["1 rows of the log are not what was answered"]


@pytest.mark.parametrize(
    ("version", "sent", "expected"),
    [("1", 150.0, 0.0), ("1", 203.0, 3.0), ("2", 250.0, 0.0), ("2", 150.0, float("inf")), ("3", 250.0, float("inf"))],
)
def test_the_lag_of_an_answer_is_the_time_since_its_version_was_champion(version: str, sent: float, expected: float) -> None:
    terms = [Term("1", 100.0, 200.0), Term("2", 200.0, float("inf"))]
    answer = Answer("id", 0, version, "positive", 0.5, sent, sent + 0.1)
    assert lag_of(answer, terms) == expected
