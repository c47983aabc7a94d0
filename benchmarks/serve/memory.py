"""Resident memory of processes, which may end while they are measured."""

from __future__ import annotations

import psutil


def resident(process: psutil.Process) -> int:
    """Bytes of one process; 0 if it has ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def megabytes(pid: int) -> float:
    """A process and all that it started, in MB; 0 if it has ended."""
    try:
        process = psutil.Process(pid)
        return sum(map(resident, (process, *process.children(recursive=True)))) / 1e6
    except psutil.NoSuchProcess:
        return 0.0
