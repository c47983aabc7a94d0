"""The log of a service: every answer is kept, and no trouble of the disk or the network reaches an answer."""

from __future__ import annotations

import copy
import hashlib
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from headway.errors import HeadwayError
from headway.params import LogParams
from headway.serving.log import LogCounters, PredictionLog, read_log
from headway.serving.log.rows import SCHEMA, classes_of
from headway.serving.log.writer import Limits
from tests.s3 import s3_of_this_process
from tests.serving.conftest import CLASSES, TEXTS
from tests.serving.log.conftest import AT_ONCE, AT_THE_END, FailingFileSystem, Served


def parts(params: LogParams) -> list[Path]:
    return sorted(Path(params.folder.removeprefix("failing://")).glob("date=*/part-*.parquet"))


def until(condition: Callable[[], Any]) -> None:
    """Wait for something that another thread or process does."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def rows_of(params: LogParams) -> list[dict[str, Any]]:
    return [row for batch in read_log(params) for row in batch.to_pylist()]


def test_every_answer_is_a_row_with_what_was_answered(
    answer: Callable[..., np.ndarray], log_params: LogParams, served: Served
) -> None:
    texts = [*TEXTS, "", None]
    before = datetime.now(UTC)
    probabilities = answer([f"r{index}" for index in range(7)], texts, role="shadow")
    rows = rows_of(log_params)
    assert list(rows[0]) == SCHEMA.names
    assert [row["request_id"] for row in rows] == [f"r{index}" for index in range(7)]
    assert [row["text"] for row in rows] == texts
    assert [row["characters"] for row in rows] == [*map(len, TEXTS), 0, None]
    assert all(before <= row["time"] <= datetime.now(UTC) for row in rows)
    assert {(row["version"], row["role"], row["source"]) for row in rows} == {("7", "shadow", "http")}
    assert [row["label"] for row in rows[:5]] == [CLASSES[best] for best in probabilities[:5].argmax(axis=1)]
    np.testing.assert_array_equal([row["probabilities"] for row in rows[:5]], probabilities[:5].tolist())
    assert [row["probability"] for row in rows[:5]] == probabilities[:5].max(axis=1).tolist()
    assert [(row["label"], row["probability"], row["probabilities"]) for row in rows[5:]] == [(None, None, None)] * 2
    assert rows[0]["text_sha256"] == hashlib.sha256(TEXTS[0].encode()).hexdigest()
    assert rows[3]["unknown_share"] == 1.0  # "🤷 zxqv"
    assert rows[4]["unknown_share"] < 1.0
    assert rows[5]["unknown_share"] is None
    (part,) = parts(log_params)
    assert classes_of(pq.read_schema(part).metadata) == CLASSES
    assert part.parent.name == f"date={rows[0]['time']:%Y-%m-%d}"


@pytest.mark.parametrize(
    ("texts", "kept"), [("none", set()), ("hashed", {"text_sha256"}), ("full", {"text_sha256", "text"})]
)
def test_of_a_text_only_what_params_allow_is_kept(
    answer: Callable[..., np.ndarray], log_params: LogParams, texts: str, kept: set[str]
) -> None:
    params = log_params.model_copy(update={"texts": texts})
    answer(["a"], [TEXTS[0]], params)
    (part,) = parts(params)
    assert set(SCHEMA.names) - set(pq.read_schema(part).names) == {"text_sha256", "text"} - kept
    assert (TEXTS[0].encode() in part.read_bytes()) == (texts == "full")
    (row,) = rows_of(params)
    assert {name for name in ("text_sha256", "text") if row[name] is not None} == kept


def test_texts_and_ids_that_are_not_unicode_are_kept_as_far_as_possible(log_params: LogParams, served: Served) -> None:
    log = PredictionLog.open(log_params, "http", AT_THE_END)
    log.add(served, ["id \ud800"], ["half \ud800"], np.full((1, 3), np.nan, dtype=np.float32))
    log.close(60)
    (row,) = rows_of(log_params)
    assert (row["request_id"], row["text"], row["label"]) == ("id \ufffd", "half \ufffd", None)


def test_a_part_is_closed_by_time_by_rows_and_by_characters(log_params: LogParams, served: Served) -> None:
    uniform = np.full((1, 3), 1 / 3, dtype=np.float32)
    by_time = PredictionLog.open(log_params, "http", AT_ONCE)
    by_time.add(served, ["a"], ["fine"], uniform)
    until(lambda: by_time.counters.parts_written == 1)
    by_time.close(60)
    for limits in (Limits(rows_per_part=2), Limits(characters_per_part=8)):
        log = PredictionLog.open(log_params, "http", limits)
        log.add(served, ["b"], ["fine"], uniform)
        log.add(served, ["c"], ["fine"], uniform)
        until(lambda log=log: log.counters.parts_written == 1)
        assert log.counters == LogCounters(rows_written=2, parts_written=1)
        log.close(60)
    assert len(parts(log_params)) == 3


def test_models_with_other_classes_and_other_days_have_parts_of_their_own(
    log_params: LogParams, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Package:
        classes = ("bad", "good")
        encoder = served.package.encoder
        classifier = served.package.classifier

    times = [datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), *[datetime(2026, 12, 1, tzinfo=UTC)] * 3]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return times.pop(0)

    log = PredictionLog.open(log_params, "http", AT_THE_END)
    monkeypatch.setattr("headway.serving.log.writer.datetime", Clock)
    three, two = np.array([[0.1, 0.2, 0.7]], dtype=np.float32), np.array([[0.9, 0.1]], dtype=np.float32)
    for name in ("before midnight", "after midnight", "later"):
        log.add(served, [name], ["fine"], three)
    log.add(Served(Package()), ["other"], ["fine"], two)  # type: ignore[arg-type]
    log.close(60)
    assert [part.parent.name for part in parts(log_params)] == ["date=2026-11-30", "date=2026-12-01", "date=2026-12-01"]
    found = {
        row["request_id"]: (row["label"], tuple(classes_of(batch.schema.metadata)))
        for batch in read_log(log_params)
        for row in batch.to_pylist()
    }
    assert found["other"] == ("bad", ("bad", "good"))
    assert found["later"] == ("unsure", tuple(CLASSES))


def test_a_part_is_named_after_its_earliest_row(
    log_params: LogParams, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [datetime(2026, 12, 1, 9, 0, second, tzinfo=UTC) for second in (5, 3)]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return times.pop(0)

    log = PredictionLog.open(log_params, "http", AT_THE_END)
    monkeypatch.setattr("headway.serving.log.writer.datetime", Clock)
    for name in ("a", "b"):
        log.add(served, [name], ["fine"], np.full((1, 3), 1 / 3, dtype=np.float32))
    log.close(60)
    end = datetime(2026, 12, 1, 9, 0, 4, tzinfo=UTC)
    assert [row["request_id"] for batch in read_log(log_params, until=end) for row in batch.to_pylist()] == ["b"]


def test_rows_that_wait_do_not_keep_a_model_once_another_answers(log_params: LogParams, served: Served) -> None:
    log = PredictionLog.open(log_params, "http", AT_THE_END)
    model = Served(copy.copy(served.package))
    replaced = weakref.ref(model.package)
    log.add(model, ["a"], ["fine"], np.full((1, 3), 1 / 3, dtype=np.float32))
    del model
    log.add(served, ["b"], ["fine"], np.full((1, 3), 1 / 3, dtype=np.float32))
    until(lambda: replaced() is None)
    assert log.counters.rows_waiting == 2
    log.close(60)
    assert [row["request_id"] for row in rows_of(log_params)] == ["a", "b"]
    assert len(parts(log_params)) == 1


def test_a_folder_that_cannot_be_written_to_is_refused_at_the_start(log_params: LogParams, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HeadwayError, match=r"serving\.log\.folder: .*file/log cannot be written to"):
        PredictionLog.open(log_params.model_copy(update={"folder": str(tmp_path / "file" / "log")}), "http")
    with pytest.raises(HeadwayError, match="cannot be opened"):
        PredictionLog.open(log_params.model_copy(update={"folder": "nowhere://log"}), "http")
    with pytest.raises(HeadwayError, match="nothing is logged"):
        PredictionLog.open(log_params.model_copy(update={"folder": ""}), "http")


def test_a_full_disk_is_counted_and_the_rows_are_written_when_there_is_space_again(
    failing: type[FailingFileSystem], log_params: LogParams, served: Served
) -> None:
    params = log_params.model_copy(update={"folder": f"failing://{log_params.folder}"})
    log = PredictionLog.open(params, "http", AT_ONCE)
    failing.is_full = True
    uniform = np.full((2, 3), 1 / 3, dtype=np.float32)
    log.add(served, ["a", "b"], ["fine", "dull"], uniform)
    until(lambda: log.counters.failed_writes >= 2)
    log.add(served, ["c", "d"], ["fine", "dull"], uniform)
    during = log.counters
    assert (during.rows_waiting, during.rows_written, during.rows_dropped) == (4, 0, 0)
    assert "No space left on device" in str(during.problem)
    assert not parts(params)
    failing.is_full = False
    until(lambda: log.counters.rows_written == 4)
    assert log.counters.problem is None
    log.close(60)
    assert [row["request_id"] for row in rows_of(params)] == ["a", "b", "c", "d"]
    assert not list(Path(log_params.folder).rglob("*.partial"))


@pytest.mark.parametrize("limits", [Limits(rows_waiting=3, seconds_per_part=0), Limits(characters_waiting=14)])
def test_beyond_what_may_wait_rows_are_dropped_and_counted(
    failing: type[FailingFileSystem], log_params: LogParams, served: Served, limits: Limits
) -> None:
    params = log_params.model_copy(update={"folder": f"failing://{log_params.folder}"})
    log = PredictionLog.open(params, "http", limits)
    failing.hangs = threading.Event()
    uniform = np.full((2, 3), 1 / 3, dtype=np.float32)
    for index in range(5):
        log.add(served, [f"{index}a", f"{index}b"], ["fine", "dull"], uniform)
    assert (log.counters.rows_waiting, log.counters.rows_dropped) == (2, 8)
    assert log.counters.problem == "too many rows wait"
    failing.hangs.set()
    log.close(60)
    assert log.counters == LogCounters(rows_written=2, rows_dropped=8, parts_written=1)


def test_closing_gives_up_in_time_and_counts_what_is_lost(
    failing: type[FailingFileSystem], log_params: LogParams, served: Served
) -> None:
    params = log_params.model_copy(update={"folder": f"failing://{log_params.folder}"})
    uniform = np.full((1, 3), 1 / 3, dtype=np.float32)
    full, hanging = (PredictionLog.open(params, "http", AT_ONCE) for _ in range(2))
    failing.is_full = True
    full.add(served, ["a"], ["fine"], uniform)
    full.close(0.2)
    failing.is_full, failing.hangs = False, threading.Event()
    hanging.add(served, ["b"], ["fine"], uniform)
    hanging.close(0.2)
    failing.hangs.set()
    hanging.close(60)
    for log in (full, hanging):
        log.add(served, ["late"], ["fine"], uniform)
        assert (log.counters.rows_written, log.counters.rows_dropped, log.counters.rows_waiting) == (0, 2, 0)


def test_rows_that_cannot_be_logged_do_not_stop_those_after_them(log_params: LogParams, served: Served) -> None:
    log = PredictionLog.open(log_params, "http", AT_THE_END)
    log.add(served, ["a", "b"], ["fine", "dull"], np.zeros((1, 2), dtype=np.float32))
    log.add(served, ["c"], ["fine"], np.full((1, 3), 1 / 3, dtype=np.float32))
    log.close(60)
    assert (log.counters.rows_written, log.counters.rows_dropped) == (1, 2)


def test_a_bucket_holds_the_log_and_what_it_lacks_meanwhile_follows(log_params: LogParams, served: Served) -> None:
    with s3_of_this_process() as store:
        store.mkdir("logs")
        params = log_params.model_copy(update={"folder": "s3://logs/mine"})
        log = PredictionLog.open(params, "http", AT_ONCE)
        store.rmdir("logs")
        log.add(served, ["a"], ["fine"], np.full((1, 3), 1 / 3, dtype=np.float32))
        until(lambda: log.counters.failed_writes)
        assert "s3://logs/mine cannot be written to" in str(log.counters.problem)
        store.mkdir("logs")
        log.close(60)
        assert log.counters.rows_written == 1
        assert [row["request_id"] for row in rows_of(params)] == ["a"]


#: Logs three parts in one fork after the other. Each is killed one write later, until one survives; prints how each ended, and
#: how many rows its counters had as written.
KILLED = """
import os, sys
from itertools import count
from pathlib import Path
import numpy as np
from headway.params import LogParams
from headway.serving.log import PredictionLog, store
from headway.serving.log.writer import Limits
from headway.serving.package import ModelPackage
from tests.mortal import die_at

