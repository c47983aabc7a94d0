"""Texts that stand for the present: those of the latest answers, if the log keeps them, or a sample of a table's."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from headway.champion_monitor.term import Term
from headway.serving.log.reading import read_part
from headway.serving.log.rows import TIME
from headway.serving.log.store import PartStore, UnreadablePart

_COLUMNS = ["time", "version", "role", "text"]


def of_log(log: PartStore, term: Term, rows: int) -> list[str]:
    """The texts of about the last ``rows`` answers of the champion in its term, the oldest first; none if they are not kept."""
    found: list[list[str]] = []
    for part in log.newest_first():
        if part.day < term.since.date() or sum(map(len, found)) >= rows:
            break
        try:
            table = read_part(log, part, _COLUMNS)
        except UnreadablePart:
            continue  # reported by whoever reads the answers
        mine = pc.and_(pc.equal(table["version"], term.champion.version), pc.equal(table["role"], "champion"))
        mine = pc.and_(mine, pc.greater_equal(table["time"], pa.scalar(term.since, TIME)))
        found.append([str(text) for text in table.filter(mine)["text"].to_pylist() if text])
    return [text for part_texts in reversed(found) for text in part_texts]


class Sample:
    """A random sample of the texts of a stream, always the same one of the same texts (Vitter 1985, algorithm R)."""

    def __init__(self, rows: int) -> None:
        self.texts: list[str] = []
        self._rows, self._seen, self._random = rows, 0, random.Random(0)

    def add(self, texts: Iterable[str]) -> None:
        for text in texts:
            self._seen += 1
            if len(self.texts) < self._rows:
                self.texts.append(text)
            elif (place := self._random.randrange(self._seen)) < self._rows:
                self.texts[place] = text
