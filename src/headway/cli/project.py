"""What commands begin with: the project they are called in, its tracker, and its own flows."""

from __future__ import annotations

import sys
from typing import Any


def project() -> tuple[Any, Any]:
    """The layout of the project around the working directory, and its params."""
    from headway.layout import Layout
    from headway.params import load

    layout = Layout.find()
    return layout, load(layout.params)


def tracker(params: Any, layout: Any) -> Any:
    from headway.tracking import Tracker

    return Tracker(params, layout)


def flows(module: str) -> Any:
    """A module of the project's own flows folder, which is no installed package."""
    import importlib

    layout, _ = project()
    sys.path.insert(0, str(layout.root))
    return importlib.import_module(f"flows.{module}")
