"""Pretrained word vectors from a GloVe, word2vec or fastText file, which initialise the token embeddings."""

from __future__ import annotations

import io
from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from headway.errors import HeadwayError, first_line

FILE = "vectors.npy"


def read(path: Path, tokenizer: Tokenizer) -> np.ndarray:
    """Read the vectors of a tokenizer's tokens.

    Returns:
        float32, shape (vocabulary size, vector size); zeros for tokens that decode to no word of the file.

    Raises:
        HeadwayError: as :func:`rows` raises it, or the file contains none of the words.
    """
    wanted = _tokens_by_word(tokenizer)
    found: dict[int, np.ndarray] = {}
    for word, row in rows(path, wanted):
        for token in wanted.get(word, ()):
            found.setdefault(token, row)
    if not found:
        raise HeadwayError(
            f"{path}: contains none of the {len(wanted):,} words of the vocabulary; use vectors in the language of the texts"
        )
    vectors = np.zeros((tokenizer.get_vocab_size(), len(next(iter(found.values())))), np.float32)
    vectors[list(found)] = np.stack(list(found.values()))
    return vectors


def rows(path: Path, wanted: Container[str] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """The words of a file with their vectors, float32, (n,), in the order of the file.

    The text file has a word and its numbers on each line, as GloVe, word2vec and fastText write it; a first line with the size of
    the table is skipped. It may be compressed (``.gz``, ``.bz2``, ``.zst``).

    Args:
        wanted: words to read, besides the first one; None for all.

    Raises:
        HeadwayError: the file is missing or has another format.
    """
    n = 0
    for number, line in enumerate(_lines(path), 1):
        word, *values = line.rstrip().split(" ", 1)
        if number == 1 and len(values) == 1 and values[0].isdigit():
            continue
        if n and wanted is not None and word not in wanted:
            continue  # parsing the numbers is slow, and most words are not in the vocabulary
        row = _parse_numbers(values[0] if values else "")
        n = n or (0 if row is None else len(row))
        if row is None or len(row) != n or not n:
            if n and line.count(" ") > n:
                continue  # GloVe's largest files have a few words that contain a space
            raise HeadwayError(
                f"{path}, line {number}: expected a word and {n or 'its'} numbers, separated by spaces, "
                f"found {line.rstrip()[:40]!r}; use GloVe, word2vec or fastText vectors in text format"
            )
        yield word, row


def load(folder: Path) -> np.ndarray | None:
    """Load the vectors that were saved beside the tokenizer in ``folder``; None if there are none."""
    path = folder / FILE
    return np.load(path) if path.exists() else None


def _tokens_by_word(tokenizer: Tokenizer) -> dict[str, list[int]]:
    """Ids of the tokens that decode to each word, without the special tokens 0 and 1."""
    ids = range(2, tokenizer.get_vocab_size())
    tokens: dict[str, list[int]] = {}
    for token, text in zip(ids, tokenizer.decode_batch([[token] for token in ids]), strict=True):
        if word := text.strip():
            tokens.setdefault(word, []).append(token)
    return tokens


def _lines(path: Path) -> Iterator[str]:
    try:
        raw = pa.input_stream(str(path))  # decompresses according to the file's name
        with io.TextIOWrapper(raw, encoding="utf-8", errors="replace", newline="\n") as lines:
            yield from lines
    except FileNotFoundError:
        raise HeadwayError(
            f"{path}: no such file, although tokenizer.word_vectors names it; put it there, or leave the knob empty"
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise HeadwayError(f"{path}: cannot be read: {first_line(error)}; check that it is complete") from None


def _parse_numbers(text: str) -> np.ndarray | None:
    try:
        row = np.array(text.split(" "), dtype=np.float32)
    except ValueError:
        return None
    return row if np.isfinite(row).all() else None
