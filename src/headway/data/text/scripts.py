"""Writing systems of texts, from the Unicode script of every character. Languages are not detected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import numpy as np
from fontTools.unicodedata import Scripts

from headway.data.text.chunks import chunks

#: Scripts that do not separate words by spaces.
WITHOUT_SPACES = frozenset(
    {"Balinese", "Bopomofo", "Han", "Hiragana", "Javanese", "Katakana", "Khmer", "Lao", "Myanmar"}
    | {"New Tai Lue", "Tai Le", "Tai Tham", "Tai Viet", "Tangut", "Thai", "Tibetan", "Yi"}
)
#: Number of characters examined at the beginning of a text.
HEAD = 300
# Spaces, digits, punctuation and emoji; combining marks, which take the script of their letter; unassigned code points.
NO_SCRIPT = ("Common", "Inherited", "Unknown")


def script_counts(texts: Iterable[str], head: int = HEAD) -> Counter[str]:
    """Characters by the name of their script, sorted, in the first ``head`` characters of every text.

    Characters without a script (spaces, digits, punctuation, emoji) are not counted.
    """
    total = sum((table.sum(axis=0) for table in _tables(texts, head)), np.zeros(len(_names()), dtype=np.int64))
    return Counter({name: int(count) for name, count in zip(_names(), total, strict=True) if count})


def dominant_scripts(texts: Iterable[str], head: int = HEAD) -> list[str]:
    """The most frequent script in the first ``head`` characters of each text; "" for a text without any script."""
    return [
        _names()[best] if row[best] else ""
        for table in _tables(texts, head)
        for row, best in zip(table, table.argmax(axis=1), strict=True)
    ]


def share_without_spaces(counts: Mapping[str, int]) -> float:
    """The share, from 0 to 1, of counted characters in scripts that do not separate words by spaces; 0 for no characters."""
    total = sum(counts.values())
    return sum(count for name, count in counts.items() if name in WITHOUT_SPACES) / total if total else 0.0


@cache
def _names() -> list[str]:
    """Names of all scripts, sorted."""
    return sorted(name.replace("_", " ") for name in Scripts.NAMES.values())


@cache
def _script_of() -> np.ndarray:
    """The script of every code point as an index into :func:`_names`, uint8, shape (0x110000,)."""
    index = {name: rank for rank, name in enumerate(_names())}
    ranges = np.searchsorted(np.array(Scripts.RANGES), np.arange(0x110000), side="right") - 1
    of_range = np.array([index[Scripts.NAMES[code].replace("_", " ")] for code in Scripts.VALUES], dtype=np.uint8)
    return of_range[ranges]


def _tables(texts: Iterable[str], head: int) -> Iterator[np.ndarray]:
    """Characters by script, 0 for ``NO_SCRIPT``, at the beginning of each text of a chunk, (texts, scripts)."""
    names = _names()
    counted = np.array([name not in NO_SCRIPT for name in names])
    for chunk in chunks(texts):
        heads = [text[:head] for text in chunk]
        rows = np.repeat(np.arange(len(heads)), [len(text) for text in heads])
        scripts = _script_of()[np.frombuffer("".join(heads).encode("utf-32-le", "surrogatepass"), dtype="<u4")]
        yield np.bincount(rows * len(names) + scripts, minlength=len(heads) * len(names)).reshape(len(heads), -1) * counted
