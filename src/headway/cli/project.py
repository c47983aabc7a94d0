"""The project around the working directory, as commands need it: layout, params, tracker and flows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headway.layout import Layout
    from headway.params import Params
    from headway.registry.registry import Registry
    from headway.tracking import Tracker


def project() -> tuple[Layout, Params]:
    """The project's layout and params."""
    from headway.layout import Layout
    from headway.params import load

    layout = Layout.find()
    return layout, load(layout.params)


def tracker(params: Params, layout: Layout) -> Tracker:
    """The project's connection to MLflow."""
    from headway.tracking import Tracker

    return Tracker(params, layout)


def registry() -> tuple[Layout, Registry]:
    """The project's layout and its registered models."""
    from headway.registry.registry import Registry

    layout, params = project()
    return layout, Registry(tracker(params, layout))


def flows(module: str) -> Any:
    """A module of the project's own flows folder, which is not an installed package."""
    import importlib

    layout, _ = project()
    sys.path.insert(0, str(layout.root))
    try:
        return importlib.import_module(f"flows.{module}")
    except ModuleNotFoundError as error:
        if error.name not in ("flows", f"flows.{module}"):
            raise
        raise layout.without_flows(module) from None
