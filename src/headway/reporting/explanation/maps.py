"""The attention maps on the page, in panels with the text that they belong to.

An attention part that was trained from scratch has a panel for each window of tokens. A pretrained encoder has one for the means
of each layer's heads, and one for the heads of each layer.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace

import numpy as np

from headway.reporting.explanation.coloured import Piece, pieces
from headway.serving.explain import AttentionPart, Explanation, PretrainedPart

#: Attention weights that a page can hold. With more, only the first and the last windows, or the means of heads, are shown.
MAX_WEIGHTS = 2_000_000


@dataclass(frozen=True)
class Panel:
    """Attention maps of the same positions.

    Attributes:
        title: what the maps have in common.
        names: of the maps, (M,).
        length: number of positions, n.
        pieces: the text; first and last count the positions.
        weights: base64 of uint16, little endian, shares of 65,535; (M, n, n).
        start: number of the token piece that is chosen at first.
    """

    title: str
    names: list[str]
    length: int
    pieces: list[Piece]
    weights: str
    start: int


def windows(explanation: Explanation, attention: AttentionPart) -> tuple[list[Panel], int]:
    """The windows that are shown, and the number of all windows. Of many windows only the first and the last are shown."""
    if attention.maps is None:
        return [], 0
    size, S = attention.window_size, len(attention.seen)
    n_windows = -(-S // size)
    heads = sum(layer.shape[1] for layer in attention.maps)
    shown = MAX_WEIGHTS // (heads * size * size)
    first, last = (shown + 1) // 2, shown // 2
    return [
        _window(explanation, attention, attention.maps, number)
        for number in range(n_windows)
        if number < first or number >= n_windows - last
    ], n_windows


def _window(explanation: Explanation, attention: AttentionPart, maps: tuple[np.ndarray, ...], number: int) -> Panel:
    begin = number * attention.window_size
    end = min(begin + attention.window_size, len(attention.seen))
    inside = attention.seen[begin:end]
    spans = explanation.spans[inside]
    # The text from the first of these tokens to the last. The rest belongs to other windows.
    offset = int(spans[0, 0])
    found = pieces(explanation.text[offset : int(spans[:, 1].max())], spans - offset, explanation.kept[inside])
    title = f"tokens {begin + 1:,} to {end:,}"
    return Panel(
        title=f"Window {number + 1:,}: {title}" if len(attention.seen) > attention.window_size else title,
        names=[
            (f"layer {layer}, head {head}" if len(maps) > 1 else f"head {head}")
            for layer, weights in enumerate(maps, start=1)
            for head in range(1, weights.shape[1] + 1)
        ],
        length=end - begin,
        pieces=found,
        weights=_packed(np.concatenate([layer[number, :, : end - begin, : end - begin] for layer in maps])),
        start=_piece_at(found, int(np.abs(attention.tokens[begin:end]).argmax())),
    )


def layers(explanation: Explanation, part: PretrainedPart) -> list[Panel]:
    """The means of each layer's heads, and each layer's heads if the page can hold them. Empty if it cannot hold the means.

    Empty also for a static encoder, which has no layers.
    """
    maps, length = part.maps, len(part.subwords.names)
    if not maps or len(maps) * length**2 > MAX_WEIGHTS:
        return []
    found = _with_special(part, pieces(explanation.text, *words(part)))
    strongest = int(np.abs(np.where(part.subwords.words >= 0, part.contributions, 0)).argmax())
    means = Panel(
        title="Mean of the heads of each layer",
        names=[f"layer {layer}" for layer in range(1, len(maps) + 1)],
        length=length,
        pieces=found,
        weights=_packed(np.stack([heads.mean(axis=0) for heads in maps])),
        start=_piece_at(found, strongest),
    )
    if sum(len(heads) + 1 for heads in maps) * length**2 > MAX_WEIGHTS:
        return [means]
    return [means] + [
        replace(
            means,
            title=f"Layer {layer}",
            names=[f"layer {layer}, head {head}" for head in range(1, len(heads) + 1)],
            weights=_packed(heads),
        )
        for layer, heads in enumerate(maps, start=1)
    ]


def words(part: PretrainedPart) -> tuple[np.ndarray, np.ndarray]:
    """Start and end of each word, (W, 2), and its position, (W,), with a gap where the text was truncated; for :func:`pieces`."""
    subwords = part.subwords
    skipped = subwords.kept - np.arange(len(subwords.kept))  # (S,)
    edges = subwords.edges
    return subwords.word_spans, np.arange(len(edges)) + skipped[edges[:, 0]]


def _with_special(part: PretrainedPart, found: list[Piece]) -> list[Piece]:
    """Pieces that count words as pieces that count sub-words, between the special sub-words at both ends."""
    names, edges = part.subwords.names, part.subwords.edges
    begin, end = (int(edges[0, 0]), int(edges[-1, 1]) + 1) if len(edges) else (len(names), len(names))
    special = [Piece("special", name, index, index) for index, name in enumerate(names)]
    space = Piece("gap", " ")
    inside = [
        replace(piece, first=int(edges[piece.first, 0]), last=int(edges[piece.last, 1])) if piece.kind == "token" else piece
        for piece in found
    ]
    head = [one for name in special[:begin] for one in (name, space)]
    tail = [one for name in special[end:] for one in (space, name)]
    return [*head, *inside, *tail]


def _piece_at(found: list[Piece], position: int) -> int:
    """Number of the piece that holds a position, among those that have positions; 0 if none does."""
    placed = [piece for piece in found if piece.first >= 0]
    return next((number for number, piece in enumerate(placed) if piece.first <= position <= piece.last), 0)


def _packed(weights: np.ndarray) -> str:
    return base64.b64encode(np.round(weights * 65_535).astype("<u2").tobytes()).decode()
