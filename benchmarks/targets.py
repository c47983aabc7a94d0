"""Targets of a benchmark, and whether they are met."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

Target = tuple[str, bool]


def print_targets(console: Console, targets: Iterable[Target]) -> None:
    """Print a line per target: the measurement, the target and whether it is met."""
    console.print("\nTargets")
    for words, is_met in targets:
        console.print(f"  {words}: {'met' if is_met else 'not met'}", soft_wrap=True)
