"""The rows of the prediction log that monitoring reads: each part once, and of each the answers of the champion."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.champion_monitor.term import Term
from headway.monitoring.answers import Answers
from headway.monitoring.wording import trigrams
from headway.serving.log.reading import read_part
from headway.serving.log.rows import TIME
from headway.serving.log.store import Part, PartStore, UnreadablePart

COLUMNS = [
    "request_id", "time", "version", "role", "label", "probability", "characters", "unknown_share", "text_sha256",
]  # fmt: skip
#: Days after which a part that was not there before is no longer looked for. A service that cannot write its log keeps at most
#: 100,000 rows, so that a part is rarely later.
DAYS = 7


@dataclass
class SeenParts:
    """Which parts of a store have been read: those of the last days by name, and all of the days before."""

    before: date | None = None
    names: dict[str, set[str]] = field(default_factory=dict)  # digests of names, by day

    def divided(self, store: PartStore, since: date | None = None) -> tuple[list[Part], list[Part]]:
        """The parts that have been read and are still there, and those that have not been, each in the order of time."""
        old: list[Part] = []
        new: list[Part] = []
        for part in store.parts(since):
            (old if self._has(part) else new).append(part)
        return old, new

    def _has(self, part: Part) -> bool:
        is_before = self.before is not None and part.day < self.before
        return is_before or _digest(part.name) in self.names.get(part.day.isoformat(), ())

    def add(self, part: Part) -> None:
        self.names.setdefault(part.day.isoformat(), set()).add(_digest(part.name))
        newest = max(map(date.fromisoformat, self.names))
        self.before = max(filter(None, (self.before, newest - timedelta(days=DAYS))))
        for day in [day for day in self.names if date.fromisoformat(day) < self.before]:
            del self.names[day]

    def as_json(self) -> dict[str, Any]:
        names = {day: sorted(names) for day, names in sorted(self.names.items())}
        return {"before": self.before and self.before.isoformat(), "names": names}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        before = content["before"]
        return cls(before and date.fromisoformat(before), {day: set(names) for day, names in content["names"].items()})


class PartRows(NamedTuple):
    """The rows of a part that two models answered in the champion's term.

    Attributes:
        part: they are of.
        champion: its answers.
        unanswered: days of texts that the champion could not classify.
        keys: of the champion's answers, by which labels find them.
        shadow: label by request of the former champion, which answered in the champion's shadow.
    """

    part: Part
    champion: Answers
    unanswered: np.ndarray
    keys: pa.Table  # request_id, text_sha256
    shadow: Mapping[str, str]


def part_rows(
    store: PartStore, parts: Sequence[Part], term: Term, classes: Sequence[str], has_texts: bool = False
) -> Iterator[PartRows | UnreadablePart]:
    """The rows of some parts, one part in memory at a time; the problem for a part that cannot be read.

    Within a part, rows are in an order that is drawn at random, always the same one: a file that was labelled in one go may be
    sorted, which would look like a change. Answers whose class the champion does not have are of another model with the same
    version number, and left out.

    Args:
        has_texts: whether the texts are read as well, of parts that have them.
    """
    columns = [*COLUMNS, "text"] if has_texts else COLUMNS
    for part in parts:
        try:
            table = read_part(store, part, columns)
        except UnreadablePart as problem:
            yield problem
            continue
        table = table.filter(pc.greater_equal(table["time"], pa.scalar(term.since, TIME)))
        table = table.take(np.random.default_rng(int(_digest(part.name), 16)).permutation(table.num_rows))
        mine = table.filter(_is(table, term.champion.version, "champion"))
        answered = mine.filter(pc.is_in(mine["label"], pa.array(classes, pa.string())))
        silent = mine.filter(pc.is_null(mine["label"]))
        shadow = table.filter(_is(table, term.former.version, "shadow")) if term.former else table.slice(0, 0)
        yield PartRows(
            part,
            answers_of(answered, classes),
            _days(silent),
            answered.select(["request_id", "text_sha256"]),
            {str(key): str(label) for key, label in zip(*_lists(shadow, "request_id", "label"), strict=True) if label},
        )


def answers_of(table: pa.Table, classes: Sequence[str]) -> Answers:
    """Rows of the log as answers; each has a label that is one of the classes."""
    return Answers(
        pc.index_in(table["label"], pa.array(classes, pa.string())).to_numpy().astype(np.int64),
        table["probability"].to_numpy(),
        pc.fill_null(table["characters"], 0).to_numpy(),
        table["unknown_share"].to_numpy().astype(np.float64),
        _days(table),
        trigrams([text or "" for text in table["text"].to_pylist()]) if "text" in table.column_names else None,
    )


def _is(table: pa.Table, version: str, role: str) -> pa.ChunkedArray:
    return pc.and_(pc.equal(table["version"], version), pc.equal(table["role"], role))


def _days(table: pa.Table) -> np.ndarray:
    return np.array(table["time"].to_numpy().astype("datetime64[D]").astype(str), dtype=np.str_)


def _lists(table: pa.Table, *names: str) -> list[list[Any]]:
    return [table[name].to_pylist() for name in names]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:12]
