"""What the machine lacks is found before a run fails by it."""

from __future__ import annotations

import shutil
import socket
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway.doctor import machine
from headway.doctor.check import FAULT, OK, WARNING, Check
from headway.doctor.limits import Limits
from headway.params import Params

Usage = namedtuple("Usage", "total used free")
GB = 10**9


def the(checks: Iterator[Check]) -> Check:
    (found,) = checks
    return found


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 1), FAULT), ((3, 11, 0), OK), ((3, 13, 9), OK), ((3, 14, 0), FAULT)]
)
def test_python_has_to_be_a_supported_one(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], state: str) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    found = the(machine.check_python())
    assert found.state == state
    assert bool(found.remedy) == (state == FAULT)


@pytest.mark.parametrize(("free", "state"), [(GB // 10, FAULT), (GB, WARNING), (9 * GB, OK)])
def test_little_space_is_a_warning_and_too_little_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(9 * GB, 0, free if folder == tmp_path else 9 * GB))
    project, temporary = machine.check_disk(tmp_path)
    assert (project.name, project.state) == ("disk", state)
    assert ("headway gc" in project.remedy) == (state != OK)
    assert temporary.state == OK


@pytest.mark.parametrize(("free", "state"), [(GB // 5, FAULT), (GB, WARNING), (3 * GB, OK)])
def test_little_memory_is_a_warning_and_too_little_a_fault(free: int, state: str) -> None:
    found = the(machine.check_memory(Limits(2, free, contained=True)))
    assert found.state == state
    assert "in this container" in found.found


def test_more_threads_than_cores_are_a_warning(params: Params) -> None:
    two = params.override({"training.threads": 2, "tune.executor": "serial"})
    assert the(machine.check_threads(two, Limits(2, GB, contained=False))).state == OK
    found = the(machine.check_threads(two, Limits(1.5, GB, contained=True)))
    assert found.state == WARNING
    assert "this container has 1.5 cores, params.yaml asks for 2 (training.threads)" in found.found
    assert "lower training.threads to 1" in found.remedy
    trials = two.override({"tune.executor": "processes", "tune.workers": 3})
    assert "asks for 6 (training.threads × tune.workers)" in the(machine.check_threads(trials, Limits(4, GB, False))).found
    ddp = two.override({"training.devices": 2, "training.accelerator": "cpu"})
    assert "asks for 4 (training.threads × training.devices)" in the(machine.check_threads(ddp, Limits(3, GB, False))).found


def test_cores_are_shown_without_params() -> None:
    assert the(machine.check_threads(None, Limits(2, GB, contained=False))).state == OK


def test_a_port_that_another_program_has_is_named_with_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free.bind(("127.0.0.1", 0))
        ports = taken.getsockname()[1], free.getsockname()[1]
        free.close()
        monkeypatch.setattr(machine, "PORTS", ((ports[0], "headway serve", "use --port"), (ports[1], "headway ui", "")))
        # This very process listens, and is none of Headway's.
        monkeypatch.setattr(machine.psutil.Process, "cmdline", lambda self: ["python", "-m", "other"])
        first, second = machine.check_ports()
        assert (first.state, first.remedy) == (WARNING, "use --port")
        assert "process" in first.found
        assert second.state == OK
        monkeypatch.setattr(machine.psutil.Process, "cmdline", lambda self: ["python", "/venv/bin/headway", "serve"])
        assert next(machine.check_ports()).state == OK


@pytest.mark.parametrize(
    ("command", "is_ours"),
    [
        ("/venv/bin/headway serve", True),
        ("/home/me/headway/.venv/bin/python /home/me/headway/.venv/bin/headway serve", True),
        ("python -m headway.cli serve", True),
        ("python -m headway", True),
        ("python -m flows.server_process --socket 3", True),
        ("/home/me/headway/.venv/bin/python -m http.server 8000", False),
        ("/home/me/headway/.venv/bin/jupyter lab", False),
        ("python app.py --folder /home/me/headway", False),
        ("python -m headwayfinder", False),
        ("", False),
    ],
)
def test_a_program_in_a_folder_named_headway_is_none_of_headways(command: str, is_ours: bool) -> None:
    assert machine._is_ours(command.split()) == is_ours
