"""How a benchmark tells what it aims at, and whether that was reached."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

Target = tuple[str, bool]


def print_targets(console: Console, targets: Iterable[Target]) -> None:
    """A line for each target: what was measured and what is aimed at, and whether that is met."""
    console.print("\nTargets")
    for words, is_met in targets:
        console.print(f"  {words}: {'met' if is_met else 'not met'}", soft_wrap=True)
