"""A project with a registered model of two versions, between which the alias ``champion`` moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.serve.files import new_project
from headway import params as parameters
from headway.registry.registry import CHAMPION, Registry
from headway.tracking import Tracker


def registered(folder: Path, packages: tuple[Path, Path]) -> Callable[[str], None]:
    """Register two packages as versions 1, the champion, and 2, in a new project; returns what makes a version the champion."""
    layout = new_project(folder, packages[0])
    registry = Registry(Tracker(parameters.load(layout.params), layout))
    with registry.tracker.nested("training", "train", "benchmark") as run:
        pass
    for package in packages:
        registry.register(package, run.id, {})

    def promote(version: str) -> None:
        registry.client.set_registered_model_alias(registry.name, CHAMPION, version)

    promote("1")
    return promote
