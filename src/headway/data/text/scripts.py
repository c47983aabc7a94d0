"""Which scripts texts are written in, from the Unicode script of every character; nothing here guesses languages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
from fontTools.unicodedata import Scripts

from headway.data.text.chunks import portions

#: Scripts whose words are not separated by spaces.
WITHOUT_SPACES = frozenset(
    {"Balinese", "Bopomofo", "Han", "Hiragana", "Javanese", "Katakana", "Khmer", "Lao", "Myanmar"}
    | {"New Tai Lue", "Tai Le", "Tai Tham", "Tai Viet", "Tangut", "Thai", "Tibetan", "Yi"}
)
FIRST = 300
# Spaces, digits, punctuation, emoji; marks that take the script of their letter; code points without a character.
NO_SCRIPT = ("Common", "Inherited", "Unknown")


def script_counts(texts: Iterable[str], first: int = FIRST) -> Counter[str]:
    """Characters of each script in the first so many characters of every text.

    What belongs to no script (spaces, digits, punctuation, emoji) is not counted. Counts of several calls add up.

    Returns:
        name of the script ("Latin", "Han", "Old Turkic") to a count above 0, in the order of the names.
    """
    total = np.zeros(len(_names()), dtype=np.int64)
    for chunk in portions(texts):
        total += np.bincount(_scripts("".join(text[:first] for text in chunk)), minlength=len(total))
    return Counter(
        {name: int(count) for name, count in zip(_names(), total, strict=True) if count and name not in NO_SCRIPT}
    )


def dominant_scripts(texts: Iterable[str], first: int = FIRST) -> list[str]:
    """The script that most of a text's first so many characters belong to, of each text; "" where none has a script."""
    names = _names()
    counted = np.array([name not in NO_SCRIPT for name in names])
    dominant = []
    for chunk in portions(texts):
        heads = [text[:first] for text in chunk]
        rows = np.repeat(np.arange(len(heads)), [len(head) for head in heads])
        cells = np.bincount(rows * len(names) + _scripts("".join(heads)), minlength=len(heads) * len(names))
        table = cells.reshape(len(heads), len(names)) * counted  # (texts, scripts)
        dominant += [names[best] if row[best] else "" for row, best in zip(table, table.argmax(axis=1), strict=True)]
    return dominant


def share_without_spaces(counts: Mapping[str, int]) -> float:
    """The share, from 0 to 1, of counted characters whose script does without spaces; 0 where nothing is counted."""
    total = sum(counts.values())
    return sum(count for name, count in counts.items() if name in WITHOUT_SPACES) / total if total else 0.0


@cache
def _names() -> list[str]:
    """All scripts' names, sorted."""
    return sorted(name.replace("_", " ") for name in Scripts.NAMES.values())


@cache
def _script_of() -> np.ndarray:
    """The script of every code point as an index into the names, uint8, shape (0x110000,)."""
    index = {name: rank for rank, name in enumerate(_names())}
    ranges = np.searchsorted(np.array(Scripts.RANGES), np.arange(0x110000), side="right") - 1
    of_range = np.array([index[Scripts.NAMES[code].replace("_", " ")] for code in Scripts.VALUES], dtype=np.uint8)
    return of_range[ranges]


def _scripts(text: str) -> np.ndarray:
    """The script of every character of a text, shape (characters,)."""
    return np.take(_script_of(), np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4"))
