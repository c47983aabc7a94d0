"""Postgres, an object store, MLflow over HTTP, two clones of one project, and services that follow its champion."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import s3fs

from benchmarks.kills.projects import TINY, UNUSED, commit_all
from benchmarks.serve.load import HOST
from benchmarks.serve.servers import answers, end, free_port
from benchmarks.shipped import PROJECT
from flows import local_server
from tests.e2e.conftest import Clone, git, new_clone
from tests.mlflow_server import mlflow_server
from tests.postgres import PASSWORD, postgres
from tests.s3 import KEYS

ARTIFACTS, LOG = "artifacts", "s3://log/answers"
#: Seconds between two looks of a service for another champion.
CHECK_SECONDS = 2
#: Seconds that a server may take to start, and a command to end.
SECONDS_TO_START, PATIENCE = 180.0, 900.0
#: Changes of params.yaml beside those of the benchmark of kills.
SMALL = {"  trials: 4": "  trials: 2", "    folder: log": f"    folder: {LOG}"}


@dataclass(frozen=True)
class Backend:
    """What all machines of the team share.

    Attributes:
        variables: by which commands find it.
        bucket: the object store.
    """

    variables: dict[str, str]
    bucket: s3fs.S3FileSystem


@contextmanager
def backend(folder: Path) -> Iterator[Backend]:
    """Postgres, the object store and MLflow, which end with the block."""
    with ExitStack() as stack:
        store = stack.enter_context(object_store(folder))
        keys = {**KEYS, "AWS_ENDPOINT_URL": store, "MLFLOW_S3_ENDPOINT_URL": store, "no_proxy": "*"}
        bucket = s3fs.S3FileSystem(
            key=KEYS["AWS_ACCESS_KEY_ID"], secret=KEYS["AWS_SECRET_ACCESS_KEY"], endpoint_url=store, skip_instance_cache=True
        )
        for name in (ARTIFACTS, "log"):
            bucket.mkdir(name)
        database = stack.enter_context(postgres()).url
        destination = ("--artifacts-destination", f"s3://{ARTIFACTS}/mlflow")
        url = stack.enter_context(mlflow_server(folder / "mlflow", database, {"PGPASSWORD": PASSWORD, **keys}, *destination))
        yield Backend({**keys, "MLFLOW_TRACKING_URI": url}, bucket)


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """The URL of an empty S3 store in a process of its own."""
    port = free_port()
    with (folder / "store.log").open("wb") as log:
        command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_it_answers(process, port, "/", folder / "store.log")
            yield f"http://{HOST}:{port}"
        finally:
            end(process)


def clones(folder: Path, shared: Backend) -> tuple[Clone, Clone]:
    """Two clones of one project, as on two machines."""
    prefect = folder / "prefect"
    with local_server.embedded(prefect):
        pass
    first = new_clone(PROJECT, folder / "first", prefect)
    first.edit(*TINY.items())
    first.edit(*SMALL.items())
    git(first.root, "rm", "-r", "--quiet", *UNUSED)
    commit_all(first, "A small project")
    git(folder, "clone", "--quiet", str(first.root), "second")
    second = Clone(folder / "second")
    subprocess.run(["cp", "-r", str(prefect), str(second.root / ".headway-prefect")], check=True)
    for clone in (first, second):
        clone.environment |= shared.variables
    second.environment["PREFECT_HOME"] = str(second.root / ".headway-prefect")
    return first, second


@contextmanager
def services(clone: Clone, number: int, folder: Path) -> Iterator[list[int]]:
    """The ports of services that follow the champion, each ended by SIGTERM with the block, so that it writes its log."""
    ports, running = [free_port() for _ in range(number)], []
    try:
        for port in ports:
            options = ("--port", str(port), "--check-seconds", str(CHECK_SECONDS), "--threads", "1")
            running.append(clone.start("headway", "serve", *options, log=folder / f"service-{port}.log"))
        for port, process in zip(ports, running, strict=True):
            _wait_until_it_answers(process, port, "/readyz", folder / f"service-{port}.log")
        yield ports
    finally:
        for process in running:
            process.terminate()
        for process in running:
            end(process)


def run_to_its_end(clone: Clone, words: Sequence[str], log: Path) -> tuple[int, str]:
    """Exit status and output of a command."""
    process = clone.start(*words, log=log)
    try:
        status = process.wait(PATIENCE)
    finally:
        end(process)
    return status, log.read_text(encoding="utf-8", errors="replace")


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    limit = time.monotonic() + SECONDS_TO_START
    while not answers(port, path):
        if process.poll() is not None or time.monotonic() > limit:
            sys.exit(f"no server on port {port}:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.2)
