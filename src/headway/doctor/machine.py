"""Checks of the machine: Python, the disk, memory, threads and ports."""

from __future__ import annotations

import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil

from headway.doctor import limits
from headway.doctor.check import FAULT, OK, WARNING, Check
from headway.params import Params
from headway.preflight import MIN_FREE

PYTHONS = ((3, 11), (3, 13))
GB = 10**9
#: Free bytes of the disk below which a second or third run may not fit. A run on 25,000 reviews writes about 400 MB.
LITTLE_DISK = 2 * GB
#: Bytes of memory that importing the libraries takes, and that training on 25,000 reviews takes.
MIN_MEMORY, LITTLE_MEMORY = GB // 2, 2 * GB
#: Default ports, what listens there, and what to do if another program has the port; "" if a free one is taken instead.
PORTS = (
    (8000, "headway serve", "choose another one with `headway serve --port`"),
    (5000, "headway ui", "choose another one with `headway ui --port`"),
    (4200, "headway schedule", ""),
)


def check_python() -> Iterator[Check]:
    """The version of Python, and whether it is that of a virtual environment."""
    version = ".".join(map(str, sys.version_info[:3]))
    lowest, highest = (".".join(map(str, one)) for one in PYTHONS)
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        remedy = f"install Python {lowest} to {highest} and name it: `make PYTHON=/path/to/python{lowest} run`"
        yield Check("python", FAULT, f"{version}; Headway needs {lowest} to {highest}", remedy)
        return
    yield Check("python", OK, f"{version} ({platform.machine()}) in {sys.prefix}")


def check_disk(root: Path) -> Iterator[Check]:
    """Free space where the project is, and for temporary files."""
    folders = {"disk": root, "temporary files": Path(tempfile.gettempdir())}
    for name, folder in folders.items():
        free = shutil.disk_usage(folder).free
        found = f"{free / GB:,.1f} GB free on the disk of {folder}"
        if free < MIN_FREE:
            needed = f"{found}, at least {MIN_FREE / 1e6:,.0f} MB are needed"
            yield Check(name, FAULT, needed, _space_remedy(name))
        elif name == "disk" and free < LITTLE_DISK:
            yield Check(name, WARNING, found, _space_remedy(name))
        else:
            yield Check(name, OK, found)


def _space_remedy(name: str) -> str:
    return "free some space; `headway gc` lists what it can remove" if name == "disk" else "free some space, or set TMPDIR"


def check_memory(found: limits.Limits | None = None) -> Iterator[Check]:
    """Memory that can still be taken, here or in this container; ``found`` is what this process may use, by default looked up."""
    found = found or limits.read()
    words = f"{found.available / GB:,.1f} GB available{' in this container' if found.contained else ''}"
    remedy = "end other programs, or give this machine or container more memory"
    if found.available < MIN_MEMORY:
        yield Check("memory", FAULT, f"{words}, the libraries alone need {MIN_MEMORY / GB:g} GB", remedy)
    elif found.available < LITTLE_MEMORY:
        yield Check("memory", WARNING, f"{words}, training on 25,000 reviews needs {LITTLE_MEMORY / GB:g} GB", remedy)
    else:
        yield Check("memory", OK, words)


def check_threads(params: Params | None, found: limits.Limits | None = None) -> Iterator[Check]:
    """Threads that params.yaml asks for against the cores that this process may use; ``found`` as above."""
    found = found or limits.read()
    cores = f"{found.cores:g} {'core' if found.cores == 1 else 'cores'}"
    where = f"this {'container' if found.contained else 'machine'} has {cores}"
    if params is None:
        yield Check("threads", OK, where)
        return
    training, tune = params.training, params.tune
    trials = tune.workers if tune.executor == "processes" else 1
    elsewhere = training.strategy == "ray" and training.address  # on the cluster that is named
    devices = 1 if training.accelerator == "gpu" or elsewhere else training.devices
    wanted = training.threads * max(trials, devices)
    if wanted <= found.cores:
        yield Check("threads", OK, f"{where}, params.yaml asks for {wanted}")
        return
    asked = "training.threads" + (" × tune.workers" if trials > devices else " × training.devices" if devices > 1 else "")
    yield Check(
        "threads",
        WARNING,
        f"{where}, params.yaml asks for {wanted} ({asked}), so that training is slow",
        f"lower {asked} to {max(1, int(found.cores))} or allow more cores; another number gives slightly other results",
    )


def check_ports() -> Iterator[Check]:
    """Whether the default ports are free, or who has them."""
    for port, command, remedy in PORTS:
        name = f"port {port}"
        if _is_free(port):
            yield Check(name, OK, f"free, for `{command}`")
            continue
        owner, is_ours = _listener(port)
        if is_ours:
            yield Check(name, OK, f"in use by {owner}")
        elif remedy:
            yield Check(name, WARNING, f"in use by {owner}, so that `{command}` cannot take it", remedy)
        else:
            yield Check(name, OK, f"in use by {owner}; `{command}` takes a free one instead")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _listener(port: int) -> tuple[str, bool]:
    """The process that listens at a port, in words, and whether it is one of Headway's."""
    try:
        found = [one for one in psutil.net_connections("tcp") if one.laddr and one.laddr[1] == port and one.pid]
        process = next(psutil.Process(one.pid) for one in found if one.status == psutil.CONN_LISTEN)
        return f"{process.name()} (process {process.pid})", _is_ours(process.cmdline())
    except (psutil.Error, StopIteration, OSError):  # macOS shows other users' processes to root alone
        return "another program", False


def _is_ours(command: list[str]) -> bool:
    """Whether a command line is one of Headway's; a folder of that name, such as a clone's, says nothing."""
    modules = [module for option, module in pairwise(command) if option == "-m"]
    program = any(Path(one).name == "headway" for one in command[:2])  # itself, or after the Python that runs it
    return program or any(one.partition(".")[0] == "headway" or one == "flows.server_process" for one in modules)
