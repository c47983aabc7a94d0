"""How what a job has left behind is compared with what an uninterrupted one leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

#: Names of the files that the jobs read and write in their project.
ROWS, ANSWERS, LABELS_FILE = "rows.csv", "answers.csv", "true_labels.csv"

Outcome = dict[str, Any]


def differences(expected: Outcome, found: Outcome) -> list[str]:
    """Where an outcome differs from that of an uninterrupted run: a line each."""
    return [line for name in expected for line in _differing(name, expected[name], found.get(name))]


def _differing(name: str, expected: Any, found: Any) -> Iterable[str]:
    if expected == found:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted({*expected, *found}):
            yield from _differing(f"{name}: {key}", expected.get(key), found.get(key))
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True), 1):
            yield from _differing(f"{name}, {number}", one, other)
    else:
        yield f"{name}: {_short(expected)}, found {_short(found)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:119]}…"