class Served:
    package, version = ModelPackage.load(Path(sys.argv[1])), "7"

def write_in_two(path, content):
    with path.open("wb") as file:
        file.write(content[:50])
        file.flush()
        sys.audit("os.rename", "", "", -1, -1)  # counts as a write, so that a kill may leave half a file
        file.write(content[50:])

store._write_through = write_in_two
Served.package.predict_proba(["warm up"])
for deadline in count():
    if not os.fork():
        die_at(deadline)
        params = LogParams(folder=f"{sys.argv[2]}/{deadline}", texts="full", keep_days=90)
        log = PredictionLog.open(params, "http", Limits(rows_per_part=2, seconds_per_part=3600))
        for number in range(3):
            log.add(Served, ["a", "b"], ["fine", "dull"], np.full((2, 3), 1 / 3, dtype=np.float32))
            while log.counters.rows_waiting:
                pass
            print(deadline, log.counters.rows_written, flush=True)
        log.close(60)
        os._exit(0)
    if not os.waitstatus_to_exitcode(os.wait()[1]):
        break
"""


def test_after_a_kill_every_closed_part_is_readable_and_no_other_has_a_final_name(
    saved: Path, tmp_path: Path, repository: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(saved), str(tmp_path)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=300, check=True)
    pairs = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    written = dict(pairs)
    attempts = max(written)
    assert attempts >= 9  # three folders or files, and three parts
    assert written[attempts] == 6
    for deadline in range(attempts + 1):
        found = sorted((tmp_path / str(deadline)).glob("date=*/*.parquet"))
        rows = sum(pq.read_table(part).num_rows for part in found)
        assert written.get(deadline, 0) <= rows <= written.get(deadline, 0) + 2
        assert all(pq.read_table(part).num_rows == 2 for part in found)
