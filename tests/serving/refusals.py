"""What refusing model packages costs, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PROGRAM = """
import json, resource, sys, time
from pathlib import Path
from headway.errors import HeadwayError
from headway.serving.package import ModelPackage

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

allowed = int(sys.argv[1])
good, *folders = map(Path, sys.argv[2:])
ModelPackage.load(good).predict_proba(["a text"])  # starts threads, whose stacks count too
before = kilobytes("VmPeak:")
resource.setrlimit(resource.RLIMIT_AS, (1024 * (before + allowed),) * 2)
for folder in folders:
    started = time.monotonic()
    try:
        ModelPackage.load(folder)
        print(json.dumps([0, 0, "loaded"]))
    except HeadwayError as error:
        print(json.dumps([kilobytes("VmPeak:") - before, time.monotonic() - started, str(error)]), flush=True)
"""


class Refusal(NamedTuple):
    """Memory that was taken until then, in kB, the seconds of this one, and the message; "loaded" if there was none."""

    kilobytes: int
    seconds: float
    message: str


def refusals(good: Path, folders: Sequence[Path], allowed: int) -> list[Refusal]:
    """The refusal of each folder by one process, which has loaded a good package and may take so many more kB of memory."""
    command = [sys.executable, "-c", PROGRAM, str(allowed), str(good), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return [Refusal(*json.loads(line)) for line in done.stdout.splitlines()]
