"""The connection to a Ray cluster: a running one at an address, or one on this machine that ends with the block."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import cloudpickle
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from headway.errors import HeadwayError, Unreachable, first_line
from headway.executors import OptionNames, versions

#: Where Ray keeps its logs and sockets. The path of a socket must be short, so the project's own folder will not do.
#: The name of each folder continues with the id of the process that made it.
TEMPORARY, PREFIX = Path("/tmp"), "headway-ray-"
SECONDS_TO_CONNECT = 10.0
#: In what Ray prints or raises about a token.
OF_A_TOKEN = re.compile(r"InvalidAuthToken|no authentication token|AuthenticationError", re.IGNORECASE)
#: How long a node may take to start a process that says its versions.
SECONDS_TO_ANSWER = 120.0
#: In the message of Ray when this process and the head of the cluster have other versions.
OF_VERSIONS = re.compile(r"Version mismatch: .*?Ray: (\S+)\s+Python: (\S+).*?Ray: (\S+)\s+Python: (\S+)", re.DOTALL)


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, or one of several nodes on one machine.

    Attributes:
        name: that of ``ray start --node-name``, or its address.
    """

    id: str
    name: str
    cpus: int
    gpus: int


@contextmanager
def connected(address: str, cpus: int, names: OptionNames) -> Iterator[None]:
    """Connect to the cluster at an address, or start one with some CPUs on this machine, which ends with the block.

    Raises:
        Unreachable: no cluster answers at the address, or it refuses this process.
        HeadwayError: the address is malformed, or a node has other versions than this machine.
    """
    remove_abandoned_folders()
    prefix = f"{PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=TEMPORARY, ignore_cleanup_errors=True) as folder:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not address:
            options |= {"num_cpus": cpus, "include_dashboard": False, "_temp_dir": folder}
        if address not in ("", "auto"):
            check_reachable(address, names)
        with captured_errors() as printed:
            try:
                ray.init(address=address or "local", **options)
            except (OSError, RuntimeError, ValueError, RayError) as error:
                raise _refused(error, printed(), address, names) from None
        try:
            if address:
                check_versions(names)
            yield
        finally:
            ray.shutdown()


def check_reachable(address: str, names: OptionNames) -> None:
    """Connect once. Ray itself would wait for minutes, and would report a cluster that requires a token as unreachable."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 2**16:
        raise HeadwayError(
            f"{names.address}: {address!r} is not the address of a Ray cluster; expected host:6379 or ray://host:10001"
        )
    if address.startswith("ray://") and find_spec("grpc") is None:
        raise HeadwayError(
            f"{names.address}: {address!r} is for Ray's client, which needs the package grpcio here and on the head; "
            "install it with `pip install 'ray[client]'`, or run on a machine of the cluster with host:6379"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"{names.address}: the Ray cluster does not answer ({error}); start it, and run again") from None


def check_versions(names: OptionNames) -> None:
    """Ask every node for its versions, before there is any work.

    Raises:
        HeadwayError: one of them differs from this machine's.
        Unreachable: a node does not answer.
    """
    own = versions.versions()
    cloudpickle.register_pickle_by_value(versions)
    try:
        asked: dict[Any, Node] = {}
        for node in nodes():
            there = NodeAffinitySchedulingStrategy(node.id, soft=False)
            ask: Any = ray.remote(versions.versions)
            asked[ask.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()] = node
    finally:
        cloudpickle.unregister_pickle_by_value(versions)
    for reference, node in asked.items():
        try:
            found = ray.get(reference, timeout=SECONDS_TO_ANSWER)
        except RayError as error:
            if all(one.id != node.id for one in nodes()):
                continue  # it died, which Ray had not noticed when it listed the nodes
            raise Unreachable(
                f"{names.address}: node {node.name} of the Ray cluster runs no task ({first_line(error)}); repair or remove it, "
                "and run again"
            ) from None
        for name, version in own.items():
            if found.get(name) != version:
                there_is = f"{name} {found[name]}" if found.get(name) else f"no {name}"
                raise HeadwayError(
                    f"{names.address}: node {node.name} of the Ray cluster has {there_is}, and this machine has {name} "
                    f"{version}; install the same versions on all machines"
                )


def nodes() -> list[Node]:
    """The nodes of the cluster that are alive."""
    return [
        Node(
            node["NodeID"],
            node.get("NodeName") or node["NodeManagerAddress"],
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def remove_abandoned_folders() -> None:
    """Remove the folders of processes that were killed before they could remove them."""
    for folder in TEMPORARY.glob(f"{PREFIX}*-*"):
        process = folder.name.removeprefix(PREFIX).partition("-")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(folder, ignore_errors=True)  # the folder of another user stays


def _refused(error: Exception, printed: str, address: str, names: OptionNames) -> HeadwayError:
    """Why Ray did not start, or did not let this process in, and what to do."""
    if not address:
        return Unreachable(f"{names.engine}: Ray does not start on this machine ({first_line(error)}); run again")
    if found := OF_VERSIONS.search(str(error)):
        theirs, ours = (f"Ray {ray} on Python {python}" for ray, python in (found.groups()[:2], found.groups()[2:]))
        return HeadwayError(
            f"{names.address}: the Ray cluster has {theirs}, and this machine has {ours}; install the same versions on all "
            "machines"
        )
    if OF_A_TOKEN.search(f"{error} {printed}"):
        is_set = os.environ.get("RAY_AUTH_MODE") == "token"
        what = "correct" if is_set else "set RAY_AUTH_MODE=token in the environment, and put"
        return Unreachable(
            f"{names.address}: the Ray cluster requires a token, and this process has no valid one; {what} the token in "
            "RAY_AUTH_TOKEN or ~/.ray/auth_token, then run again"
        )
    return Unreachable(
        f"{names.address}: the Ray cluster does not accept this process ({first_line(error)}); run it on a machine of the cluster"
    )


@contextmanager
def captured_errors() -> Iterator[Callable[[], str]]:
    """What is printed to standard error within the block, also by libraries in C++, which is not shown.

    Ray prints a line for each attempt to connect, and only there says that a token is wrong.
    """
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)

        def printed() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield printed
        finally:
            os.dup2(shown, 2)
            os.close(shown)
