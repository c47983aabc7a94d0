"""A container's limits count, wherever they are set; without them the machine's own do."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from headway.doctor import limits

GB = 10**9


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 8 cores and 16 GB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=16 * GB))


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def test_without_groups_the_machine_is_the_limit(tmp_path: Path) -> None:
    assert limits.read(tmp_path) == limits.Limits(8, 16 * GB, contained=False)


def test_a_group_without_limits_changes_nothing(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000", "sys/fs/cgroup/memory.max": "max"}
    assert limits.read(tree(tmp_path, files)) == limits.Limits(8, 16 * GB, contained=False)


def test_the_limits_of_version_2_count_and_cached_files_do_not(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/",
        "sys/fs/cgroup/cpu.max": "150000 100000",
        "sys/fs/cgroup/memory.max": str(4 * GB),
        "sys/fs/cgroup/memory.current": str(3 * GB),
        "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {GB}\nactive_file 7",
    }
    assert limits.read(tree(tmp_path, files)) == limits.Limits(1.5, 2 * GB, contained=True)


def test_a_limit_of_a_group_above_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/pod/container",
        "sys/fs/cgroup/pod/cpu.max": "200000 100000",
        "sys/fs/cgroup/pod/container/cpu.max": "400000 100000",
        "sys/fs/cgroup/pod/memory.max": str(2 * GB),
        "sys/fs/cgroup/pod/memory.current": str(GB),
        "sys/fs/cgroup/pod/container/memory.max": "max",
    }
    assert limits.read(tree(tmp_path, files)) == limits.Limits(2, GB, contained=True)


def test_the_limits_of_version_1_count(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GB),
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GB // 2),
        "sys/fs/cgroup/memory/memory.stat": "cache 9\ntotal_inactive_file 1000",
    }
    assert limits.read(tree(tmp_path, files)) == limits.Limits(3, GB // 2 + 1000, contained=True)


def test_no_limit_in_version_1_is_none(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "5:cpu:/\n4:memory:/",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "5",
    }
    assert limits.read(tree(tmp_path, files)) == limits.Limits(8, 16 * GB, contained=False)
