"""Worker processes and a Ray cluster write the same bytes as one process, also if workers are killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headway.cli.predict import predict
from headway.errors import HeadwayError, Unreachable
from headway.serving import batch
from headway.serving.batch import Workers, parts
from headway.serving.batch.work import PackageCopy, classify, package_in
from tests.serving.batch import deadly
from tests.serving.conftest import TEXTS

ROWS = 43
ENGINES = [Workers(2), Workers(2, "ray")]

#: Starts a cluster with three CPUs, prints its address, and ends with its standard input.
CLUSTER = """
import sys
import ray
ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "ROWS_PER_PART", 5)


@pytest.fixture
def deaths(label: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each worker that row 12 is to kill."""
    monkeypatch.setattr(batch, "classify", deadly.classify)
    file: Path = label.folder / "deaths"
    file.write_text("")
    rows = [f"die {file}" if row == 12 else f"{TEXTS[row % 5]} {row}" for row in range(ROWS)]
    label.write("in.csv", "id,text\n" + "".join(f"{row},{text.replace(',', ' ')}\n" for row, text in enumerate(rows)))
    return file


@pytest.fixture(scope="module")
def outside() -> dict[str, str]:
    """Environment of a process that shares a cluster: without what this process sets for clusters of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"RAY_AUTH_MODE": "disabled"}


@pytest.fixture(scope="module")
def cluster(outside: dict[str, str]) -> Iterator[str]:
    """The address of a cluster that another process started."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder,  # the path of a socket must be short
        subprocess.Popen(
            [sys.executable, "-c", CLUSTER, folder], env=outside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout
        yield process.stdout.readline().strip()
        process.communicate()


@pytest.mark.parametrize("workers", ENGINES, ids=["processes", "ray"])
def test_the_part_of_a_killed_worker_is_classified_again(label: Any, deaths: Path, workers: Workers) -> None:
    label("in.csv", out="whole.csv")
    deaths.write_text("once\n" * (batch.ATTEMPTS - 1))
    label("in.csv", out="out.csv", workers=workers)
    assert deaths.read_text() == ""
    assert (label.folder / "out.csv").read_bytes() == (label.folder / "whole.csv").read_bytes()
    assert label.counts.rows == ROWS


@pytest.mark.parametrize("workers", ENGINES, ids=["processes", "ray"])
def test_a_part_that_kills_every_worker_ends_the_job_which_goes_on_with_another_executor(
    label: Any, deaths: Path, monkeypatch: pytest.MonkeyPatch, workers: Workers
) -> None:
    label("in.csv", out="whole.csv")
    deaths.write_text("once\n" * 99)
    with pytest.raises(HeadwayError, match=rf"part 2 was lost {batch.ATTEMPTS} times: .*run again to continue"):
        label("in.csv", out="out.csv", workers=workers)
    assert len(deaths.read_text().splitlines()) == 99 - batch.ATTEMPTS
    finished = len(list((label.folder / ".out.csv.parts").glob("*.part")))
    assert finished
    deaths.write_text("")
    written: list[int] = []
    write = parts.Parts.write
    monkeypatch.setattr(parts.Parts, "write", lambda self, index, *more: (written.append(index), write(self, index, *more)))
    label("in.csv", out="out.csv", workers=next(other for other in ENGINES if other != workers))
    assert len(written) == -(-ROWS // 5) - finished
    assert (label.folder / "out.csv").read_bytes() == (label.folder / "whole.csv").read_bytes()


def test_the_command_writes_the_same_bytes_on_a_running_cluster(
    label: Any, saved: Path, cluster: str, outside: dict[str, str]
) -> None:
    label.write("in.csv", "id,text\n" + "".join(f"{row},fine {row}\n" for row in range(ROWS)))
    shutil.copytree(saved, label.layout.candidate)
    for name, more in (("whole", []), ("out", ["--executor", "ray", "--address", cluster])):
        arguments = [f"{label.folder}/in.csv", "--out", f"{label.folder}/{name}.csv", "--candidate", *more]
        command = [sys.executable, "-m", "headway.cli", "predict", *arguments]
        subprocess.run(command, cwd=label.layout.root, env=outside, check=True, timeout=300)
    assert (label.folder / "out.csv").read_bytes() == (label.folder / "whole.csv").read_bytes()


def test_a_running_cluster_has_one_worker_per_cpu_unless_a_number_is_given(cluster: str, outside: dict[str, str]) -> None:
    program = """
import sys
from headway.executors import open_executor
for workers in (0, 1):
    with open_executor("ray", print, None, workers=workers, address=sys.argv[1]) as executor:
        print(executor.workers)
"""
    command = [sys.executable, "-c", program, cluster]
    done = subprocess.run(command, env=outside, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["3", "1"]


def test_a_package_in_memory_answers_like_its_folder_which_may_be_gone(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    shutil.copytree(saved, folder)
    copy = PackageCopy.of(folder)
    expected, _ = classify(folder, TEXTS, None)
    shutil.rmtree(folder)
    found, reasons = classify(copy, TEXTS, None)
    assert np.array_equal(found, expected)
    assert not any(reasons)
    assert package_in(PackageCopy(copy.fingerprint, {})) is package_in(copy)  # it is loaded once


def test_a_damaged_copy_of_a_package_is_refused(saved: Path) -> None:
    copy = PackageCopy.of(saved)
    files = {name: content[:-1] if name.endswith(".safetensors") else content for name, content in copy.files.items()}
    with pytest.raises(HeadwayError, match="SHA-256"):
        PackageCopy(copy.fingerprint, files).load()


def test_messages_about_a_cluster_name_the_options_of_the_command(label: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    label.write("in.csv", "id,text\n1,fine\n")
    with pytest.raises(Unreachable, match=r"^--address: .* does not answer"):
        label("in.csv", out="out.csv", workers=Workers(2, "ray", "127.0.0.1:9"))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(HeadwayError, match=r"^--executor: Ray is not installed .*choose processes"):
        label("in.csv", out="out.csv", workers=Workers(2, "ray"))


class OfAnotherVersion:
    """Can be pickled here, and cannot be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, ("headway.module_of_another_version",)


def test_a_machine_of_the_cluster_without_this_version_of_headway_is_one_line(
    label: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PackageCopy, "of", lambda _: OfAnotherVersion())
    label.write("in.csv", "id,text\n1,fine\n")
    with pytest.raises(HeadwayError, match=r"^--address: .* cannot load .*module_of_another.*; install this version"):
        label("in.csv", out="out.csv", workers=Workers(1, "ray"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": ["in.csv"], "address": "head:6379"}, "--address is for a Ray cluster; add --executor ray"),
        ({"text": ["fine"], "executor": "ray"}, "--executor is for files"),
        ({"text": ["fine"], "address": "head:6379"}, "--address is for files"),
    ],
)
def test_options_of_ray_that_do_not_fit_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HeadwayError, match=f"^{message}"):
        predict(**options)
