"""Labels as ``data.label_map`` renames, merges and drops them. The ingested rows keep their labels as written."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Self

from headway.data.identity import BOOLEANS, canonical_label
from headway.errors import HeadwayError
from headway.params_sections import label_text


class LabelMap:
    """The map of ``data.label_map``, applied once to each label: with ``{a: b, b: c}`` the label a becomes b, not c.

    Labels are compared in the form of :func:`canonical_label`. The key ``true`` also stands for ``True`` and ``TRUE``, and the
    key ``false`` for ``False`` and ``FALSE``.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        """HeadwayError if a key is blank, or two keys are the same label with different targets."""
        self._targets: dict[str, str] = {}
        for key, value in entries.items():
            label, target = canonical_label(key), canonical_label(value)
            if not label:
                raise HeadwayError(
                    f"data.label_map: the key {key!r} is blank, expected a label; rows without a label are quarantined"
                )
            if self._targets.setdefault(label, target) != target:
                raise HeadwayError(
                    f"data.label_map: the label {label!r} has two targets, {self._targets[label]!r} and {target!r}; keep one"
                )

    def __bool__(self) -> bool:
        return bool(self._targets)

    def __contains__(self, label: object) -> bool:
        """Whether the map names a label, which is in its canonical form."""
        return isinstance(label, str) and self._key(label) is not None

    def __call__(self, label: str) -> str:
        """The class of a label; "" if rows with this label are dropped."""
        label = canonical_label(label)
        key = self._key(label)
        return label if key is None else self._targets[key]

    def count(self, rows: Mapping[str, int]) -> Counter[str]:
        """Rows by class, from rows by label. Rows without a label stay under ""; dropped rows are left out."""
        counts = Counter[str]()
        for label, number in rows.items():
            if self(label) or not canonical_label(label):
                counts[self(label)] += number
        return counts

    def used(self, rows: Mapping[str, int]) -> dict[str, tuple[str, int]]:
        """The labels of the data that the map names, each with its class ("" if dropped) and its number of rows."""
        found: dict[str, tuple[str, int]] = {}
        for label, number in rows.items():
            name = canonical_label(label)
            if name in self:
                found[name] = self(name), found.get(name, ("", 0))[1] + number
        return found

    def unused(self, labels: Iterable[str]) -> dict[str, str]:
        """The keys that are no label of the data, each with the most similar label that is one, or ""."""
        names = sorted({name for label in labels if (name := canonical_label(label))})
        missing = self._targets.keys() - {self._key(name) for name in names}
        return {key: _most_similar(key, names) for key in self._targets if key in missing}

    def _key(self, label: str) -> str | None:
        """The key for a label in its canonical form; None if the map does not name it."""
        if label in self._targets:
            return label
        lower = label.lower()
        return lower if lower in BOOLEANS and lower in self._targets else None

    @classmethod
    def from_tree(cls, tree: object) -> Self:
        """The map in a parsed params.yaml of any version; an empty one if it has none."""
        section = tree.get("data") if isinstance(tree, Mapping) else None
        entries = section.get("label_map") if isinstance(section, Mapping) else None
        texts = (
            {label_text(key): label_text(value) for key, value in entries.items()} if isinstance(entries, Mapping) else {}
        )
        return cls({key: value for key, value in texts.items() if key and value is not None})


def _most_similar(key: str, names: list[str]) -> str:
    folded = {name.casefold(): name for name in reversed(names)}
    close = difflib.get_close_matches(key.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else ""
