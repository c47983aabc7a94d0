"""Which rows cannot be used, batch by batch, and which can but carry debris."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.data.text.markup import LINEAR_MARKUP

#: Why a row is not kept, in the order in which reasons take precedence; a row's code is its reason's place. The first is none.
REASONS = (
    "",
    "unreadable",
    "missing text",
    "missing label",
    "too long",
    "conflicting labels",
    "duplicate",
    "twin of a test row",
    "between splits",
    "class never trained",
    "left by sampling",
)
CODE: Mapping[str, int] = {reason: code for code, reason in enumerate(REASONS)}
#: Rows with these are bad; a file with many of them is not what its owner thinks. The others are good rows, too many of a kind.
BAD = REASONS[1:6]

_WHOLE = re.compile(r"([+-]?\d+)\.0+")
#: Characters that nobody sees; joiners are left out, which within a word make other letters of its neighbours.
_UNSEEN = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
_JOINERS = "\u200c\u200d"
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
# Nothing but spaces, control and format characters; of a text, markup besides.
_BLANK = r"^[\s\pC\pZ]*$"
_BLANK_TEXT = rf"^(?:{LINEAR_MARKUP}|[\s\pC\pZ])*$"
#: Debris that a text may carry and still be kept: the tokenizer copes with it.
DEBRIS = {
    "html": LINEAR_MARKUP,
    "control_characters": r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]",
    "mojibake": r"[ÃÂ][\x{80}-\x{bf}]|â€|\x{fffd}",
}


def reasons(batch: pa.RecordBatch, max_characters: int) -> np.ndarray:
    """Codes of why rows cannot be used, uint8, shape (rows,); 0 where they can, as far as a row alone tells.

    Args:
        batch: text and problem, and label unless the rows are unlabelled.
        max_characters: a longer text is refused.
    """
    codes = np.zeros(batch.num_rows, dtype=np.uint8)
    codes[_where(pc.greater(pc.utf8_length(batch["text"]), max_characters))] = CODE["too long"]
    if "label" in batch.schema.names:
        codes[_matches(batch["label"], _BLANK)] = CODE["missing label"]
    codes[_matches(batch["text"], _BLANK_TEXT)] = CODE["missing text"]
    codes[_where(pc.not_equal(batch["problem"], ""))] = CODE["unreadable"]
    return codes


def debris(texts: pa.Array) -> dict[str, int]:
    """How many of the texts carry each kind of debris."""
    return {name: int(_where(pc.match_substring_regex(texts, pattern)).sum()) for name, pattern in DEBRIS.items()}


def plain_label(label: str) -> str:
    """A label as it is counted: nothing unseen in or around it, one way to write an accented letter, and 1 for 1.0."""
    seen, before = _UNSEEN.sub("", unicodedata.normalize("NFC", label)), None
    while seen != before:
        before, seen = seen, seen.strip().strip(_JOINERS)
    whole = _WHOLE.fullmatch(seen)
    return whole[1] if whole else seen


def in_order(labels: set[str]) -> list[str]:
    """Labels sorted as people would: numbers by value, else by code point. A label's id is its place here."""
    if all(_NUMBER.fullmatch(label) for label in labels):
        return sorted(labels, key=lambda label: (float(label), label))
    return sorted(labels)


def _matches(column: pa.Array, pattern: str) -> np.ndarray:
    return _where(pc.match_substring_regex(pc.fill_null(column, ""), pattern))


def _where(mask: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), dtype=bool)
