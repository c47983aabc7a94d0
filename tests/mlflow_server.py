"""A real MLflow server for tests, started with a documented command on a free port."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

BIN = Path(sys.executable).parent
SECONDS = 120.0
PAGE = Path(__file__).parents[1] / "docs" / "howto" / "share.md"


def documented_command(backend: str) -> list[str]:
    """The words of the page's ``mlflow server`` command whose database has this scheme: ``sqlite`` or ``postgresql``."""
    text = PAGE.read_text().replace("\\\n", " ")
    (command,) = re.findall(rf"^\$ (mlflow server .*--backend-store-uri {backend}\S*.*)$", text, re.MULTILINE)
    return shlex.split(command)


@contextmanager
def mlflow_server(
    folder: Path, backend: str = "", variables: Mapping[str, str] | None = None, *further: str
) -> Iterator[str]:
    """Run the documented command with its files below a folder; yields the server's URL.

    Args:
        folder: holds the SQLite database, the artifacts and the log.
        backend: URI of the Postgres database; by default a SQLite file in the folder.
        variables: further environment variables of the server.
        further: further options.
    """
    port = free_port()
    words = documented_command("postgresql" if backend else "sqlite")
    values = {
        "--backend-store-uri": backend or f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination": str(folder / "artifacts"),
        "--host": "127.0.0.1",
        "--port": str(port),
    }
    for option, value in values.items():
        words[words.index(option) + 1] = value
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    path = f"{BIN}{os.pathsep}{kept['PATH']}"
    # With one worker and without jobs it starts in a third of the time.
    quick = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*words, "--workers", "1", *further],
            cwd=folder,
            env={**kept, "PATH": path, **quick, **(variables or {})},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(url, process, folder / "server.log")
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if requests.get(f"{url}/health", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    pytest.fail(f"no MLflow server at {url}:\n{log.read_text(errors='replace')[-3000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
