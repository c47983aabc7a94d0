"""What a stage costs in a process of its own: seconds, memory, and disk."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from headway.files import bytes_of
from headway.layout import Layout

MB = 1e6
SECONDS_BETWEEN_LOOKS = 0.5
# Runs a stage in its own process. Prints its CPU seconds and those of the processes that it waited for, the kB of memory that it
# took at most, mapped files included, and those of the largest of these processes (Linux).
RUN = """
import re, resource, sys
from pathlib import Path
from headway import cli
sys.argv[0] = "headway"
try:
    cli.main()
except SystemExit as end:
    assert not end.code, end.code
own = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(*(one.ru_utime + one.ru_stime for one in used), own, used[1].ru_maxrss)
"""


@dataclass(frozen=True)
class Cost:
    """What a stage took.

    Attributes:
        seconds: from the start of its process to its end.
        cpu: seconds that it computed itself, on all cores together.
        worker_cpu: seconds that the processes computed that it started and waited for.
        memory: MB in the stage's own process at most, mapped files included.
        worker_memory: MB in the largest of those processes.
        disk: MB that are more in the project's folder at the end than at the beginning.
        peak_disk: MB that were more in it meanwhile, at most.
    """

    seconds: float
    cpu: float
    worker_cpu: float
    memory: float
    worker_memory: float
    disk: float
    peak_disk: float


class Disk(threading.Thread):
    """Looks at the size of a folder again and again while the block runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._end = threading.Event()
        self.before = self.after = self.most = bytes_of(folder)

    def run(self) -> None:
        while not self._end.wait(SECONDS_BETWEEN_LOOKS):
            self.most = max(self.most, size_of(self._folder))

    def __enter__(self) -> Disk:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self.join()
        self.after = bytes_of(self._folder)
        self.most = max(self.most, self.after)


def size_of(folder: Path) -> int:
    """The bytes of the files in a folder, which may come and go meanwhile."""
    while True:
        try:
            return bytes_of(folder)
        except FileNotFoundError:
            continue


def measure(command: str, layout: Layout) -> Cost:
    """The cost of a command of headway, such as ``prepare --workers 2``."""
    with Disk(layout.root) as disk:
        started = time.monotonic()
        printed = run_python(RUN, layout, *command.split())
        seconds = time.monotonic() - started
    cpu, worker_cpu, *kilobytes = printed.split()[-4:]
    own, workers = (int(value) * 1024 / MB for value in kilobytes)
    return Cost(
        seconds, float(cpu), float(worker_cpu), own, workers, (disk.after - disk.before) / MB, (disk.most - disk.before) / MB
    )


def run_python(code: str, layout: Layout, *arguments: str) -> str:
    """What code prints in a process of its own in the project's folder."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=layout.root, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed: {done.stderr[-2000:]}")
    return done.stdout
