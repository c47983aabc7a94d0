"""Which rows cannot be used and which carry markup noise, and the order of the labels."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.data.text.content import has_text
from headway.data.text.markup import LINEAR_MARKUP

#: Why a row is left out, in order of precedence. A row's reason is stored as an index into this tuple; 0 means it is kept.
REASONS = (
    "",
    "unreadable",
    "missing text",
    "missing label",
    "too long",
    "conflicting labels",
    "missing time",
    "unreadable time",
    "dropped by data.label_map",
    "duplicate",
    "near-duplicate of a held-out row",
    "near-duplicate of a later row",
    "after split.train_until",
    "near-duplicate of rows in different splits",
    "class without training rows",
    "not sampled",
)
CODE: Mapping[str, int] = {reason: code for code, reason in enumerate(REASONS)}
#: Reasons that mean bad data, and count against ``data.max_bad_share``. Rows left out for another reason are fine in themselves.
BAD = REASONS[1:8]
#: Reasons that exist only with ``split.time_column``.
OF_TIME = ("missing time", "unreadable time", "near-duplicate of a later row", "after split.train_until")

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
# Only white space, control and format characters.
_BLANK = r"^[\s\pC\pZ]*$"
#: Noise that a kept text may contain: it is counted for the report, and the tokenizer's normalisation removes most of it.
MARKUP_NOISE = {
    "html": LINEAR_MARKUP,
    "control_characters": r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]",
    "mojibake": r"[ÃÂ][\x{80}-\x{bf}]|â€|\x{fffd}",
}


def reasons(batch: pa.RecordBatch, max_characters: int) -> np.ndarray:
    """Why each row cannot be used, regardless of the others: indices into ``REASONS``, uint8, (rows,); 0 if usable."""
    codes = np.zeros(batch.num_rows, dtype=np.uint8)
    codes[_where(pc.greater(pc.utf8_length(batch["text"]), max_characters))] = CODE["too long"]
    if "label" in batch.schema.names:
        codes[_matches(batch["label"], _BLANK)] = CODE["missing label"]
    codes[[not has_text(text or "") for text in batch["text"].to_pylist()]] = CODE["missing text"]
    codes[_where(pc.not_equal(batch["problem"], ""))] = CODE["unreadable"]
    return codes


def count_markup_noise(texts: pa.Array) -> dict[str, int]:
    """The number of texts that contain each kind of markup noise."""
    return {name: int(_matches(texts, pattern).sum()) for name, pattern in MARKUP_NOISE.items()}


def sort_labels(labels: set[str]) -> list[str]:
    """Labels in the order of their ids: by value if all are numbers, otherwise by code point."""
    if all(_NUMBER.fullmatch(label) for label in labels):
        return sorted(labels, key=lambda label: (float(label), label))
    return sorted(labels)


def _matches(column: pa.Array, pattern: str) -> np.ndarray:
    return _where(pc.match_substring_regex(pc.fill_null(column, ""), pattern))


def _where(mask: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), dtype=bool)
