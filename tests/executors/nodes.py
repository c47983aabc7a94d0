"""A Ray cluster of three nodes on loopback, each started by ``ray start`` in processes of its own, with token authentication.

``ray stop`` would end other people's clusters, so each node runs in a process group of its own, which is killed as a whole.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from headway.process import die_with_parent

SECONDS_TO_START = 120.0


@dataclass
class Cluster:
    """A head and its workers.

    Attributes:
        address: of the head, ``host:port``.
        environment: of a process that may connect: it has the token.
        nodes: by name; each is the ``ray start --block`` of a node.
    """

    address: str
    folder: Path
    environment: dict[str, str]
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(
        self, name: str, cpus: int = 1, environment: Mapping[str, str] | None = None, python: str = sys.executable
    ) -> None:
        """Start a node, and wait until the cluster has it. The first one is the head."""
        command = [python, "-m", "ray.scripts.scripts", "start", "--block", "--node-name", name, "--num-cpus", str(cpus)]
        command += ["--node-ip-address", "127.0.0.1", "--object-store-memory", str(100 * 2**20), "--disable-usage-stats"]
        command += ["--include-log-monitor", "false"]
        if self.nodes:
            command += ["--address", self.address]
        else:
            command += ["--head", "--port", self.address.rpartition(":")[2], "--include-dashboard", "false"]
            command += ["--temp-dir", str(self.folder)]
        log = self.folder.with_suffix(f".{name}.log")
        with log.open("wb") as output:
            self.nodes[name] = subprocess.Popen(
                command,
                env={**self.environment, **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent,  # with its own processes, which Ray ends with it
            )
        end = time.monotonic() + SECONDS_TO_START
        while b"Ray runtime started" not in log.read_bytes():
            assert self.nodes[name].poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)

    def kill(self, name: str) -> None:
        """End a node as a loss of power would: all of its processes at once."""
        node = self.nodes.pop(name)
        family = [node, *psutil.Process(node.pid).children(recursive=True)] if node.poll() is None else []
        with_group = [process for process in psutil.process_iter() if _group(process.pid) in {node.pid}]
        for process in {process.pid for process in (*family, *with_group)}:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        node.wait()

    def run(self, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a Python program that may connect."""
        command = [sys.executable, "-c", program, *arguments]
        env = {**self.environment, **environment}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
        return port


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment, without what it sets for Ray clusters of its own, or for a training of several processes."""
    of_others = ("RAY_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_", "NODE_RANK")
    return {name: value for name, value in os.environ.items() if not name.startswith(of_others)} | more


@contextmanager
def cluster(*workers: str, head_cpus: int = 1, **more: str) -> Iterator[Cluster]:
    """A running cluster of a head, ``head``, and some workers, with one CPU each."""
    parent = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))  # the path of a socket must be short
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    environment = clean_environment(PYTHONPATH=str(Path(__file__).parents[2]), **token, **more)
    made = Cluster(f"127.0.0.1:{free_port()}", parent / "ray", environment)
    try:
        made.start("head", head_cpus)
        for name in workers:
            made.start(name)
        yield made
    finally:
        for name in list(made.nodes):
            made.kill(name)
        shutil.rmtree(parent, ignore_errors=True)
