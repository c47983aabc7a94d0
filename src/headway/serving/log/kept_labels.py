"""The true labels that are kept beside the log: their columns, and what they are the labels of."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import pyarrow as pa

from headway.serving.log.rows import TIME
from headway.serving.log.store import PartStore, UnreadablePart

LABELS, QUARANTINE = "labels", "quarantine"
SCHEMA = pa.schema(
    {
        "request_id": pa.string(),  # null for a label of a text
        "text_sha256": pa.string(),  # null for a label of a request
        "label": pa.string(),
        "time": TIME,  # of the label, if it is known
        "received": TIME,
        "source": pa.string(),
    }
)
#: Of the rows that are put aside. A row without a label has null there.
QUARANTINED = pa.schema([*SCHEMA, ("reason", pa.string())])
_COLUMNS = ["request_id", "text_sha256", "label"]


class Key(NamedTuple):
    """What a label is the label of. One of the two is ""."""

    request_id: str
    text_sha256: str

    def __str__(self) -> str:
        return f"request {self.request_id}" if self.request_id else f"text {self.text_sha256[:12]}…"


@dataclass
class KeptLabels:
    """The labels beside a log.

    Attributes:
        labels: by request or text.
        contradicted: requests and texts with two labels, which two processes have added at the same time. They have none.
        unreadable: paths and reasons of parts that cannot be read.
        parts: paths of the parts that were read.
    """

    labels: dict[Key, str] = field(default_factory=dict)
    contradicted: set[Key] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)
    parts: set[str] = field(default_factory=set)

    def updated(self, store: PartStore) -> Self:
        """The labels that are beside a log now: these and those of parts that were not read before, or all anew if some are gone.

        Raises:
            HeadwayError: the folder cannot be listed, or a part cannot be read for a reason other than its content.
        """
        labels = store.below(LABELS)
        parts = labels.parts()
        kept = self if self.parts <= {part.path for part in parts} else type(self)()
        kept.unreadable = []
        for part in parts:
            if part.path in kept.parts:
                continue
            try:
                table = labels.read(part, _COLUMNS)
                rows = zip(*(table[name].to_pylist() for name in _COLUMNS), strict=True)
            except UnreadablePart as problem:
                kept.unreadable.append(str(problem))
                continue
            except KeyError:
                kept.unreadable.append(f"{part.path}: has no columns {', '.join(_COLUMNS)}")
                continue
            kept.parts.add(part.path)
            for request_id, text_sha256, label in rows:
                kept._add(Key(request_id or "", text_sha256 or ""), label)
        return kept

    def _add(self, key: Key, label: str) -> None:
        if key not in self.contradicted and self.labels.setdefault(key, label) != label:
            del self.labels[key]
            self.contradicted.add(key)


def kept_labels(store: PartStore) -> KeptLabels:
    """All labels beside a log; errors as for :meth:`KeptLabels.updated`."""
    return KeptLabels().updated(store)


class LabelCache:
    """The labels beside some logs, of which each part is read once: parts never change. One thread uses it at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._kept: dict[str, KeptLabels] = {}  # by the log's address

    def labels(self, store: PartStore) -> KeptLabels:
        """All labels beside a log, for a caller that holds ``lock``; errors as for :meth:`KeptLabels.updated`."""
        kept = self._kept.get(store.address, KeptLabels()).updated(store)
        self._kept[store.address] = kept
        return kept
