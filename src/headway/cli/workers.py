"""The options that say what does the work of a command: processes on this machine, or a Ray cluster."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from headway.errors import HeadwayError

Executor = Annotated[
    Literal["processes", "ray"], typer.Option(help="What the workers are: processes on this machine, or those of Ray.")
]
Address = Annotated[str, typer.Option(help="Ray cluster: host:6379 or ray://host:10001; by default a new one here.")]


def require_ray_for(address: str, executor: str) -> None:
    """HeadwayError if a cluster is named, and another executor."""
    if address and executor != "ray":
        raise HeadwayError("--address is for a Ray cluster; add --executor ray")
