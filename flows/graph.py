"""The stage graph, read from dvc.yaml. No stage is named here or elsewhere in flows."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

from headway.errors import HeadwayError
from headway.yaml_files import load_mapping


@dataclass(frozen=True)
class Stage:
    """A stage: its name, its purpose, and the stages whose outs it depends on."""

    name: str
    description: str
    after: tuple[str, ...]


def read(path: Path) -> list[Stage]:
    """The stages of a dvc.yaml in order of their dependencies.

    Raises:
        HeadwayError: the file is not a stage graph, or the stages depend on each other in a cycle.
    """
    stages = load_mapping(path).get("stages")
    if not isinstance(stages, dict) or not all(isinstance(stage, dict) for stage in stages.values()):
        raise HeadwayError(f"{path}: not a stage graph (expected a mapping of stages, each with cmd, deps and outs)")
    made_by = {out: name for name, stage in stages.items() for out in _outs(stage)}
    after = {
        name: {maker for dep in stage.get("deps", []) if (maker := _maker(dep, made_by)) and maker != name}
        for name, stage in stages.items()
    }
    try:
        order = list(TopologicalSorter(after).static_order())
    except CycleError as error:
        raise HeadwayError(f"{path}: stages depend on each other in a cycle: {' → '.join(error.args[1])}") from None
    return [Stage(name, stages[name].get("desc", ""), tuple(sorted(after[name]))) for name in order]


def _outs(stage: dict[str, Any]) -> list[str]:
    """Paths of outs, metrics and plots, with or without options."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def _maker(dependency: str, made_by: dict[str, str]) -> str | None:
    """The stage that writes a path: the path is one of its outs, inside one, or contains one."""
    path = PurePosixPath(dependency)
    for out, name in made_by.items():
        if path.is_relative_to(out) or PurePosixPath(out).is_relative_to(path):
            return name
    return None
