"""The explanation page, and a summary of an explanation in a few lines."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headway.files import write_text
from headway.foreign_text import one_line
from headway.reporting import pages
from headway.reporting.formatting import share, signed
from headway.serving.explain import AttentionPart, Explanation, Ngram

TEMPLATE = Path(__file__).with_name("page.html")
SCRIPT = Path(__file__).with_name("page.js")
#: Attention weights that a page can hold. With more, only the first and the last windows are shown.
MAX_WEIGHTS = 2_000_000
MAX_CLASSES = 12
#: Of a longer run of characters outside all tokens, only the beginning and the end are shown.
LONGEST_GAP = 400


@dataclass(frozen=True)
class Piece:
    """A part of the text: one token or several that share characters, characters between tokens, or characters left out.

    Attributes:
        kind: ``"gap"``, ``"unseen"`` or ``"token"``.
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


@dataclass(frozen=True)
class Window:
    """The attention maps of one window of positions.

    Attributes:
        weights: base64 of uint16, little endian, shares of 65,535; (layers · heads, length, length).
        start: number of the token piece that is chosen at first.
    """

    number: int
    first: int
    length: int
    pieces: list[Piece]
    weights: str
    start: int


def write(path: Path, explanation: Explanation) -> None:
    """Write the page in one step; a page that exists is replaced."""
    write_text(path, render(explanation))


def describe(explanation: Explanation) -> list[str]:
    """The label, the contributions of the parts, and the strongest n-grams for and against it, one line each."""
    predicted, linear = explanation.predicted, explanation.linear
    label = one_line(explanation.classes[predicted])
    attention = explanation.attention.logits[predicted]
    parts = [f"attention {signed(attention)}"]
    if linear is not None:
        parts.insert(0, f"n-grams {signed(linear.logits[predicted])}")
    lines = [
        f"{label}\t{explanation.probabilities[predicted]:.4f}",
        f"logit above the mean of all classes: {', '.join(parts)}",
    ]
    if linear is not None:
        lines += [f"for {label}: {_list(linear.strongest_for)}", f"against: {_list(linear.strongest_against)}"]
    return lines


def _list(ngrams: Sequence[Ngram], most: int = 6) -> str:
    return ", ".join(f"{one_line(one.surface)} {signed(one.contribution)}" for one in ngrams[:most]) or "none"


def render(explanation: Explanation) -> str:
    """The page as HTML. It loads nothing from outside itself, and its policy allows its own script only."""
    from markupsafe import Markup

    predicted, linear, attention = explanation.predicted, explanation.linear, explanation.attention
    everything = np.arange(len(explanation.spans))
    windows, n_windows = _windows(explanation)
    script = SCRIPT.read_text(encoding="utf-8")
    return pages.render(
        TEMPLATE,
        filters={"signed": signed},
        label=explanation.classes[predicted],
        probability=float(explanation.probabilities[predicted]),
        likeliest=np.argsort(-explanation.probabilities, kind="stable")[:MAX_CLASSES].tolist(),
        explanation=explanation,
        linear=linear,
        attention=attention,
        terms=_terms(explanation),
        by_ngrams=_coloured(explanation, everything, linear.tokens) if linear is not None else [],
        by_gradients=_coloured(explanation, attention.seen, attention.tokens),
        by_pooling=_pooled(explanation),
        largest={
            "ngrams": _largest(linear.tokens) if linear is not None else 0.0,
            "gradients": _largest(attention.tokens),
            "pooling": float(attention.pooling.mean(axis=1).max()),
        },
        windows=windows,
        n_windows=n_windows,
        maps=_map_names(attention),
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    ).html


def _terms(explanation: Explanation) -> list[tuple[str, str, float]]:
    """The terms that sum to the predicted class's logit: part, name, value."""
    linear, attention = explanation.linear, explanation.attention
    terms = [
        ("attention", "the text's tokens", float(attention.tokens.sum())),
        ("attention", "a blank text of this length", attention.blank),
        ("attention", "error of the numerical integral", attention.left_over),
    ]
    if linear is not None:
        terms = [("n-grams", "the text's n-grams", float(linear.tokens.sum())), ("n-grams", "bias", linear.bias), *terms]
    return terms


# The text with its tokens


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


def _coloured(explanation: Explanation, seen: np.ndarray, values: np.ndarray) -> list[Coloured]:
    """The text with the contribution of each token."""
    largest = _largest(values) or 1.0
    found = []
    for piece in pieces(explanation.text, explanation.spans[seen], explanation.kept[seen]):
        value = float(values[piece.first : piece.last + 1].sum()) if piece.kind == "token" else 0.0
        several = f", {piece.last - piece.first + 1} tokens" if piece.last > piece.first else ""
        fullness = max(-1.0, min(1.0, value / largest))
        found.append(Coloured(piece, value, fullness, signed(value) + several))
    return found


def _pooled(explanation: Explanation) -> list[Coloured]:
    """The text with each token's mean share in the pooling heads."""
    attention = explanation.attention
    values = attention.pooling.mean(axis=1)
    found = []
    for one in _coloured(explanation, attention.seen, values):
        heads = attention.pooling[one.piece.first : one.piece.last + 1].sum(axis=0)
        each = ", ".join(f"head {head} {share(float(value))}" for head, value in enumerate(heads, start=1))
        found.append(replace(one, title=f"{share(one.value)}: {each}"))
    return found


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max())


# Attention maps


def _map_names(attention: AttentionPart) -> list[str]:
    layers = attention.maps or ()
    return [
        (f"layer {layer}, head {head}" if len(layers) > 1 else f"head {head}")
        for layer, weights in enumerate(layers, start=1)
        for head in range(1, weights.shape[1] + 1)
    ]


def _windows(explanation: Explanation) -> tuple[list[Window], int]:
    """The windows that are shown, and the number of all windows. Of many windows only the first and the last are shown."""
    attention = explanation.attention
    if attention.maps is None:
        return [], 0
    size, S = attention.window_size, len(attention.seen)
    n_windows = -(-S // size)
    shown = MAX_WEIGHTS // (len(_map_names(attention)) * size * size)
    first, last = (shown + 1) // 2, shown // 2
    return [
        _window(explanation, number) for number in range(n_windows) if number < first or number >= n_windows - last
    ], n_windows


def _window(explanation: Explanation, number: int) -> Window:
    attention = explanation.attention
    assert attention.maps is not None
    begin = number * attention.window_size
    end = min(begin + attention.window_size, len(attention.seen))
    inside = attention.seen[begin:end]
    spans = explanation.spans[inside]
    # The text from the first of these tokens to the last. The rest belongs to other windows.
    offset = int(spans[0, 0])
    found = pieces(explanation.text[offset : int(spans[:, 1].max())], spans - offset, explanation.kept[inside])
    weights = np.concatenate([layer[number, :, : end - begin, : end - begin] for layer in attention.maps])
    strongest = int(np.abs(attention.tokens[begin:end]).argmax())
    tokens = [piece for piece in found if piece.kind == "token"]
    return Window(
        number=number + 1,
        first=begin,
        length=end - begin,
        pieces=found,
        weights=base64.b64encode(np.round(weights * 65_535).astype("<u2").tobytes()).decode(),
        start=next(index for index, piece in enumerate(tokens) if piece.first <= strongest <= piece.last),
    )
