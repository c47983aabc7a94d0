"""Processes that were started elsewhere train one model, as two machines do: without a shared folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import distributed

from headway.errors import HeadwayError
from headway.model.launch import Launch, launched, strategy
from tests.executors.nodes import clean_environment, free_port

MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
TORCHRUN = {**MEETING, "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WORLD_SIZE": "4"}, None),  # of some other program: nobody could meet
        ({**MEETING, "WORLD_SIZE": "1", "RANK": "0"}, None),
        (TORCHRUN, Launch(3, 4, 1, 2)),
        ({**MEETING, "WORLD_SIZE": "2", "NODE_RANK": "1"}, Launch(1, 2)),
        ({**MEETING, "WORLD_SIZE": "4", "NODE_RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, Launch(3, 4, 1, 2)),
        ({**TORCHRUN, "NODE_RANK": "0"}, Launch(3, 4, 1, 2)),
    ],
)
def test_the_variables_of_torchrun_and_of_lightning_give_a_process_its_place(
    environment: dict[str, str], expected: Launch | None
) -> None:
    assert launched(environment) == expected


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"RANK": None}, "RANK"),
        ({"RANK": "-1"}, "RANK"),
        ({"MASTER_PORT": None}, "MASTER_PORT"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE"),
        ({"RANK": "4"}, "WORLD_SIZE"),
        ({"LOCAL_RANK": "2"}, "WORLD_SIZE"),
        ({"LOCAL_WORLD_SIZE": "3"}, "WORLD_SIZE"),
        ({"LOCAL_WORLD_SIZE": "0", "LOCAL_RANK": "0"}, "WORLD_SIZE"),
    ],
)
def test_variables_that_do_not_fit_are_one_line(changed: dict[str, str | None], name: str) -> None:
    environment = {key: value for key, value in {**TORCHRUN, **changed}.items() if value is not None}
    with pytest.raises(HeadwayError, match=f"^{name}: ") as caught:
        launched(environment)
    assert "\n" not in str(caught.value)


def test_only_three_or_more_processes_need_their_gradients_in_a_fixed_order() -> None:
    assert strategy(2, None) == "ddp_spawn"
    assert strategy(2, Launch(0, 2)) == "ddp"
    assert strategy(3, None) == "ddp_spawn_find_unused_parameters_true"
    assert strategy(3, Launch(0, 3)) == "ddp_find_unused_parameters_true"


class Machines:
    """Two machines with a process each: each has its own folder, and knows the other's address."""

    def __init__(self, encoded: Path, folder: Path) -> None:
        self.encoded, self.folder = encoded, folder

    def start(self, of: str, *keys: str) -> list[Any]:
        """Start a process for each of the keys, which say what the processes train."""
        port, size = str(free_port()), len(keys)
        started = []
        for rank, key in enumerate(keys):
            arguments = [self.encoded, self.folder / of / str(rank) / key, "ddp", "", size]
            command = [sys.executable, "-m", "tests.model.one_of_several", *map(str, arguments)]
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(size), "NODE_RANK": str(rank)}
            started.append(
                subprocess.Popen(
                    command,
                    env=clean_environment(**place),
                    cwd=Path(__file__).parents[2],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
        return started


@pytest.fixture
def machines(reviews: Any, tmp_path: Path) -> Machines:
    return Machines(reviews.layout.encoded, tmp_path)


def lines_of(processes: list[Any]) -> list[list[str]]:
    """What each process prints until it ends."""
    return [process.communicate(timeout=300)[0].splitlines() for process in processes]


@pytest.mark.slow
def test_two_machines_have_the_same_weights_and_resume_when_one_is_killed(machines: Machines) -> None:
    first, second = lines_of(machines.start("undisturbed", *2 * ["key"]))
    assert first[-1].startswith("weights ")
    assert second == first[-1:]  # the first one alone reports
    assert len(first) > 4
    assert not (machines.folder / "undisturbed" / "1").exists()  # nor does the second one keep anything

    running = machines.start("killed", *2 * ["key"])
    before = [running[0].stdout.readline().strip() for _ in range(2)]
    running[1].kill()
    (rest, _) = lines_of(running)
    assert [process.returncode for process in running] == [2, -9]
    assert rest[-1].startswith("headway: PeerLost: another process of the training is gone (")

    again, weights = lines_of(machines.start("killed", *2 * ["key"]))
    assert weights == first[-1:]
    assert [*before, *rest[:-1]] == first[: len(before) + len(rest) - 1]
    assert again == first[-len(again) :]
    assert len(again) < len(first)  # it resumed


@pytest.mark.slow
def test_three_machines_resume_to_the_weights_of_an_undisturbed_training(machines: Machines) -> None:
    """Sums of three gradients depend on their order, of two they do not."""
    undisturbed = lines_of(machines.start("undisturbed", *3 * ["key"]))
    running = machines.start("killed", *3 * ["key"])
    for _ in range(2):
        running[0].stdout.readline()
    running[2].kill()
    lines_of(running)
    again = lines_of(machines.start("killed", *3 * ["key"]))
    assert [lines[-1] for lines in again] == [lines[-1] for lines in undisturbed]
    assert len(again[0]) < len(undisturbed[0])


@pytest.mark.slow
def test_a_machine_with_other_inputs_is_one_line_on_it_and_ends_the_others(machines: Machines) -> None:
    first, second = lines_of(machines.start("other", "key", "another"))
    assert first[-1].startswith("headway: PeerLost: ")
    assert second[-1].startswith("headway: HeadwayError: process 1 of the training has other inputs than process 0; bring ")


def test_another_number_of_processes_than_devices_is_one_line() -> None:
    from headway.model.training import fit

    with pytest.raises(
        HeadwayError, match=r"^training\.devices: 3, but 2 processes were started \(WORLD_SIZE\); set it to 2"
    ):
        fit(None, None, devices=3, launch=Launch(0, 2))  # type: ignore[type-var, arg-type]
    assert not distributed.is_initialized()
