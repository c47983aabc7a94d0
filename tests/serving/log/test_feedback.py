"""True labels: each is kept once, contradictions are shown, and they are found beside the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.errors import HeadwayError
from headway.params import LogParams
from headway.serving.log import JoinCounts, LabelRow, add_labels, feedback, join_labels
from headway.serving.log.kept_labels import KeptLabels, LabelCache
from headway.serving.log.rows import text_hash
from headway.serving.log.store import Part, PartStore
from tests.serving.conftest import TEXTS
from tests.serving.log.conftest import Served

IDS = [f"r{index}" for index in range(5)]


@pytest.fixture
def logged(answer: Callable[..., np.ndarray], log_params: LogParams) -> LogParams:
    """A log with the answers for the five texts."""
    answer(IDS, TEXTS)
    return log_params


def kept(params: LogParams, folder: str = "labels") -> list[dict[str, Any]]:
    return [row for part in sorted(Path(params.folder, folder).glob("date=*/*")) for row in pq.read_table(part).to_pylist()]


def true_labels(params: LogParams) -> dict[tuple[str, str], str]:
    return {(row.request_id, row.role): row.true_label for row in join_labels(params)}


def test_a_label_is_found_by_request_by_hash_and_by_text(logged: LogParams) -> None:
    rows = [
        LabelRow("positive", request_id="r0"),
        LabelRow("negative", text_hash=text_hash(TEXTS[1]).upper()),
        LabelRow(" unsure ", text=TEXTS[4], time=datetime(2026, 12, 1, tzinfo=UTC)),
    ]
    counts = add_labels(logged, rows, "mine.csv", look_up=True)
    assert (counts.rows, counts.added, counts.unmatched, dict(counts.new_classes)) == (3, 3, 0, {})
    assert true_labels(logged) == {
        ("r0", "champion"): "positive",
        ("r1", "champion"): "negative",
        ("r4", "champion"): "unsure",
    }
    assert [(row["source"], row["time"]) for row in kept(logged)][2] == ("mine.csv", datetime(2026, 12, 1, tzinfo=UTC))
    assert not any(text in str(kept(logged)) for text in TEXTS)


def test_the_same_labels_again_add_nothing(logged: LogParams) -> None:
    rows = [
        *(LabelRow("positive", request_id=one) for one in IDS),
        LabelRow("positive", request_id="r0"),
        LabelRow("negative", request_id="x"),
        LabelRow("positive", request_id="x"),
        LabelRow("", request_id="y"),
    ]
    first = add_labels(logged, rows, "a", look_up=True)
    assert (first.rows, first.added, first.repeated, sum(first.quarantined.values())) == (9, 5, 1, 3)
    before = {path: path.read_bytes() for path in Path(logged.folder).rglob("*.parquet")}
    again = add_labels(logged, rows, "a", look_up=True)
    assert (again.rows, again.added, again.repeated, sum(again.quarantined.values())) == (9, 0, 6, 3)
    assert {path: path.read_bytes() for path in Path(logged.folder).rglob("*.parquet")} == before


def test_of_two_labels_for_one_request_neither_is_kept_and_both_are_shown(logged: LogParams) -> None:
    rows = [
        LabelRow(label, request_id="r0", place=f"row {at}") for at, label in enumerate(["negative", "positive", "unsure"])
    ]
    counts = add_labels(logged, rows, "a")
    assert (counts.added, dict(counts.quarantined)) == (0, {feedback.CONTRADICTED: 3})
    (conflict,) = counts.conflicts
    assert (conflict.labels, conflict.places) == (("negative", "positive"), ("row 0", "row 1"))
    assert [row["label"] for row in kept(logged, "labels/quarantine")] == ["negative", "positive", "unsure"]
    assert true_labels(logged) == {}


def test_a_label_that_was_added_before_stays_when_another_one_arrives(logged: LogParams) -> None:
    add_labels(logged, [LabelRow("negative", request_id="r0")], "a")
    counts = add_labels(logged, [LabelRow("positive", request_id="r0", place="row 1")], "b")
    assert dict(counts.quarantined) == {feedback.KNOWN_OTHERWISE: 1}
    assert (counts.conflicts[0].labels, counts.conflicts[0].places) == (("negative", "positive"), ("", "row 1"))
    assert true_labels(logged) == {("r0", "champion"): "negative"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (LabelRow(" ", request_id="r0"), "no label"),
        (LabelRow("positive"), "no request id, text or hash of a text"),
        (LabelRow("positive", text=""), "no request id, text or hash of a text"),
        (LabelRow("positive", text_hash="abc"), "the hash is not a SHA-256 of 64 hexadecimal digits"),
        (LabelRow("positive", request_id="x" * 1001), "the request id has more than 1,000 characters"),
        (LabelRow("", problem="expected 2 fields, found 3"), "expected 2 fields, found 3"),
    ],
)
def test_a_row_that_cannot_be_used_is_put_aside_with_its_reason(logged: LogParams, row: LabelRow, reason: str) -> None:
    counts = add_labels(logged, [row, LabelRow("positive", request_id="r1")], "a")
    assert (counts.added, dict(counts.quarantined)) == (1, {reason: 1})
    assert [aside["reason"] for aside in kept(logged, "labels/quarantine")] == [reason]


def test_a_class_that_the_model_does_not_know_is_kept_and_counted(logged: LogParams) -> None:
    counts = add_labels(logged, [LabelRow("mixed", request_id="r0"), LabelRow("positive", request_id="r1")], "a")
    assert (counts.added, dict(counts.new_classes)) == (2, {"mixed": 1})
    assert true_labels(logged)["r0", "champion"] == "mixed"


def test_labels_without_an_answer_are_kept_and_counted(logged: LogParams) -> None:
    rows = [
        LabelRow("positive", request_id="gone"),
        LabelRow("positive", text="another text"),
        LabelRow("a", request_id="r0"),
    ]
    assert add_labels(logged, rows, "a", look_up=True).unmatched == 2
    counts = JoinCounts()
    assert len(list(join_labels(logged, counts=counts))) == 1
    assert (counts.rows, counts.joined, counts.labels, counts.unmatched) == (5, 1, 3, 2)
    later = JoinCounts()
    assert not list(join_labels(logged, since=datetime(2100, 1, 1), counts=later))
    assert (later.rows, later.unmatched) == (0, 3)


def test_a_label_of_a_request_counts_for_champion_and_shadow(logged: LogParams, answer: Callable[..., np.ndarray]) -> None:
    answer(["r0"], [TEXTS[0]], role="shadow")
    add_labels(logged, [LabelRow("positive", request_id="r0")], "a")
    assert true_labels(logged) == {("r0", "champion"): "positive", ("r0", "shadow"): "positive"}


def test_an_answer_whose_request_and_text_have_different_labels_is_left_out_and_counted(logged: LogParams) -> None:
    add_labels(logged, [LabelRow("positive", request_id="r0"), LabelRow("negative", text=TEXTS[0])], "a")
    counts = JoinCounts()
    assert not list(join_labels(logged, counts=counts))
    assert (counts.contradicted, counts.unmatched) == (1, 0)


def test_labels_that_two_processes_add_at_once_contradict_each_other_when_they_are_joined(
    logged: LogParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(feedback._CACHE, "labels", lambda _: KeptLabels())
        for label in ("positive", "negative"):
            add_labels(logged, [LabelRow(label, request_id="r0")], label)
    counts = JoinCounts()
    assert not list(join_labels(logged, counts=counts))
    assert counts.contradicted == 1
    for _ in range(2):
        again = add_labels(logged, [LabelRow("positive", request_id="r0")], "positive")
        assert (again.added, dict(again.quarantined)) == (0, {feedback.CONTRADICTED: 1})


def damage(part: Path, how: str) -> None:
    if how == "damaged":
        part.write_bytes(b"damaged")
    else:
        pq.write_table(pa.table({"label": ["positive"]}), part)


@pytest.mark.parametrize("how", ["damaged", "with other columns"])
def test_a_damaged_part_of_labels_is_named_and_the_others_count(logged: LogParams, how: str) -> None:
    add_labels(logged, [LabelRow("positive", request_id="r0")], "a")
    (part,) = Path(logged.folder).glob("labels/date=*/*")
    add_labels(logged, [LabelRow("positive", request_id="r1")], "a")
    damage(part, how)
    counts = JoinCounts()
    assert [row.request_id for row in join_labels(logged, counts=counts)] == ["r1"]
    assert str(part) in counts.unreadable[0]


@pytest.mark.parametrize("how", ["damaged", "with other columns"])
def test_nothing_is_added_while_labels_that_were_added_before_cannot_be_read(
    logged: LogParams, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_labels(logged, [LabelRow("positive", request_id="r0")], "a")
    (part,) = Path(logged.folder).glob("labels/date=*/*")
    whole = part.read_bytes()
    damage(part, how)
    monkeypatch.setattr(feedback, "_CACHE", LabelCache())
    with pytest.raises(HeadwayError, match="nothing was added") as caught:
        add_labels(logged, [LabelRow("negative", request_id="r0"), LabelRow("positive", request_id="r1")], "a")
    assert str(part) in str(caught.value)
    part.write_bytes(whole)
    assert true_labels(logged) == {("r0", "champion"): "positive"}


def test_each_part_of_labels_is_read_once_and_labels_that_were_removed_may_be_added_again(
    logged: LogParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    of_store = PartStore.read

    def noted(store: PartStore, part: Part, columns: Sequence[str] | None = None) -> pa.Table:
        if store.where.endswith("labels"):
            read.append(part.path)
        return of_store(store, part, columns)

    monkeypatch.setattr(PartStore, "read", noted)
    for name in ("r0", "r1", "r2"):
        add_labels(logged, [LabelRow("positive", request_id=name)], "a")
    assert add_labels(logged, [LabelRow("positive", request_id="r0")], "a").repeated == 1
    assert len(read) == len(set(read)) == 3
    for part in Path(logged.folder).glob("labels/date=*/*"):
        part.unlink()
    assert add_labels(logged, [LabelRow("negative", request_id="r0")], "a").added == 1


@pytest.mark.parametrize("written", ["\ufeffpositive", "pos\u200bitive", " positive\u200d"])
def test_labels_that_look_alike_are_one_label_as_in_the_training_data(logged: LogParams, written: str) -> None:
    rows = [LabelRow(written, request_id="r0"), LabelRow("positive", request_id="r0"), LabelRow("1.0", request_id="r1")]
    counts = add_labels(logged, rows, "a")
    assert (counts.added, counts.repeated, dict(counts.new_classes)) == (2, 1, {"1": 1})
    assert true_labels(logged) == {("r0", "champion"): "positive", ("r1", "champion"): "1"}


def test_classes_are_those_of_the_champion_whatever_was_logged_after_it(
    logged: LogParams, answer: Callable[..., np.ndarray], served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Package:
        classes = ("bad", "good", "mixed")
        encoder = served.package.encoder
        classifier = served.package.classifier

    answer(["r9"], [TEXTS[0]], model=Served(Package()), role="shadow")  # type: ignore[arg-type]
    counts = add_labels(logged, [LabelRow("good", request_id="r0"), LabelRow("positive", request_id="r1")], "a")
    assert dict(counts.new_classes) == {"good": 1}


def test_a_blank_hash_does_not_hide_a_text_and_the_source_of_a_row_is_its_own(logged: LogParams) -> None:
    rows = [LabelRow("positive", text_hash=" ", text=TEXTS[0], source="b"), LabelRow("positive", request_id="r1")]
    assert add_labels(logged, rows, "a").added == 2
    assert true_labels(logged) == {("r0", "champion"): "positive", ("r1", "champion"): "positive"}
    assert [row["source"] for row in kept(logged)] == ["b", "a"]


def test_a_label_finds_an_answer_whose_id_has_white_space_around_it(
    log_params: LogParams, answer: Callable[..., np.ndarray]
) -> None:
    answer([" mine\n"], TEXTS[:1])
    assert add_labels(log_params, [LabelRow("positive", request_id=" mine")], "a", look_up=True).unmatched == 0
    assert true_labels(log_params) == {("mine", "champion"): "positive"}


def test_labels_of_texts_are_refused_where_no_hash_is_kept(logged: LogParams) -> None:
    params = logged.model_copy(update={"texts": "none"})
    counts = add_labels(params, [LabelRow("positive", text=TEXTS[0]), LabelRow("positive", request_id="r0")], "a")
    assert (counts.added, sum(counts.quarantined.values())) == (1, 1)
    assert any("give the request id" in reason for reason in counts.quarantined)


def test_without_a_folder_there_is_nowhere_to_keep_labels(log_params: LogParams) -> None:
    with pytest.raises(HeadwayError, match=r"serving\.log\.folder: is empty"):
        add_labels(log_params.model_copy(update={"folder": ""}), [], "a")
