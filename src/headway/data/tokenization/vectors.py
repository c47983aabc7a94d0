"""Word vectors that others have trained, from a file: what the embeddings start from."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from headway.errors import HeadwayError

FILE = "vectors.npy"


def read(path: Path, tokenizer: Tokenizer) -> np.ndarray:
    """The vectors of a tokenizer's tokens.

    Args:
        path: text with a word and its numbers a line, as GloVe and fastText write it; fastText's first line, with the number
            of words and of numbers, is passed over. It may be compressed (``.gz``, ``.bz2``, ``.zst``).
        tokenizer: a token's vector is that of the word that it spells.

    Returns:
        float32, (V, n); a row of zeros where the file has no such word.

    Raises:
        HeadwayError: the file is not there or not such text, or has none of the words.
    """
    wanted = _spelled(tokenizer)
    found: dict[int, np.ndarray] = {}
    n = 0
    for number, line in enumerate(_lines(path), 1):
        word, *values = line.rstrip().split(" ", 1)
        if number == 1 and len(values) == 1 and values[0].isdigit():
            continue
        if n and word not in wanted:
            continue  # most lines: not worth looking at
        row = _numbers(values[0] if values else "")
        n = n or (0 if row is None else len(row))
        if row is None or len(row) != n or not n:
            if n and line.count(" ") > n:
                continue  # a word with a space in it, of which GloVe's largest files have a few
            raise HeadwayError(
                f"{path}, line {number}: expected a word and {n or 'its'} numbers, separated by spaces, "
                f"found {line.rstrip()[:40]!r}; give a file of GloVe or fastText vectors as text"
            )
        for token in wanted.get(word, ()):
            found.setdefault(token, row)
    if not found:
        raise HeadwayError(f"{path}: has none of the {len(wanted):,} words of the training texts; is it of their language?")
    vectors = np.zeros((tokenizer.get_vocab_size(), n), np.float32)
    vectors[list(found)] = np.stack(list(found.values()))
    return vectors


def load(folder: Path) -> np.ndarray | None:
    """The vectors that lie beside the tokenizer in ``folder``; None where there are none."""
    path = folder / FILE
    return np.load(path) if path.exists() else None


def _spelled(tokenizer: Tokenizer) -> dict[str, list[int]]:
    """Token ids by the word that they spell; 0 is padding and 1 any unknown word."""
    ids = range(2, tokenizer.get_vocab_size())
    spelled: dict[str, list[int]] = {}
    for token, text in zip(ids, tokenizer.decode_batch([[token] for token in ids]), strict=True):
        if word := text.strip():
            spelled.setdefault(word, []).append(token)
    return spelled


def _lines(path: Path) -> Iterator[str]:
    try:
        raw = pa.input_stream(str(path))  # which decompresses by the file's name
        with io.TextIOWrapper(raw, encoding="utf-8", errors="replace", newline="\n") as lines:
            yield from lines
    except FileNotFoundError:
        raise HeadwayError(
            f"{path}: no such file, but tokenizer.word_vectors names it; put it there, or name none"
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise HeadwayError(f"{path}: cannot be read: {' '.join(str(error).split())}; check that it is whole") from None


def _numbers(text: str) -> np.ndarray | None:
    try:
        row = np.array(text.split(" "), dtype=np.float32)
    except ValueError:
        return None
    return row if np.isfinite(row).all() else None
