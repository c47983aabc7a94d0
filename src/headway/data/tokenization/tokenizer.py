"""Text to token ids with a fitted tokenizer, truncated to both ends of a text."""

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

from headway.data.text.chunks import chunks
from headway.data.text.markup import MARKUP
from headway.files import stage_output

PADDING, UNKNOWN = "[PAD]", "[UNK]"
PADDING_ID, UNKNOWN_ID = 0, 1
_WHITE_SPACE_TO_SPACE = str.maketrans("\t\n\r", "   ")


def load(path: Path) -> Tokenizer:
    """Load a tokenizer from its JSON file; StageOutputError if it is missing or damaged."""
    with stage_output(path, "tokenize", Exception):  # the tokenizers library raises plain Exception
        return from_json(path.read_text(encoding="utf-8"))


def from_json(text: str) -> Tokenizer:
    """The tokenizer that a JSON text describes; the tokenizers library raises plain Exception if it is damaged."""
    tokenizer = Tokenizer.from_str(text)
    # Not saved in the JSON. With it, "[PAD]" in a text is three ordinary tokens instead of the padding token.
    tokenizer.encode_special_tokens = True
    return tokenizer


def truncate(ids: np.ndarray, max_length: int) -> np.ndarray:
    """Shorten a text to ``max_length`` ids, half from its beginning and half from its end, where reviews state their opinion."""
    if len(ids) <= max_length:
        return ids
    head = (max_length + 1) // 2
    return np.concatenate([ids[:head], ids[len(ids) - (max_length - head) :]])


class AsciiWordTokenizer:
    """A fast path for printable ASCII texts, which gives the same ids as the tokenizers library in a fraction of the time.

    Such texts need no Unicode normalisation. After their markup is removed, spaces and punctuation separate the words.
    """

    def __init__(self, ids: Mapping[str, int], strip_html: bool, lowercase: bool) -> None:
        self._ids = ids
        # All markup begins with < or &. Looking for these first is faster.
        self._markup = re.compile(f"(?=[<&])(?:{MARKUP})") if strip_html else None
        self._lowercase = lowercase

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Self | None:
        """The fast path of a tokenizer; None if it is not of kind word, or has an unknown normalisation step."""
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
    def supports(text: str) -> bool:
        """Whether a text consists of printable ASCII, tabs and line breaks."""
        return text.isascii() and text.translate(_WHITE_SPACE_TO_SPACE).isprintable()

    def __call__(self, text: str) -> np.ndarray:
        """The ids of a supported text, int32, shape (length,)."""
        if self._markup:
            text = self._markup.sub(" ", text)
        if self._lowercase:
            text = text.lower()
        for mark in punctuation:
            text = text.replace(mark, f" {mark} ")
        return np.fromiter(map(self._ids.get, text.split(), repeat(UNKNOWN_ID)), np.int32)


class TextEncoder:
    """Encodes texts as token ids.

    Printable ASCII texts take the fast path of :class:`AsciiWordTokenizer` if the tokenizer has one. Meanwhile the library
    encodes the other texts in a second thread. Texts of more than ``max_length`` tokens are truncated, see :func:`truncate`.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._fast = AsciiWordTokenizer.of(tokenizer)

    def __call__(self, texts: Iterable[str]) -> list[np.ndarray]:
        """Encode texts, int32, shape (length,) each, with 1 ≤ length ≤ max_length.

        A text without any token, such as one that normalisation empties, is encoded as one unknown token.
        """
        encoded: list[np.ndarray] = []
        fast = self._fast
        with ThreadPoolExecutor(max_workers=1) as executor:
            for chunk in chunks(texts):
                slow = executor.submit(
                    self._encode_by_library, [text for text in chunk if not (fast and fast.supports(text))]
                )
                ids_of = [fast(text) if fast and fast.supports(text) else None for text in chunk]
                others = iter(slow.result())
                encoded += [self._fit_length(next(others) if ids is None else ids) for ids in ids_of]
        return encoded

    def _encode_by_library(self, texts: list[str]) -> list[np.ndarray]:
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings]

    def _fit_length(self, ids: np.ndarray) -> np.ndarray:
        return truncate(ids, self.max_length) if len(ids) else np.array([UNKNOWN_ID], dtype=np.int32)
