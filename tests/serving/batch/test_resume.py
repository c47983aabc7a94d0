"""A job that was killed goes on where it was, and its output has the same bytes as if nothing had happened."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from headway.errors import HeadwayError
from headway.progress import ProgressLine
from headway.serving import batch
from headway.serving.batch import parts
from headway.serving.batch.inputs import ReadingOptions, find_inputs
from headway.serving.batch.work import classify

TEXTS = ["a charming , funny film", "tedious", "neither good nor bad", "", "a mess " * 9]
ROWS = 43


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "ROWS_PER_PART", 5)


def write_input(label: Any, rows: int = ROWS) -> None:
    label.write("in.csv", "id,text\n" + "".join(f'{row},"{TEXTS[row % 5]}"\n' for row in range(rows)))


#: Runs a job in one fork after the other. Each is killed at a random one of its first writes; prints how each ended.
KILLED = """
import os, random, sys
from pathlib import Path
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.params import load
from headway.serving import batch
from headway.serving.batch.inputs import ReadingOptions, find_inputs
from headway.serving.batch.work import package_in
from tests.mortal import die_at

root, folder, model, out = sys.argv[1:]
batch.ROWS_PER_PART = 5
layout = Layout(Path(root))
inputs = find_inputs([f"{folder}/in.csv"], ReadingOptions(), load(layout.params).data, layout, Path(folder), sys.stdin.buffer)
job = batch.Job(inputs, Path(model), "7", out.rpartition(".")[2])
package_in(job.model)
draw, status = random.Random(out), None
while status != 0:
    deadline = draw.randrange(10)
    if not os.fork():
        die_at(deadline)
        try:
            batch.predict_files(job, Path(folder) / out, batch.Workers(1))
        except HeadwayError as error:  # it was killed at the very end, when only an empty folder was left to remove
            if "exists; pass --restart" not in str(error):
                raise
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.wait()[1])
    print(status, flush=True)
    if status not in (0, -9):
        sys.exit(1)
