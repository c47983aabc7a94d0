"""Cores and memory that this process may use: the machine's, or less in a container, whose limits are in Linux's cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Limits:
    """What this process may use.

    Attributes:
        cores: of its affinity, or fewer if a container's share of CPU time is smaller; not whole in that case.
        available: bytes of memory that can still be taken.
        contained: whether a container sets one of them.
    """

    cores: float
    available: int
    contained: bool


def read(root: Path = Path("/")) -> Limits:
    """The limits of this process.

    Args:
        root: of the file system with ``proc`` and ``sys``; another one in tests.
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = int(psutil.virtual_memory().available)
    groups = list(_groups(root))
    cores = min([float(own), *(quota for group in groups if (quota := _cpu_quota(group)) is not None)])
    available = min([free, *(rest for group in groups if (rest := _memory_left(group)) is not None)])
    return Limits(cores, available, cores < own or available < free)


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that this process is in: its own, and all above it, whose limits hold too."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        for top in [root / "sys/fs/cgroup", *(root / "sys/fs/cgroup" / one for one in controllers.split(",") if one)]:
            folder = top / path.lstrip("/")
            while folder.is_relative_to(top):
                yield folder
                folder = folder.parent


def _cpu_quota(group: Path) -> float | None:
    """Cores that a group may keep busy, None without a limit."""
    quota, _, period = _text(group / "cpu.max").partition(" ")  # version 2
    if not quota:
        quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")  # version 1
    used, whole = _number(quota), _number(period)
    return used / whole if used is not None and used > 0 and whole else None


def _memory_left(group: Path) -> int | None:
    """Bytes that a group may still take, None without a limit. Cached files are given up for it, so they do not count."""
    for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        most, used = _number(_text(group / limit)), _number(_text(group / usage))
        if most is not None and used is not None and most < 2**60:  # version 1 has a huge number for no limit
            facts = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines() if " " in line)
            cached = _number(facts.get("total_inactive_file", facts.get("inactive_file", "0"))) or 0
            return max(0, most - used + cached)
    return None


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:  # "max"
        return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # no such group or limit
        return ""
