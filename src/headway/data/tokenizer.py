"""Text to token ids with a fitted tokenizer, and the truncation that keeps both ends of a text."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import compress
from operator import not_
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, normalizers

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


class TextEncoder:
    """Token ids of texts, by a fitted tokenizer.

    A text of printable ASCII takes a shorter way to the same ids: Unicode's forms and control characters are nothing to it,
    and looking for them is a third of all work.

    Args:
        tokenizer: fitted.
        max_length: tokens that are kept of a text.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._for_ascii = Tokenizer.from_str(tokenizer.to_str())
        self._for_ascii.encode_special_tokens = tokenizer.encode_special_tokens
        self._for_ascii.normalizer = _for_ascii(tokenizer.normalizer)

    def __call__(self, texts: Iterable[str]) -> list[np.ndarray]:
        """Each text's ids, int32 of shape (length,), 1 ≤ length ≤ max_length.

        A text without any token (one emoji that normalisation removes, say) is a single unknown token.
        """
        encoded: list[np.ndarray] = []
        for portion in portions(texts):
            plain = [text.isascii() and text.isprintable() for text in portion]
            short = iter(self._ids(self._for_ascii, compress(portion, plain)))
            whole = iter(self._ids(self.tokenizer, compress(portion, map(not_, plain))))
            encoded += [next(short if is_plain else whole) for is_plain in plain]
        return encoded

    def _ids(self, tokenizer: Tokenizer, texts: Iterable[str]) -> list[np.ndarray]:
        return [
            truncate(np.asarray(encoding.ids or [UNKNOWN_ID], dtype=np.int32), self.max_length)
            for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]


def _for_ascii(normalizer: normalizers.Sequence) -> normalizers.Sequence:
    """The steps of a normaliser that can change a text of printable ASCII."""
    steps: list[normalizers.Normalizer] = []
    for step in map(normalizer.__getitem__, range(len(normalizer))):
        if isinstance(step, normalizers.BertNormalizer):
            steps += [normalizers.Lowercase()] if step.lowercase else []
        elif not isinstance(step, (normalizers.NFC, normalizers.NFD, normalizers.NFKC)):
            steps.append(step)
    return normalizers.Sequence(steps)
