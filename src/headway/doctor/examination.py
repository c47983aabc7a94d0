"""All checks, in the order in which a fault of one explains the faults of the next.

Each group is imported when its turn comes, so that a package that is not installed is a fault of the groups that need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from headway.doctor.check import Check, guarded
from headway.layout import MARKERS, Layout


def examine(start: Path, check_schedule: Callable[[Layout], Iterable[Check]]) -> Iterator[Check]:
    """Every check, one after the other.

    Args:
        start: a folder in the project.
        check_schedule: the check of scheduled runs, which needs Prefect.
    """
    root = find_root(start)
    params = _params(Layout(root)) if root else None
    yield from _group("python", "machine.check_python")
    yield from _group("disk", "machine.check_disk", root or start)
    yield from _group("memory", "machine.check_memory")
    yield from _group("threads", "machine.check_threads", params)
    yield from _group("ports", "machine.check_ports")
    yield from _group("project", "project_files.check_project", root, start)
    if root is None:
        return
    layout = Layout(root)
    yield from _group("headway", "packages.check_headway", root)
    yield from _group("packages", "packages.check_packages", root)
    yield from _group("permissions", "project_files.check_permissions", layout)
    yield from _group("params.yaml", "project_files.check_params", layout)
    yield from _group("dvc.yaml", "project_files.check_graph", layout)
    yield from _group("git", "version_control.check_git", layout)
    yield from _group("dvc", "version_control.check_dvc", layout)
    yield from _group("run", "project_files.check_running", layout)
    yield from _group("mlflow", "database.check_mlflow", layout)
    yield from _group("registry", "registered.check_registry", layout, params)
    yield from _group("notifications", "project_files.check_notifications")
    yield from guarded("schedule", lambda: check_schedule(layout))


def find_root(start: Path) -> Path | None:
    """The nearest folder from ``start`` upwards that has anything of a project; None if there is none."""
    for folder in (start, *start.parents):
        if any((folder / name).exists() for name in (*MARKERS, ".dvc")):
            return folder
    return None


def _group(name: str, function: str, *arguments: Any) -> Iterator[Check]:
    """The checks of a group, given as module and function in this package."""
    module, _, called = function.partition(".")
    return guarded(name, lambda: getattr(import_module(f"headway.doctor.{module}"), called)(*arguments))


def _params(layout: Layout) -> Any:
    """The params, None if they cannot be used, which the check of params.yaml reports."""
    try:
        return import_module("headway.doctor.project_files").load_params(layout)
    except Exception:  # noqa: BLE001 - a package that is missing or broken, which is reported too
        return None
