"""The answers in the log beside the true labels that have arrived for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from headway.params import LogParams
from headway.serving.log.kept_labels import Key, kept_labels
from headway.serving.log.reading import read_log
from headway.serving.log.writer import open_log

COLUMNS = ["request_id", "time", "version", "role", "label", "probability", "text_sha256"]


class JoinedRow(NamedTuple):
    """One answer whose true label is known."""

    request_id: str
    time: datetime  # of the answer, in UTC
    version: str
    role: str
    label: str | None  # predicted; None for a text that could not be classified
    probability: float | None  # of the predicted label
    true_label: str


@dataclass
class JoinCounts:
    """What a join has found when all of its rows have been read.

    Attributes:
        rows: answers in the log.
        joined: answers with a true label.
        contradicted: answers left out, because their request and their text have different labels, or one has two.
        labels: labels beside the log.
        unmatched: labels that none of the answers has.
        unreadable: paths and reasons of parts that were skipped.
    """

    rows: int = 0
    joined: int = 0
    contradicted: int = 0
    labels: int = 0
    unmatched: int = 0
    unreadable: list[str] = field(default_factory=list)


def join_labels(
    params: LogParams, since: datetime | None = None, until: datetime | None = None, counts: JoinCounts | None = None
) -> Iterator[JoinedRow]:
    """The answers whose true label is known, in the order of the log. All labels are in memory, and one part of the log.

    Args:
        since, until: times of the answers, as for :func:`headway.serving.log.reading.read_log`.
        counts: filled in while the rows are read.

    Raises:
        HeadwayError: no folder is set, or it cannot be listed.
    """
    counts = counts if counts is not None else JoinCounts()
    kept = kept_labels(open_log(params))
    counts.labels = len(kept.labels)
    counts.unreadable += kept.unreadable
    unmatched = set(kept.labels)
    for batch in read_log(params, since, until, COLUMNS, counts.unreadable.append):
        for request_id, time, version, role, label, probability, text_sha256 in zip(
            *(batch[name].to_pylist() for name in COLUMNS), strict=True
        ):
            keys = [Key(request_id, ""), *([Key("", text_sha256)] if text_sha256 else [])]
            unmatched.difference_update(keys)
            found = {kept.labels[key] for key in keys if key in kept.labels}
            counts.rows += 1
            if len(found) > 1 or kept.contradicted.intersection(keys):
                counts.contradicted += 1
            elif found:
                counts.joined += 1
                yield JoinedRow(request_id, time, version, role, label, probability, found.pop())
    counts.unmatched = len(unmatched)