"""


@pytest.mark.parametrize("out", ["out.csv", "out.parquet"])
def test_a_job_killed_at_any_write_ends_with_the_same_bytes(label: Any, repository: Path, out: str) -> None:
    write_input(label)
    rows = label("in.csv", out=out)
    assert [int(row["id"]) for row in rows] == list(range(ROWS))
    expected = (label.folder / out).read_bytes()
    (label.folder / out).unlink()
    arguments = [str(path) for path in (label.layout.root, label.folder, label.model, out)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=repository, capture_output=True, text=True)
    ends = done.stdout.split()
    assert ends[-1:] == ["0"], done.stderr
    assert ends.count(str(-signal.SIGKILL)) >= 8
    assert (label.folder / out).read_bytes() == expected
    assert {file.name for file in label.folder.glob("**/*")} - {f".{out}.parts", "lock"} == {"in.csv", out}


def test_a_killed_job_leaves_no_workers_and_goes_on_without_them(label: Any, repository: Path) -> None:
    write_input(label, 3_000)
    label("in.csv", out="whole.csv")
    expected = (label.folder / "whole.csv").read_bytes()
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from headway.layout import Layout
        from headway.params import load
        from headway.serving import batch
        from headway.serving.batch.inputs import ReadingOptions, find_inputs

        if __name__ == "__main__":
            root, folder, model = map(Path, sys.argv[1:])
            batch.ROWS_PER_PART = 5
            layout = Layout(root)
            given = [f"{folder}/in.csv"]
            inputs = find_inputs(given, ReadingOptions(), load(layout.params).data, layout, folder, sys.stdin.buffer)
            batch.predict_files(batch.Job(inputs, model, "7", "csv"), folder / "out.csv", batch.Workers(2))
        """
    )
    arguments = [str(path) for path in (label.layout.root, label.folder, label.model)]
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=repository)
    folder = label.folder / ".out.csv.parts"
    deadline = time.monotonic() + 240
    while len(list(folder.glob("*[0-9].json"))) < 20:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    while any(map(_is_alive, workers)):
        assert time.monotonic() < deadline, "a worker outlived the job"
        time.sleep(0.05)
    finished = len(list(folder.glob("*[0-9].json")))
    assert 20 <= finished < 600
    label("in.csv", out="out.csv")
    assert (label.folder / "out.csv").read_bytes() == expected


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def interrupted(label: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Run a job that fails after its third part."""
    write = parts.Parts.write

    def fail(self: Any, index: int, *more: Any) -> None:
        if index == 3:
            raise KeyboardInterrupt
        write(self, index, *more)

    with monkeypatch.context() as patched:
        patched.setattr(parts.Parts, "write", fail)
        with pytest.raises(KeyboardInterrupt):
            label("in.csv", out="out.csv", **options)
    assert not (label.folder / "out.csv").exists() or options.get("restart")


def test_finished_parts_are_not_classified_again_unless_they_are_damaged(
    label: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_input(label)
    label("in.csv", out="whole.csv")
    interrupted(label, monkeypatch)
    (label.folder / ".out.csv.parts" / "000001.part").write_text("damaged")
    classified: list[Any] = []
    monkeypatch.setattr(batch, "classify", lambda *call: classified.append(call[1]) or classify(*call))
    rows = label("in.csv", out="out.csv")
    assert len(classified) == -(-ROWS // 5) - 2
    assert (label.counts.rows, label.counts.labelled) == (ROWS, ROWS - ROWS // 5)
    assert [int(row["id"]) for row in rows] == list(range(ROWS))
    assert (label.folder / "out.csv").read_bytes() == (label.folder / "whole.csv").read_bytes()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"version": "8"}, r"another model \(7, now 8\)"),
        ({"top_k": 2}, "other options"),
        ({}, "other input"),
        ({"knobs": {"encoding": "latin-1"}}, "other input"),
    ],
)
def test_parts_of_another_job_are_not_mixed_in(
    label: Any, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], what: str
) -> None:
    write_input(label)
    interrupted(label, monkeypatch)
    if not change:
        write_input(label, ROWS + 1)
    with pytest.raises(HeadwayError, match=f"{what}.*--restart"):
        label("in.csv", out="out.csv", **change)
    rows = label("in.csv", out="out.csv", restart=True, **change)
    assert {row["model_version"] for row in rows} == {change.get("version", "7")}
    assert len(rows) == ROWS + (not change)


def test_an_existing_file_is_replaced_only_if_asked_and_as_late_as_possible(
    label: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_input(label)
    (label.folder / "out.csv").write_text("mine")
    with pytest.raises(HeadwayError, match=r"out\.csv: exists; pass --restart"):
        label("in.csv", out="out.csv")
    interrupted(label, monkeypatch, restart=True)
    assert (label.folder / "out.csv").read_text() == "mine"
    assert len(label("in.csv", out="out.csv")) == ROWS  # it goes on, and still may replace the file
    with pytest.raises(HeadwayError, match="exists"):
        label("in.csv", out="out.csv")


def test_a_folder_that_is_not_ours_is_left_alone(label: Any) -> None:
    write_input(label)
    label.write(".out.csv.parts/notes.txt", "mine")
    for restart in (False, True):
        with pytest.raises(HeadwayError, match=r"out\.csv\.parts"):
            label("in.csv", out="out.csv", restart=restart)
    assert (label.folder / ".out.csv.parts/notes.txt").read_text() == "mine"


def test_two_processes_cannot_write_one_output(label: Any) -> None:
    import filelock

    write_input(label)
    (label.folder / ".out.csv.parts").mkdir()
    with filelock.FileLock(label.folder / ".out.csv.parts/lock"), pytest.raises(HeadwayError, match="another process"):
        label("in.csv", out="out.csv")


def test_an_input_that_changes_between_the_two_passes_is_noticed(label: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_input(label)
    survey = batch.survey

    def then_change(*arguments: Any) -> Any:
        found = survey(*arguments)
        write_input(label, ROWS - 1)
        return found

    monkeypatch.setattr(batch, "survey", then_change)
    with pytest.raises(HeadwayError, match="changed while it was read"):
        label("in.csv", out="out.csv")
    assert not (label.folder / "out.csv").exists()


def test_workers_give_the_same_bytes(label: Any) -> None:
    write_input(label)
    label("in.csv", out="one.csv")
    label("in.csv", out="two.csv", workers=2)
    assert (label.folder / "one.csv").read_bytes() == (label.folder / "two.csv").read_bytes()


def test_memory_does_not_grow_with_the_input(label: Any, repository: Path) -> None:
    """A few parts are in memory: one is read ahead, one is classified, one waits to be written, and one is written."""
    write_input(label, 400)
    ahead: list[int] = []
    seen = 0
    cut, write = batch._parts, parts.Parts.write

    def counting(*arguments: Any) -> Any:
        nonlocal seen
        for rows in cut(*arguments):
            seen += 1
            yield rows

    def watching(self: Any, index: int, *more: Any) -> None:
        ahead.append(seen - index)
        write(self, index, *more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batch, "_parts", counting)
        patched.setattr(parts.Parts, "write", watching)
        label("in.csv", out="out.csv")
    assert len(ahead) == 80
    assert max(ahead) <= 4


def test_a_left_over_of_a_killed_restart_is_removed(label: Any) -> None:
    write_input(label)
    folder = label.folder / ".out.csv.parts"
    folder.mkdir()
    (folder / "manifest.json.partial").write_text("{")
    assert len(label("in.csv", out="out.csv")) == ROWS
    assert not folder.exists()


def test_a_text_of_its_own_and_a_table_are_different_readings(label: Any) -> None:
    label.write("a.txt", "text\nfine\n")
    (source,) = find_inputs(
        [str(label.folder / "a.txt")], ReadingOptions(), label.params.data, label.layout, label.folder, io.BytesIO()
    )
    found = batch.survey([source], ProgressLine())
    jobs = [batch.Job([replace(source, is_document=is_document)], label.model, "7", "csv") for is_document in (False, True)]
    first, second = (batch._identity(job, found) for job in jobs)
    assert first["inputs"] != second["inputs"]


@pytest.mark.parametrize("given", ["in.csv", ".", "*.csv"])
def test_an_output_among_the_inputs_is_refused_and_stays_as_it_is(label: Any, given: str) -> None:
    write_input(label)
    before = (label.folder / "in.csv").read_bytes()
    for restart in (False, True):
        with pytest.raises(HeadwayError, match=r"--out: .*in\.csv: is one of the files to label"):
            label(given, out="in.csv", restart=restart)
    assert (label.folder / "in.csv").read_bytes() == before


@pytest.mark.parametrize("given", [".", "*", "**/*"])
def test_parts_are_no_input(label: Any, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    write_input(label)
    interrupted(label, monkeypatch)
    rows = label(given, out="out.csv", restart=True)
    assert [int(row["id"]) for row in rows] == list(range(ROWS))


def test_a_link_in_place_of_the_folder_of_parts_is_refused_at_the_start(label: Any) -> None:
    write_input(label)
    (label.folder / "elsewhere").mkdir()
    (label.folder / ".out.csv.parts").symlink_to(label.folder / "elsewhere")
    with pytest.raises(HeadwayError, match=r"\.out\.csv\.parts: is a symbolic link"):
        label("in.csv", out="out.csv")
    assert not list((label.folder / "elsewhere").iterdir())


def test_long_values_beside_the_texts_count_towards_the_size_of_a_part(label: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "CHARACTERS_PER_PART", 1_000)
    rows = [{"text": "fine", "more": more} for more in ("x" * 1_000, ["y"] * 400, 1)]
    label.write("in.jsonl", "\n".join(map(json.dumps, rows)))
    written: list[int] = []
    write = parts.Parts.write
    monkeypatch.setattr(parts.Parts, "write", lambda self, index, *more: (written.append(index), write(self, index, *more)))
    assert len(label("in.jsonl", out="out.jsonl")) == 3
    assert written == [0, 1, 2]
