"""Whole words in a text of sub-words, for the linear part of the classifier.

Sub-words let it learn from rare words, but of a word that was cut into pieces, the pieces alone are features, and the same word
after a bracket has others. So n-grams of whole words are features too. A word is a run of pieces with letters or digits, of which
only the first may have a space before it, and a run of symbols counts like a word. It is known by the hash of its bytes
b_1 … b_n, so that it does not matter how it was cut:

    h = Σ_i (b_i + 1) · M^(n - i)    modulo 2^64, with M = MULTIPLIER

All hashes of a text come from one cumulative sum. With piece t's hash h_t, and e_t bytes up to its end, a word of the pieces
s … e has

    h = M^(e_e) · Σ_{t=s…e} h_t · M^(-e_t)

because M is odd and has an inverse.

Shapes: B texts, T positions, V pieces in the vocabulary, W words in all texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self
from unicodedata import category

import torch
from torch import Tensor

#: Of the hashes. They are odd, so that multiplying by them is invertible modulo 2^64; a collision occurs in one of 10^7 data
#: sets. The second one and the number of words in an n-gram keep words apart from pieces.
MULTIPLIER, MIXER = 6_364_136_223_846_793_005, 2_862_933_555_777_941_757
#: Kinds of pieces: special tokens and spaces, which belong to no word; letters and digits; symbols.
NO_WORD, LETTERS, SYMBOLS = 0, 1, 2


class Pieces(NamedTuple):
    """What the vocabulary's pieces are, each tensor of shape (V,).

    Attributes:
        hashes: int64, of the bytes without the space before them.
        lengths: int64, number of these bytes.
        kinds: int64, NO_WORD, LETTERS or SYMBOLS.
        spaced: bool, whether a space stands before it, so that it begins a word.
    """

    hashes: Tensor
    lengths: Tensor
    kinds: Tensor
    spaced: Tensor

    @classmethod
    def of(cls, vocabulary: Sequence[bytes]) -> Self:
        """From the bytes of each piece, with the space before it; empty for a special token."""
        contents = [piece.removeprefix(b" ") for piece in vocabulary]
        return cls(
            torch.tensor([_hash(content) for content in contents], dtype=torch.int64),
            torch.tensor([len(content) for content in contents], dtype=torch.int64),
            torch.tensor([_kind(content) for content in contents], dtype=torch.int64),
            torch.tensor([piece.startswith(b" ") for piece in vocabulary], dtype=torch.bool),
        )


class WordNgrams(NamedTuple):
    """All n-grams of words in some texts, each tensor int64: row, hash, and the tokens it spans: the first, and their number."""

    rows: Tensor
    keys: Tensor
    starts: Tensor
    lengths: Tensor


def word_ngrams(tokens: Tensor, pieces: Pieces, max_words: int) -> WordNgrams:
    """The n-grams, from single words to ``max_words`` words, of padded tokens, int64, (B, T)."""
    rows, hashes, starts, ends = _words(tokens, pieces)
    found = []
    keys = torch.zeros_like(hashes)
    for order in range(1, max_words + 1):
        n = len(hashes) - order + 1
        if n < 1:
            break
        keys = keys[:n] * MIXER + hashes[order - 1 :]
        same = rows[:n] == rows[order - 1 :]
        span = ends[order - 1 :] - starts[:n] + 1
        found.append((rows[:n][same], (keys[:n] * MIXER + order)[same], starts[:n][same], span[same]))
    if not found:
        return WordNgrams(*(tokens.new_zeros(0) for _ in range(4)))
    return WordNgrams(*map(torch.cat, zip(*found, strict=True)))


def _words(tokens: Tensor, pieces: Pieces) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row, hash, first and last token of each word, each (W,), in the order of the texts."""
    pieces = Pieces(*(values.to(tokens.device) for values in pieces))
    kinds = pieces.kinds[tokens]  # (B, T)
    edge = torch.zeros_like(kinds[:, :1])
    begins = (kinds > 0) & (pieces.spaced[tokens] | (kinds != torch.cat([edge, kinds[:, :-1]], dim=1)))
    after = torch.cat([begins[:, 1:] | (kinds[:, 1:] == 0), edge == 0], dim=1)
    rows, starts = begins.nonzero(as_tuple=True)
    _, ends = ((kinds > 0) & after).nonzero(as_tuple=True)  # as many, in the same order
    read = pieces.lengths[tokens].cumsum(dim=1)  # (B, T): bytes up to the end of a piece
    longest = int(read.max()) if read.numel() else 0
    sums = (pieces.hashes[tokens] * _powers(pow(MULTIPLIER, -1, 2**64), longest).to(tokens.device)[read]).cumsum(dim=1)
    sums = torch.cat([edge, sums], dim=1)  # (B, T + 1): of the pieces before a position
    hashes = (sums[rows, ends + 1] - sums[rows, starts]) * _powers(MULTIPLIER, longest).to(tokens.device)[read[rows, ends]]
    return rows, hashes, starts, ends


def _powers(base: int, highest: int) -> Tensor:
    """base^0 … base^highest modulo 2^64, int64."""
    factors = torch.full((highest + 1,), _signed(base), dtype=torch.int64)
    factors[0] = 1
    return factors.cumprod(dim=0)


def _hash(content: bytes) -> int:
    value = 0
    for byte in content:
        value = (value * MULTIPLIER + byte + 1) % 2**64
    return _signed(value)


def _signed(value: int) -> int:
    """A number modulo 2^64 as an int64."""
    return (value + 2**63) % 2**64 - 2**63


def _kind(content: bytes) -> int:
    """Of a piece. One that ends within a character counts as letters, because most of such characters are."""
    if not content:
        return NO_WORD
    text = content.decode(errors="ignore")
    # Marks too: vowel signs of Indic scripts, for one, are part of a word.
    return LETTERS if not text or any(category(character)[0] in "LMN" for character in text) else SYMBOLS
