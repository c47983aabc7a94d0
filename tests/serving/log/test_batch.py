"""The log of a job that labels files: each row once, whatever interrupts the job, and the job goes on without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headway.params import LogParams
from headway.serving import batch
from headway.serving.log import LabelRow, add_labels, join_labels, read_log
from headway.serving.log.batch import BatchLog
from tests.serving.batch.conftest import label
from tests.serving.log.conftest import FailingFileSystem

__all__ = ["label"]

TEXTS = ["a charming , funny film", "tedious", "neither good nor bad", ""]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "ROWS_PER_PART", 5)


def write_input(label: Any, rows: int) -> None:
    label.write("in.csv", "id,text\n" + "".join(f'{row},"{TEXTS[row % 4]}"\n' for row in range(rows)))


def rows_of(params: LogParams) -> list[dict[str, Any]]:
    return [row for part in read_log(params) for row in part.to_pylist()]


def test_every_row_is_logged_with_its_answer(label: Any, log_params: LogParams) -> None:
    write_input(label, 12)
    answered = label("in.csv", log=BatchLog.open(log_params, "champion"))
    logged = rows_of(log_params)
    assert [(row["text"], row["label"]) for row in logged] == [(row["text"], row["label"]) for row in answered]
    assert {(row["source"], row["role"], row["version"]) for row in logged} == {("batch", "champion", "7")}
    assert len({row["request_id"] for row in logged}) == 12
    assert len({row["request_id"].partition("-")[0] for row in logged}) == 1


def test_another_run_has_other_request_ids(label: Any, log_params: LogParams) -> None:
    write_input(label, 3)
    for _ in range(2):
        label("in.csv", log=BatchLog.open(log_params, "champion"), restart=True)
    assert len({row["request_id"] for row in rows_of(log_params)}) == 6


#: Runs a job in one fork after the other, each killed one write later; prints how each ended.
KILLED = """
import os, sys
from itertools import count
from pathlib import Path
from headway.layout import Layout
from headway.params import LogParams, load
from headway.serving import batch
from headway.serving.batch.inputs import ReadingOptions, find_inputs
from headway.serving.batch.work import package_in
from headway.serving.log.batch import BatchLog
from tests.mortal import die_at

root, folder, model, log = sys.argv[1:]
batch.ROWS_PER_PART = 5
layout = Layout(Path(root))
inputs = find_inputs([f"{folder}/in.csv"], ReadingOptions(), load(layout.params).data, layout, Path(folder), sys.stdin.buffer)
params = LogParams(folder=log, texts="hashed", keep_days=1)
package_in(Path(model)).predict_proba(["warm up"])
out = Path(folder) / "out.csv"
for attempt in count():
    if not os.fork():
        die_at(5 + 7 * attempt % 13)
        job = batch.Job(inputs, Path(model), "7", "csv", log=BatchLog.open(params, "champion"))
        batch.predict_files(job, out)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.wait()[1])
    print(status, flush=True)
    if status != -9 or out.exists():
        break
"""


def test_a_job_killed_at_any_write_logs_each_row_once(label: Any, log_params: LogParams, repository: Path) -> None:
    write_input(label, 18)
    arguments = [str(path) for path in (label.layout.root, label.folder, label.model, log_params.folder)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=repository, capture_output=True, text=True)
    ends = done.stdout.split()
    assert ends.count(str(-signal.SIGKILL)) >= 5, done.stderr
    assert set(ends) <= {"0", str(-signal.SIGKILL)}, done.stderr
    logged = rows_of(log_params)
    assert len(logged) == 18
    assert len({row["request_id"] for row in logged}) == 18
    assert len({row["time"] for row in logged}) == 1


def test_a_log_that_cannot_be_written_does_not_stop_the_job(
    label: Any, log_params: LogParams, failing: type[FailingFileSystem]
) -> None:
    write_input(label, 12)
    log = BatchLog.open(log_params.model_copy(update={"folder": f"failing://{log_params.folder}"}), "champion")
    failing.is_full = True
    assert len(label("in.csv", log=log)) == 12
    assert (log.rows_written, log.rows_dropped) == (0, 12)
    assert os.strerror(28) in log.problem


def test_rows_that_were_dropped_before_a_kill_are_reported_by_the_run_that_continues(
    label: Any, log_params: LogParams, failing: type[FailingFileSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_input(label, 12)
    log = BatchLog.open(log_params.model_copy(update={"folder": f"failing://{log_params.folder}"}), "champion")
    failing.is_full = True

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(batch.formats, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            label("in.csv", log=log)
    continued = BatchLog(log.store, log.texts, log.role)
    assert len(label("in.csv", log=continued)) == 12
    assert (continued.rows_dropped, continued.problem) == (12, log.problem)


def test_a_part_that_is_logged_after_all_is_no_longer_dropped(
    label: Any, log_params: LogParams, failing: type[FailingFileSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_input(label, 12)
    log = BatchLog.open(log_params.model_copy(update={"folder": f"failing://{log_params.folder}"}), "champion")
    failing.is_full = True

    def interrupted(*_: Any) -> None:
        failing.is_full = False
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(batch.formats, "write_part", interrupted)
        with pytest.raises(KeyboardInterrupt):
            label("in.csv", log=log)
    assert log.rows_dropped == 5
    label("in.csv", log=log)
    assert (log.rows_dropped, len(rows_of(log_params))) == (0, 12)


def test_labels_find_the_answers_by_the_ids_in_the_output(label: Any, log_params: LogParams) -> None:
    label.write("in.csv", "request_id,text\n" + "".join(f'{row},"{TEXTS[row % 2]}"\n' for row in range(7)))
    answered = label("in.csv", log=BatchLog.open(log_params, "champion"))
    assert [row["request_id"] for row in answered] == [str(row) for row in range(7)]
    add_labels(log_params, [LabelRow("negative", request_id=row["predicted_request_id"]) for row in answered[2:]], "a")
    assert [row.request_id for row in join_labels(log_params)] == [row["predicted_request_id"] for row in answered[2:]]
    assert "predicted_request_id" not in label("in.csv", out="unlogged.jsonl")[0]
