"""Corrections of labels: the lists that people fill in, and how ``ingest`` applies them.

A correction belongs to a text, in the form in which duplicates are found, with the label that it had. So rows may move, and a row
whose text or label has changed since is left as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from headway.data.identity import BOOLEANS, canonical_label, digests, normal_form
from headway.data.sources.file_set import is_hidden
from headway.data.sources.files import file_part
from headway.data.sources.manifest import CorrectionCounts
from headway.data.sources.source import Columns
from headway.data.sources.streams import LocalFile, kind_of
from headway.errors import HeadwayError

ID, RIGHT_LABEL = "id", "right_label"
_ID = re.compile(r"(t[0-9a-f]{32})-([0-9a-f]{8})")
#: A cell before which a list has an apostrophe, so that no spreadsheet calculates it.
_ESCAPED = re.compile("'(?='*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")


def text_key(text: str) -> str:
    """Identity of a text: equal for duplicates. The first letter keeps spreadsheets from reading it as a number."""
    return f"t{digests([normal_form(text)])[0].tobytes().hex()}"


def label_key(label: str) -> str:
    """Identity of a label, by which an id names it: spreadsheets change a label ``true`` to ``TRUE`` and ``01`` to ``1``."""
    return hashlib.sha256(canonical_label(label).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def row_id(text: str, label: str) -> str:
    """Identity of a text with its label, for the column ``id``."""
    return f"{text_key(text)}-{label_key(label)}"


@dataclass(frozen=True)
class Corrections:
    """The rows of some lists that a person has filled in.

    Attributes:
        files: names of the lists.
        right_labels: by text, the label that the person wrote; the first one, if labels of a text were confirmed only.
        ids: of the rows whose label the person replaced by another one.
    """

    files: Sequence[str] = ()
    right_labels: Mapping[str, str] = field(default_factory=dict)
    ids: frozenset[str] = frozenset()


class _ListColumns(Columns):
    """The columns that a list must have, with its own error."""

    def require(self, found: Sequence[str], where: str) -> None:
        for name in (ID, RIGHT_LABEL):
            if list(found).count(name) != 1:
                raise HeadwayError(
                    f"{where}: expected one column {name!r}, found {list(found).count(name)}; keep the header that "
                    "`headway label-errors` wrote"
                )


def read(folder: Path, pattern: str) -> Corrections:
    """Read the lists in a folder whose names match a pattern, except for hidden files; empty without a pattern.

    Raises:
        HeadwayError: no CSV file matches; or see :func:`read_lists`.
    """
    if not pattern:
        return Corrections()
    try:
        found = folder.glob(pattern) if Path(pattern).parts else ()  # the pattern "." has none, and glob fails with it
        named = sorted(path for path in found if path.is_file())
    except (ValueError, NotImplementedError) as error:
        raise HeadwayError(f"data.corrections: {pattern!r} is not a valid pattern: {error}") from None
    matching = [path for path in named if not is_hidden(path.relative_to(folder).as_posix())]
    lists = [path for path in matching if kind_of(path.name) in (".csv", ".tsv")]
    if not lists:
        problem = f"{matching[0].name} is not CSV: save it as CSV" if matching else "no such file: put it there"
        raise HeadwayError(
            f'data.corrections: {pattern!r} in {os.path.relpath(folder)}: {problem}, or set data.corrections to ""'
        )
    return read_lists(lists)


def read_lists(lists: Sequence[Path]) -> Corrections:
    """Read lists. Rows with an empty right label are skipped; encoding and delimiter are detected.

    A row whose right label is its own is confirmed. That changes nothing, so several spellings of a class may be confirmed.

    Raises:
        HeadwayError: a list lacks a column or has a damaged row; a text has two right labels.
    """
    filled: list[tuple[str, re.Match[str], str]] = []  # place, id and right label
    given = set()  # the labels' identities in all rows, also those that are not filled in
    for path in lists:
        name = os.path.relpath(path)
        part = file_part(LocalFile(path, name), _ListColumns(ID, RIGHT_LABEL), "auto")
        for number, row in enumerate(part.read(), 1):
            place = f"{name}, row {number} below the header"
            if row.problem:
                raise HeadwayError(f"{place}: {row.problem}; restore the row as `headway label-errors` wrote it")
            label = canonical_label(_ESCAPED.sub("", row.label or "", count=1))
            key = _ID.fullmatch((row.text or "").strip())
            if key is not None:
                given.add(key[2])
            if not label:
                continue
            if key is None:
                raise HeadwayError(
                    f"{place}: the id {(row.text or '')[:60]!r} is not one that `headway label-errors` wrote; restore it, or "
                    "remove the row"
                )
            filled.append((place, key, label))

    right_labels: dict[str, str] = {}
    places: dict[str, str] = {}
    ids, confirmed = set(), set()
    for place, key, written in filled:
        label = _as_in_data(written, given)
        is_right = label_key(label) == key[2]
        if right_labels.setdefault(key[1], label) != label and not (is_right and key[1] in confirmed):
            raise HeadwayError(
                f"{place}: the right label {label!r} contradicts {right_labels[key[1]]!r} for the same text "
                f"({places[key[1]]}); keep one of them"
            )
        places.setdefault(key[1], place)
        if is_right:
            confirmed.add(key[1])
        else:
            ids.add(key[0])
    return Corrections([path.name for path in lists], right_labels, frozenset(ids))


def _as_in_data(label: str, given: Set[str]) -> str:
    """A right label; true and false as the data spell them, because spreadsheets write ``TRUE`` and ``FALSE``.

    Args:
        given: identities of the labels in the lists. If they have no true or false, or in several spellings, the right label
            stays as it is.
    """
    if label.lower() not in BOOLEANS:
        return label
    ways = (str.lower, str.capitalize, str.upper)
    found = [spell for spell in ways if any(label_key(spell(word)) in given for word in BOOLEANS)]
    return found[0](label) if len(found) == 1 else label


class Corrector:
    """Applies corrections to batches of labelled rows as they pass, and counts them."""

    def __init__(self, corrections: Corrections) -> None:
        self._corrections = corrections
        self._found: set[str] = set()  # texts whose rows have the given label or the right one
        self._corrected: Counter[str] = Counter()  # rows by their right label
        self._replaced: Counter[str] = Counter()  # the same rows by the label that they had

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with corrected labels."""
        labels = batch["label"].to_pylist()
        rows = zip(batch["text"].to_pylist(), labels, batch["problem"].to_pylist(), strict=True)
        corrected = [label if problem else self._right(text or "", label) for text, label, problem in rows]
        if corrected == labels:
            return batch
        index = batch.schema.get_field_index("label")
        return batch.set_column(index, batch.schema.field(index), pa.array(corrected, batch.schema.field(index).type))

    def counts(self) -> CorrectionCounts:
        """What was corrected so far."""
        return CorrectionCounts(
            files=list(self._corrections.files),
            texts=len(self._corrections.right_labels),
            unmatched=len(self._corrections.right_labels) - len(self._found),
            rows=self._corrected.total(),
            rows_by_label=dict(sorted(self._corrected.items())),
            rows_by_former_label=dict(sorted(self._replaced.items())),
        )

    def _right(self, text: str, label: str | None) -> str | None:
        key = text_key(text)
        right = self._corrections.right_labels.get(key)
        if right is None:
            return label
        given = label_key(label or "")
        if given == label_key(right):
            self._found.add(key)
        elif f"{key}-{given}" in self._corrections.ids:
            self._found.add(key)
            self._corrected[right] += 1
            self._replaced[label or ""] += 1
            return right
        return label
