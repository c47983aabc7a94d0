"""One log gives the same numbers however often it is looked at, and every row and label counts once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headway.champion_monitor import watch
from headway.champion_monitor.labels import known_labels
from headway.champion_monitor.log_rows import SeenParts
from headway.champion_monitor.term import Term
from headway.champion_monitor.watch import Progress, catch_up
from headway.monitoring.answers import Answers
from headway.monitoring.findings import Watched, record_of
from headway.monitoring.monitor import Monitor, Reference, Terms
from headway.monitoring.wording import name_of
from headway.params import LogParams
from headway.registry.version_ref import ModelVersionRef
from headway.serving.log import LabelRow, add_labels
from headway.serving.log.rows import SCHEMA, text_hash, with_classes
from headway.serving.log.store import PartStore, part_name
from headway.serving.log.writer import open_log
from tests.monitoring.streams import OTHER, texts, worded

CLASSES = ["negative", "positive"]
START = datetime(2026, 11, 1, 12, tzinfo=UTC)
FORMER = ModelVersionRef(version="1", model="b" * 64, run="r")
TERM = Term(ModelVersionRef(version="2", model="a" * 64, run="r"), "d" * 64, 1, START, 0.8, FORMER)


@dataclass
class Traffic:
    """Answers with their true labels, written to a log as its parts; ids are numbers from 0."""

    log: PartStore
    params: LogParams
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    truth: dict[str, str] = field(default_factory=dict)

    def part(
        self,
        day: float,
        rows: int,
        accuracy: float = 0.8,
        length: float = 5.0,
        texts: Sequence[str | None] | None = None,
        **columns: Any,
    ) -> list[str]:
        """Write a part of a day; returns the request ids."""
        time = START + timedelta(days=day, seconds=len(self.truth))
        ids = [f"r{len(self.truth) + row}" for row in range(rows)]
        predicted = self.random.integers(0, 2, rows)
        right = self.random.random(rows) < accuracy
        table = pa.Table.from_pylist(
            [
                {
                    "request_id": request,
                    "time": time,
                    "version": "2",
                    "role": "champion",
                    "source": "http",
                    "label": CLASSES[label],
                    "probability": float(probability),
                    "characters": int(characters),
                    "unknown_share": float(share),
                    "text": text,
                    **columns,
                }
                for request, text, label, probability, characters, share in zip(
                    ids,
                    [None] * rows if texts is None else texts,
                    predicted,
                    0.5 + 0.5 * self.random.random(rows),
                    np.exp(self.random.normal(length, 0.5, rows)),
                    self.random.random(rows) * 0.1,
                    strict=True,
                )
            ],
            SCHEMA,
        ).replace_schema_metadata(with_classes(CLASSES))
        labels = [CLASSES[label if ok else 1 - label] for label, ok in zip(predicted, right, strict=True)]
        self.truth |= dict(zip(ids, labels, strict=True))
        self.log.write(part_name(time, f"w{ids[0]}"), time.date(), table)
        return ids

    def label(self, ids: Sequence[str]) -> None:
        add_labels(self.params, [LabelRow(self.truth[one], request_id=one) for one in ids], "test")


@pytest.fixture
def traffic(tmp_path: Path) -> Traffic:
    params = LogParams(folder=str(tmp_path / "log"), texts="none", keep_days=90)
    return Traffic(open_log(params), params)


def new_monitor(promised: float = 0.8, margin: float = 0.05) -> Monitor:
    """Of a champion whose test rows are like the traffic."""
    random = np.random.default_rng(1)
    rows = 800
    answers = Answers(
        random.integers(0, 2, rows),
        (0.5 + 0.5 * random.random(rows)).astype(np.float32),
        np.exp(random.normal(5.0, 0.5, rows)).astype(np.int64),
        random.random(rows) * 0.1,
        np.full(rows, "test rows"),
    )
    labels = np.where(random.random(rows) < 0.8, answers.predicted, 1 - answers.predicted)
    return Monitor(Reference(answers, labels, CLASSES), Terms(promised, margin, 0.95, TERM.decision))


def worded_monitor() -> Monitor:
    """The same champion, whose traffic keeps its texts."""
    usual = new_monitor().reference
    reference = Reference(worded(usual.answers, 0), usual.labels, CLASSES)
    return Monitor(reference, Terms(0.8, 0.05, 0.95, TERM.decision))


def look(traffic: Traffic, monitor: Monitor | None = None) -> Monitor:
    """A process of its own: take the stored state, read what is new, and store the state."""
    monitor = monitor or new_monitor()
    key = watch.state_key(TERM, monitor, "f" * 64)
    name = watch.state_name(TERM, key)
    progress = watch.restore(traffic.log, name, key, monitor) or Progress()
    assert catch_up(traffic.log, TERM, monitor, progress) == []
    watch.keep(traffic.log, name, key, monitor, progress)
    return monitor


def afresh(traffic: Traffic) -> Monitor:
    monitor = new_monitor()
    catch_up(traffic.log, TERM, monitor, Progress())
    return monitor


def test_looks_in_between_change_nothing(traffic: Traffic) -> None:
    for day in range(12):
        ids = traffic.part(day, 40, length=5.0 if day < 8 else 5.6)
        traffic.label(ids[::3])
        look(traffic)
        if day % 4 == 3:
            traffic.label(ids[1::3])  # later than other answers
            look(traffic)
    assert look(traffic).state() == afresh(traffic).state()


def test_a_second_look_at_the_same_log_reads_nothing(traffic: Traffic) -> None:
    traffic.label(traffic.part(0, 50))
    assert look(traffic).state() == look(traffic).state()


def test_labels_that_come_first_wait_for_their_answers(traffic: Traffic) -> None:
    add_labels(traffic.params, [LabelRow("positive", request_id=f"r{number}") for number in range(30)], "test")
    assert look(traffic).loss.rows == 0
    traffic.part(0, 20)
    assert look(traffic).loss.rows == 20
    traffic.part(1, 20)
    assert look(traffic).loss.rows == 30


def test_a_part_that_is_written_late_is_read_once(traffic: Traffic) -> None:
    traffic.part(3, 20)
    look(traffic)
    traffic.part(1, 10)  # its rows are older than what was read
    assert (look(traffic).answers, look(traffic).answers) == (30, 30)


def test_removed_parts_stay_counted(traffic: Traffic) -> None:
    traffic.part(0, 20)
    look(traffic)
    traffic.log.remove((START).date())
    traffic.part(1, 5)
    assert look(traffic).answers == 25


@pytest.mark.parametrize("content", [b"", b"{", b'{"key": 1, "sha256": "", "state": {}}'])
def test_a_damaged_state_is_made_anew_from_the_log(traffic: Traffic, content: bytes) -> None:
    traffic.label(traffic.part(0, 30))
    before = look(traffic).state()
    monitor = new_monitor()
    name = watch.state_name(TERM, watch.state_key(TERM, monitor, "f" * 64))
    traffic.log.below(watch.FOLDER).write_file(name, content)
    assert look(traffic).state() == before


def test_an_altered_state_is_not_used(traffic: Traffic) -> None:
    traffic.part(0, 30)
    monitor = look(traffic)
    store, name = traffic.log.below(watch.FOLDER), watch.state_name(TERM, watch.state_key(TERM, monitor, "f" * 64))
    stored = json.loads(store.read_file(name) or b"")
    stored["state"]["monitor"]["answers"] = 7
    store.write_file(name, json.dumps(stored).encode())
    assert look(traffic).answers == 30


def test_another_promise_starts_anew(traffic: Traffic) -> None:
    traffic.label(traffic.part(0, 30))
    look(traffic)
    assert look(traffic, new_monitor(promised=0.9)).loss.least == pytest.approx(0.85)


def test_another_reference_margin_or_confidence_starts_anew(traffic: Traffic) -> None:
    monitor = new_monitor()
    lenient = new_monitor(margin=0.1)
    surer = Monitor(monitor.reference, replace(monitor.terms, confidence=0.99))
    keys = [watch.state_key(TERM, one, "f" * 64) for one in (monitor, new_monitor(), lenient, surer)]
    keys.append(watch.state_key(TERM, monitor, "e" * 64))
    assert keys[0] == keys[1]
    assert len(set(keys[1:])) == 4
    traffic.label(traffic.part(0, 30))
    look(traffic)
    assert look(traffic, lenient).loss.least == pytest.approx(0.7)


def test_labels_that_were_read_before_are_not_looked_for_again(traffic: Traffic) -> None:
    seen = SeenParts()
    traffic.label(traffic.part(0, 8))
    assert known_labels(traffic.log, seen).first_new == 0
    again = known_labels(traffic.log, seen)
    assert (again.first_new, len(again.places)) == (8, 8)


def test_two_terms_of_one_version_have_states_of_their_own(traffic: Traffic) -> None:
    traffic.part(0, 20)
    look(traffic)
    again = replace(TERM, decision="e" * 64, number=3)  # champion once more, after a rollback
    keys = [watch.state_key(term, new_monitor(), "f" * 64) for term in (TERM, again)]
    names = [watch.state_name(term, key) for term, key in zip((TERM, again), keys, strict=True)]
    assert len(set(names)) == 2
    assert watch.restore(traffic.log, names[1], keys[1], new_monitor()) is None
    assert watch.restore(traffic.log, names[0], keys[0], new_monitor()) is not None
    assert watch.restore(traffic.log, names[0], keys[1], new_monitor()) is None


def test_other_versions_roles_and_times_are_left_out(traffic: Traffic) -> None:
    traffic.part(0, 10, version="1")
    traffic.part(0, 10, role="shadow")
    traffic.part(-1, 10)
    traffic.part(-0.1, 10)  # of the term's first day, but before the decision
    traffic.part(0, 10, label="neither")
    traffic.part(0, 10, label=None, probability=None)
    monitor = look(traffic)
    assert (monitor.answers, monitor.days.total().unanswered) == (0, 10)


def test_the_label_of_a_text_counts_once_however_often_it_is_asked(traffic: Traffic) -> None:
    params = traffic.params.model_copy(update={"texts": "hashed"})
    traffic.part(0, 40, text_sha256=text_hash("ping"))
    add_labels(params, [LabelRow("positive", text="ping")], "test")
    assert look(traffic).loss.rows == 1
    traffic.part(1, 40, text_sha256=text_hash("ping"))
    assert look(traffic).loss.rows == 1


def test_a_request_and_its_text_with_different_labels_have_none(traffic: Traffic) -> None:
    params = traffic.params.model_copy(update={"texts": "hashed"})
    (request,) = traffic.part(0, 1, text_sha256=text_hash("fine"))
    add_labels(params, [LabelRow("positive", text="fine"), LabelRow("negative", request_id=request)], "test")
    assert look(traffic).loss.rows == 0


def test_labels_that_cannot_be_read_are_read_when_they_are_back(traffic: Traffic) -> None:
    traffic.label(traffic.part(0, 20))
    (part,) = traffic.log.below("labels").parts()
    content = Path(part.path).read_bytes()
    Path(part.path).write_bytes(b"damaged")
    monitor = new_monitor()
    key = watch.state_key(TERM, monitor, "f" * 64)
    progress = Progress()
    assert len(catch_up(traffic.log, TERM, monitor, progress)) == 1
    watch.keep(traffic.log, watch.state_name(TERM, key), key, monitor, progress)
    Path(part.path).write_bytes(content)
    assert look(traffic).loss.rows == 20


def test_a_few_complaints_do_not_show_that_the_former_champion_was_better(traffic: Traffic) -> None:
    ids = traffic.part(0, 500, accuracy=0.8)
    wrong = [one for one in ids if traffic.truth[one] != answer_of(traffic, one)][:12]
    shadow = [
        {"request_id": one, "time": START, "version": "1", "role": "shadow", "source": "http", "label": traffic.truth[one]}
        for one in ids
    ]
    traffic.log.write(part_name(START, "shadow"), START.date(), pa.Table.from_pylist(shadow, SCHEMA))
    traffic.label(wrong)
    watched = Watched("m", "2", TERM.decision, START.isoformat(), "log", 0.8, "1", ())
    record = record_of(look(traffic), watched, 100, None)
    assert record.guard is not None
    assert record.guard.crossed_row is not None
    assert not record.guard.is_shown
    assert record.status == "warning"


def answer_of(traffic: Traffic, request: str) -> str:
    tables = [traffic.log.read(part, ["request_id", "label"]) for part in traffic.log.parts()]
    table = pa.concat_tables(tables)
    return str(dict(zip(table["request_id"].to_pylist(), table["label"].to_pylist(), strict=True))[request])


def test_a_file_that_is_sorted_by_class_is_no_change(traffic: Traffic) -> None:
    half = 400
    table = pa.Table.from_pylist(
        [
            {
                "request_id": f"r{row}",
                "time": START,
                "version": "2",
                "role": "champion",
                "source": "batch",
                "label": CLASSES[row >= half],
                "probability": 0.5 + 0.5 * (row * 7919 % 997) / 997,
                "characters": int(np.exp(5 + 0.5 * np.sin(row * 12.9898))),
                "unknown_share": 0.1 * (row * 104729 % 991) / 991,
            }
            for row in range(2 * half)
        ],
        SCHEMA,
    )
    traffic.log.write(part_name(START, "sorted"), START.date(), table)
    monitor = look(traffic)
    name = "predicted class " + CLASSES[int(monitor.drift.keys() >= {"predicted class positive"})]
    assert monitor.drift[name].crossed_at(monitor.thresholds[name]) is None


def test_the_former_champions_answers_in_the_shadow_are_compared(traffic: Traffic) -> None:
    ids = traffic.part(0, 300, accuracy=0.6)
    shadow = [
        {"request_id": one, "time": START, "version": "1", "role": "shadow", "source": "http", "label": traffic.truth[one]}
        for one in ids
    ]
    traffic.log.write(part_name(START, "shadow"), START.date(), pa.Table.from_pylist(shadow, SCHEMA))
    traffic.label(ids)
    monitor = look(traffic)
    assert monitor.guard.rows == 300
    assert monitor.guard.only_champion == 0
    watched = Watched("m", "2", TERM.decision, START.isoformat(), "log", 0.8, "1", ())
    record = record_of(monitor, watched, 100, None)
    assert record.guard is not None
    assert record.guard.crossed_row is not None
    assert record.status == "alarm"


def test_other_words_are_found_where_the_log_keeps_texts(traffic: Traffic) -> None:
    kept, name = texts(5, 500, OTHER), name_of(200)
    for day in range(10):
        traffic.label(traffic.part(day, 50, texts=kept[50 * day : 50 * day + 50])[:5])
        assert look(traffic, worded_monitor()).drift[name].rows == max(0, 50 * (day - 3))
    monitor = worded_monitor()
    catch_up(traffic.log, TERM, monitor, Progress())
    assert monitor.state() == look(traffic, worded_monitor()).state()
    assert monitor.drift[name].crossed_at(monitor.thresholds[name]) is not None
    assert monitor.loss.rows == 50


def test_texts_that_are_not_kept_are_not_counted_for_the_wording(traffic: Traffic) -> None:
    traffic.part(0, 150, texts=texts(5, 150))
    traffic.part(1, 150)
    traffic.part(2, 51, texts=texts(6, 51))
    monitor = look(traffic, worded_monitor())
    assert (monitor.answers, monitor.drift[name_of(200)].rows) == (351, 1)
    assert not look(traffic).reads_texts
