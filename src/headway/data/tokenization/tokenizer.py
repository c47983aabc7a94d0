"""Text to token ids with a fitted tokenizer, and the truncation that keeps both ends of a text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from string import punctuation
from typing import Self

import numpy as np
from tokenizers import Tokenizer

from headway.data.text.chunks import portions
from headway.data.text.markup import MARKUP
from headway.errors import HeadwayError

PADDING, UNKNOWN = "[PAD]", "[UNK]"
PADDING_ID, UNKNOWN_ID = 0, 1
AS_SPACES = str.maketrans("\t\n\r", "   ")


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


class AsciiWords:
    """The short way from printable ASCII to words, as text is mostly: the same ids in a fraction of the time.

    Such a text has no forms, accents or control characters to look for. Once its markup is gone, spaces and punctuation part
    its words, which a dictionary numbers.

    Args:
        ids: by word.
        strip_html, lowercase: what the normaliser does.
    """

    def __init__(self, ids: Mapping[str, int], strip_html: bool, lowercase: bool) -> None:
        self._ids = ids
        # All markup begins with one of the two, which is faster found than the rest of it.
        self._markup = re.compile(f"(?=[<&])(?:{MARKUP})") if strip_html else None
        self._lowercase = lowercase

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self | None:
        """The short way of a tokenizer; None when it knows no words, or normalises in a way that is not told here."""
        parts = json.loads(tokenizer.to_str())
        if parts["model"]["type"] != "WordLevel" or parts["pre_tokenizer"] != {"type": "BertPreTokenizer"}:
            return None
        strip_html = lowercase = False
        for step in parts["normalizer"]["normalizers"]:
            if step["type"] == "Replace" and step["pattern"] == {"Regex": MARKUP}:
                strip_html = True
            elif step["type"] == "BertNormalizer":
                lowercase = step["lowercase"]
            elif step["type"] not in {"NFC", "NFKC"}:
                return None
        return cls(tokenizer.get_vocab(), strip_html, lowercase)

    @staticmethod
    def can_read(text: str) -> bool:
        """Whether a text is of printable ASCII, tabs and line breaks alone."""
        return text.isascii() and text.translate(AS_SPACES).isprintable()

    def __call__(self, text: str) -> np.ndarray:
        """The ids of a text that it can read, int32 of shape (length,)."""
        if self._markup:
            text = self._markup.sub(" ", text)
        if self._lowercase:
            text = text.lower()
        for mark in punctuation:
            text = text.replace(mark, f" {mark} ")
        return np.fromiter(map(self._ids.get, text.split(), repeat(UNKNOWN_ID)), np.int32)


class TextEncoder:
    """Token ids of texts, by a fitted tokenizer.

    Texts of printable ASCII take the way of :class:`AsciiWords` where there is one, while the library works on the others in
    a thread of its own.

    Args:
        tokenizer: fitted.
        max_length: tokens that are kept of a text.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._words = AsciiWords.of(tokenizer)

    def __call__(self, texts: Iterable[str]) -> list[np.ndarray]:
        """Each text's ids, int32 of shape (length,), 1 ≤ length ≤ max_length.

        A text without any token (one emoji that normalisation removes, say) is a single unknown token.
        """
        encoded: list[np.ndarray] = []
        words = self._words
        with ThreadPoolExecutor(max_workers=1) as beside:
            for portion in portions(texts):
                is_short = [words is not None and words.can_read(text) for text in portion]
                rest = beside.submit(
                    self._by_library, [text for text, short in zip(portion, is_short, strict=True) if not short]
                )
                found = [words(text) if words and short else None for text, short in zip(portion, is_short, strict=True)]
                others = iter(rest.result())
                encoded += [self._kept(next(others) if ids is None else ids) for ids in found]
        return encoded

    def _by_library(self, texts: list[str]) -> list[np.ndarray]:
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings]

    def _kept(self, ids: np.ndarray) -> np.ndarray:
        return truncate(ids, self.max_length) if len(ids) else np.array([UNKNOWN_ID], dtype=np.int32)
