"""Text to token ids with a fitted tokenizer, and the truncation that keeps both ends of a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from headway.data.portions import portions
from headway.errors import HeadwayError

PADDING, UNKNOWN = "[PAD]", "[UNK]"
PADDING_ID, UNKNOWN_ID = 0, 1


def load(path: Path) -> Tokenizer:
    """Read a tokenizer's JSON.

    Raises:
        HeadwayError: the file is missing or damaged.
    """
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HeadwayError(f"{path}: missing; it is made by `dvc repro tokenize`") from None
    except Exception as error:  # noqa: BLE001 - the tokenizers library raises bare Exception
        raise HeadwayError(f"{path}: damaged: {error}; make it again with `dvc repro --force tokenize`") from None
    # The JSON does not keep it: "[PAD]" written in a text is three tokens of text, and never the padding's id.
    tokenizer.encode_special_tokens = True
    return tokenizer


def truncate(ids: np.ndarray, max_length: int) -> np.ndarray:
    """The first and the last half of ``max_length`` ids of a longer text, which keeps how a review opens and concludes."""
    if len(ids) <= max_length:
        return ids
    head = (max_length + 1) // 2
    return np.concatenate([ids[:head], ids[len(ids) - (max_length - head) :]])


def encode(tokenizer: Tokenizer, texts: list[str], max_length: int) -> list[np.ndarray]:
    """Token ids of texts, each int32 of shape (length,), 1 ≤ length ≤ max_length.

    A text without any token (one emoji that normalisation removes, say) is a single unknown token.
    """
    encoded = []
    for portion in portions(texts):
        for encoding in tokenizer.encode_batch_fast(portion, add_special_tokens=False):
            encoded.append(truncate(np.asarray(encoding.ids or [UNKNOWN_ID], dtype=np.int32), max_length))
    return encoded
