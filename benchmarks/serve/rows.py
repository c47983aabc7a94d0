"""Tables of any number of rows, made of real sentences."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path


def write_rows(path: Path, texts: Sequence[str], rows: int) -> None:
    """Write a CSV with the columns id and text. The texts come in order, and from the second time on in a random order."""
    draw, order = random.Random(rows), list(range(len(texts)))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        for row in range(rows):
            if row and row % len(order) == 0:
                draw.shuffle(order)
            writer.writerow([row, texts[order[row % len(order)]]])
