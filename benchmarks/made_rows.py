"""Rows that are made of sentences of the shipped reviews, for benchmarks of any size."""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = 200
NEAR_DUPLICATES, CHANGED, REMEMBERED = 0.1, 3, 1_000  # their share; words changed; earlier rows that they may be made from


def sentences_of(reviews: list[str]) -> list[str]:
    """The reviews' sentences, one after another."""
    return [part for text in reviews for part in re.split(r"(?<=[.!?])\s+", text.replace("<br />", " ")) if part]


def write_rows(path: Path, sentences: list[str], rows: int) -> None:
    """A CSV some of whose rows are near-duplicates of earlier ones: a few of their words are changed."""
    draw = random.Random(rows)
    earlier: list[list[str]] = []
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(rows):
            words: list[str] = []
            if earlier and draw.random() < NEAR_DUPLICATES:
                words = list(draw.choice(earlier))
                for _ in range(CHANGED):
                    words[draw.randrange(len(words))] = draw.choice(draw.choice(sentences).split() or ["and"])
            while len(words) < WORDS:
                words += sentences[draw.randrange(len(sentences))].split()
            if len(earlier) < REMEMBERED:
                earlier.append(words)
            else:
                earlier[draw.randrange(REMEMBERED)] = words
            writer.writerow([" ".join(words), ("negative", "positive")[number % 2]])


def convert(source: Path, target: Path) -> None:
    """Write a CSV as another kind of file."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    match target.suffix:
        case ".jsonl":
            target.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), target)
        case ".gz":
            target.write_bytes(gzip.compress(source.read_bytes(), compresslevel=1))
        case _:
            shutil.copyfile(source, target)
