"""Prefect servers that Headway starts: their database survives a kill at its creation, and several run side by side."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import requests

from flows import local_server
from headway.errors import HeadwayError
from tests.e2e.conftest import free_port, wait_for

pytestmark = pytest.mark.e2e

# Starts the server of a flow, and is killed.
FLOW = """
import sys, time
from pathlib import Path
from flows import local_server
with local_server.embedded(Path(sys.argv[1])):
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server ends a second after its parent")
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0])
def test_a_kill_while_the_database_is_first_created_breaks_nothing(repository: Path, tmp_path: Path, seconds: float) -> None:
    home = tmp_path / "prefect"
    flow = subprocess.Popen([sys.executable, "-c", FLOW, str(home)], cwd=repository)
    try:
        wait_for(lambda: (home / "prefect.db").exists(), 120, "the new database")
        time.sleep(seconds)
    finally:
        flow.kill()
        flow.wait(30)
    wait_for(lambda: not writers(home), 20, "the server and its migration to end")
    with local_server.embedded(home) as address:
        answer = requests.post(f"{address.url}/flows/filter", json={}, auth=tuple(address.auth.split(":")), timeout=20)
        assert answer.json() == []


def writers(home: Path) -> list[psutil.Process]:
    """The processes that have a file in the folder open."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(Path(file.path).is_relative_to(home) for file in process.open_files()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_the_servers_of_two_projects_run_side_by_side(tmp_path: Path) -> None:
    with local_server.embedded(tmp_path / "one") as one, local_server.embedded(tmp_path / "two") as two:
        for address, other in ((one, two), (two, one)):
            url = f"{address.url}/admin/version"
            assert requests.get(url, auth=tuple(address.auth.split(":")), timeout=20).status_code == 200
            assert requests.get(url, auth=tuple(other.auth.split(":")), timeout=20).status_code == 401


def test_a_second_standing_server_is_refused_in_the_same_project_and_on_the_same_port(
    prefect_home: Path, tmp_path: Path
) -> None:
    shutil.copytree(prefect_home, tmp_path / "one")
    with local_server.standing(tmp_path / "one", free_port()) as (address, _):
        with (
            pytest.raises(HeadwayError, match=f"running already at {address.page}"),
            local_server.standing(tmp_path / "one", free_port()),
        ):
            pass
        with (
            pytest.raises(HeadwayError, match=r"^--port \d+: cannot be used \(.*in use\); choose another one$"),
            local_server.standing(tmp_path / "two", int(address.page.rpartition(":")[2])),
        ):
            pass
