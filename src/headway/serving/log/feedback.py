"""True labels that arrive after the answers: checked, and kept once beside the log or put aside with a reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice

import pyarrow as pa

from headway.data.identity import canonical_label
from headway.data.sources.rows import replace_surrogates
from headway.errors import HeadwayError
from headway.params import LogParams
from headway.phrases import listed
from headway.serving.log.kept_labels import LABELS, QUARANTINE, QUARANTINED, SCHEMA, KeptLabels, Key, LabelCache
from headway.serving.log.reading import read_log
from headway.serving.log.rows import classes_of, text_hash
from headway.serving.log.store import PartStore, UnreadablePart, new_writer, part_name
from headway.serving.log.writer import open_log

#: Why rows are put aside, if there are two labels.
CONTRADICTED, KNOWN_OTHERWISE = "two labels for one request or text", "another label was added before"
_HASH = re.compile(r"[0-9a-f]{64}")
_LONGEST_ID = 1_000
#: Newest parts in which an answer of the champion is looked for, to know its classes.
_MOST_LOOKED_AT = 100
#: Within a process, labels are added by the thread that holds its lock, so that none is added twice.
_CACHE = LabelCache()


@dataclass(frozen=True)
class LabelRow:
    """A true label, and what it is the label of: the first of request_id, text_hash and text that is given.

    Attributes:
        label: "" if it is missing.
        request_id: id of the answer, as the log has it.
        text_hash: hex SHA-256 of the text in UTF-8, exactly as it came.
        text: the text itself.
        time: when it was labelled.
        problem: why the row cannot be read, "" if it can.
        place: of the row, such as ``row 17``, for messages.
        source: where it comes from, such as the name of a file; "" for that of all rows.
    """

    label: str
    request_id: str = ""
    text_hash: str = ""
    text: str | None = None
    time: datetime | None = None
    problem: str = ""
    place: str = ""
    source: str = ""


@dataclass(frozen=True)
class Conflict:
    """Two labels for one request or text, each with the place of its row; "" for a label that was added before."""

    key: Key
    labels: tuple[str, str]
    places: tuple[str, str]


@dataclass(frozen=True)
class LabelCounts:
    """What has become of some rows with labels: ``rows`` is the sum of added, repeated and quarantined.

    Attributes:
        added: labels that are kept now and were not before.
        repeated: rows whose label was there already, or that were given twice.
        quarantined: rows that cannot be used, by reason.
        conflicts: each pair of labels that contradict each other.
        new_classes: added labels that are no class of the last logged champion, with their rows. They are kept.
        unmatched: added labels that no row of the log has. They are kept. None if that was not looked up.
    """

    rows: int = 0
    added: int = 0
    repeated: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    conflicts: Sequence[Conflict] = ()
    new_classes: Mapping[str, int] = field(default_factory=dict)
    unmatched: int | None = None


def add_labels(params: LogParams, rows: Iterable[LabelRow], source: str, look_up: bool = False) -> LabelCounts:
    """Check labels and keep those that are new, in ``labels`` in the log's folder; the same labels again change nothing.

    Of two labels for one request or text, neither is kept; if one was added before, that one stays. Such rows, and those
    without a label or without a request or text, go to ``labels/quarantine``, with the reason.

    Args:
        source: of the rows that do not name theirs, such as ``http``.
        look_up: whether to count the labels that no row of the log has, which reads the whole log.

    Raises:
        HeadwayError: no folder is set, it cannot be read or written, or it has damaged labels, so that nothing is added.
    """
    store = open_log(params)
    with _CACHE.lock:
        kept = _CACHE.labels(store)
        if kept.unreadable:
            raise HeadwayError(
                f"{listed(kept.unreadable, 3)}; nothing was added, because labels that were added before are unknown; restore or "
                "remove these parts"
            )
        check = _Check(kept, params.texts)
        for row in rows:
            check.add(row)
        received = datetime.now(UTC)
        _write(
            store.below(LABELS), SCHEMA, [_values(key, row, received, source) for key, row in check.new.items()], received
        )
        _put_aside(store.below(LABELS).below(QUARANTINE), check.rejected, received, source)
    classes = _champions_classes(store) if check.new else []
    return LabelCounts(
        check.rows,
        len(check.new),
        check.repeated,
        Counter(reason for _, _, reason in check.rejected),
        tuple(check.conflicts),
        Counter(row.label for row in check.new.values() if classes and row.label not in classes),
        _unmatched(params, check.new.keys()) if look_up else None,
    )


def with_map(row: LabelRow, label_map: Callable[[str], str]) -> LabelRow:
    """A row whose label is as ``data.label_map`` makes it; one that the map drops has a problem."""
    label, written = label_map(row.label), canonical_label(row.label)
    dropped = f"data.label_map drops the label {written[:40]!r}" if written and not label else ""
    return replace(row, label=label, problem=row.problem or dropped)


class _Check:
    """Sorts rows into new labels, repeated ones and rows that cannot be used."""

    def __init__(self, kept: KeptLabels, texts: str) -> None:
        self._known, self._texts = kept.labels, texts
        self.rows = self.repeated = 0
        self.new: dict[Key, LabelRow] = {}
        self.rejected: list[tuple[Key, LabelRow, str]] = []  # with the reason
        self.conflicts: list[Conflict] = []
        self._contradicted = set(kept.contradicted)

    def add(self, row: LabelRow) -> None:
        self.rows += 1
        row = replace(row, label=canonical_label(replace_surrogates(row.label)))
        key = _key(row)
        if reason := row.problem or self._problem(key, row):
            self.rejected.append((key, row, reason))
        elif key in self._contradicted:
            self.rejected.append((key, row, CONTRADICTED))
        elif key in self._known:
            self._compare(key, row)
        elif key not in self.new:
            self.new[key] = row
        elif self.new[key].label == row.label:
            self.repeated += 1
        else:
            first = self.new.pop(key)
            self._contradicted.add(key)
            self.rejected += [(key, first, CONTRADICTED), (key, row, CONTRADICTED)]
            self.conflicts.append(Conflict(key, (first.label, row.label), (first.place, row.place)))

    def _compare(self, key: Key, row: LabelRow) -> None:
        """Compare a row with the label that was added before."""
        if self._known[key] == row.label:
            self.repeated += 1
        else:
            self.rejected.append((key, row, KNOWN_OTHERWISE))
            self.conflicts.append(Conflict(key, (self._known[key], row.label), ("", row.place)))

    def _problem(self, key: Key, row: LabelRow) -> str:
        if not row.label:
            return "no label"
        if not any(key):
            return "no request id, text or hash of a text"
        if len(key.request_id) > _LONGEST_ID:
            return f"the request id has more than {_LONGEST_ID:,} characters"
        if key.text_sha256 and self._texts == "none":
            return "a label of a text finds nothing while serving.log.texts is none; give the request id"
        if key.text_sha256 and not _HASH.fullmatch(key.text_sha256):
            return "the hash is not a SHA-256 of 64 hexadecimal digits"
        return ""


def _key(row: LabelRow) -> Key:
    if request_id := replace_surrogates(row.request_id).strip():
        return Key(request_id, "")
    if hash_ := row.text_hash.strip().lower():
        return Key("", hash_)
    return Key("", text_hash(row.text) if row.text else "")


def _values(key: Key, row: LabelRow, received: datetime, source: str) -> dict[str, object]:
    return {
        "request_id": key.request_id or None,
        "text_sha256": key.text_sha256 or None,
        "label": row.label or None,
        "time": row.time,
        "received": received,
        "source": replace_surrogates(row.source or source),
    }


def _write(store: PartStore, schema: pa.Schema, rows: list[dict[str, object]], received: datetime) -> None:
    """Write rows as one part, if there are any; HeadwayError if that fails."""
    if rows:
        table = pa.Table.from_pylist(rows, schema)
        store.write(part_name(received, new_writer()), received.date(), table)


def _put_aside(store: PartStore, rejected: Sequence[tuple[Key, LabelRow, str]], received: datetime, source: str) -> None:
    """Write the rows that cannot be used, except for those that were put aside before."""
    same = ["request_id", "text_sha256", "label", "reason"]
    seen: set[tuple[object, ...]] = set()
    for part in store.parts() if rejected else ():
        try:
            seen.update(tuple(row.values()) for row in store.read(part, same).select(same).to_pylist())
        except (UnreadablePart, KeyError):
            continue  # its rows are put aside once more
    rows = []
    for key, row, reason in rejected:
        values = {**_values(key, row, received, source), "reason": reason}
        identity = tuple(values[name] for name in same)
        if identity not in seen:
            seen.add(identity)
            rows.append(values)
    _write(store, QUARANTINED, rows, received)


def _champions_classes(store: PartStore) -> list[str]:
    """The classes in the newest part with an answer of the champion; none if there is none among the newest parts."""
    for part in islice(store.newest_first(), _MOST_LOOKED_AT):
        try:
            table = store.read(part, ["role"])
        except UnreadablePart:
            continue
        if "role" in table.column_names and "champion" in table["role"].to_pylist():
            return classes_of(table.schema.metadata)
    return []


def _unmatched(params: LogParams, keys: Iterable[Key]) -> int:
    """The number of requests and texts that the log does not have."""
    missing = set(keys)
    for batch in read_log(params, columns=["request_id", "text_sha256"]) if missing else ():
        missing.difference_update(Key(one, "") for one in batch["request_id"].to_pylist())
        missing.difference_update(Key("", one) for one in batch["text_sha256"].to_pylist() if one)
    return len(missing)
