"""A text cut into its tokens or words, each with the colour of its contribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headway.reporting.formatting import signed

#: Of a longer run of characters outside all tokens, only the beginning and the end are shown.
LONGEST_GAP = 400


@dataclass(frozen=True)
class Piece:
    """A part of the text: tokens that share characters, a word, characters between tokens, or characters left out.

    Attributes:
        kind: ``"gap"``, ``"unseen"`` or ``"token"``; ``"special"`` for a name that is not in the text.
        first, last: numbers of the first and the last token among those given; -1 where there is none.
    """

    kind: str
    text: str
    first: int = -1
    last: int = -1


@dataclass(frozen=True)
class Coloured:
    """A piece with its contribution, and the strength of its colour from -1 (against) to 1 (for)."""

    piece: Piece
    value: float
    fullness: float
    title: str


def pieces(text: str, spans: np.ndarray, kept: np.ndarray) -> list[Piece]:
    """A text cut at the edges of its tokens. Joined again, the pieces are the text, except for elided characters.

    Args:
        text: the whole text, or its part up to the end of the last token.
        spans: start and end of each token that is shown, ascending, (S, 2).
        kept: the tokens' positions in the text, (S,). Text between positions that do not follow each other was not read.
    """
    groups: list[list[int]] = []  # first and last token, first and last character
    for number, (start, end) in enumerate(spans.tolist()):
        while start < end - 1 and text[start].isspace():
            start += 1
        if groups and start < groups[-1][3] and kept[number] == kept[number - 1] + 1:
            groups[-1][1], groups[-1][3] = number, max(end, groups[-1][3])
        else:
            start = max(start, groups[-1][3]) if groups else start
            groups.append([number, number, start, max(start, end)])
    found: list[Piece] = []
    done = 0
    for first, last, start, end in groups:
        unseen = first > 0 and kept[first] != kept[first - 1] + 1
        if done < start or unseen:
            found.append(Piece("unseen" if unseen else "gap", _elide(text[done:start])))
        found.append(Piece("token", text[start:end] or "∅", first, last))
        done = end
    if done < len(text):
        found.append(Piece("gap", _elide(text[done:])))
    return found


def _elide(text: str) -> str:
    if len(text) <= LONGEST_GAP:
        return text
    shown = LONGEST_GAP // 3
    return f"{text[:shown]} … {len(text) - 2 * shown:,} characters … {text[-shown:]}"


def coloured(text: str, spans: np.ndarray, kept: np.ndarray, values: np.ndarray) -> list[Coloured]:
    """A text with the contribution of each token, (S,); for ``spans`` and ``kept`` see :func:`pieces`."""
    largest = strongest(values) or 1.0
    found = []
    for piece in pieces(text, spans, kept):
        value = float(values[piece.first : piece.last + 1].sum()) if piece.kind == "token" else 0.0
        several = f", {piece.last - piece.first + 1} tokens" if piece.last > piece.first else ""
        fullness = max(-1.0, min(1.0, value / largest))
        found.append(Coloured(piece, value, fullness, signed(value) + several))
    return found


def strongest(values: np.ndarray) -> float:
    """The largest absolute value, 0 if there is none."""
    return float(np.abs(values).max(initial=0))
