"""The explanation page, and a summary of an explanation in a few lines."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headway.files import write_text
from headway.foreign_text import one_line
from headway.reporting import pages
from headway.reporting.explanation import maps
from headway.reporting.explanation.coloured import Coloured, coloured, strongest
from headway.reporting.formatting import share, signed
from headway.serving.explain import AttentionPart, Explanation, Ngram, PretrainedPart

TEMPLATE = Path(__file__).with_name("page.html")
SCRIPT = Path(__file__).with_name("page.js")
MAX_CLASSES = 12
#: Characters of the text at the top of the page.
LONGEST_LEAD = 5_000
#: Special sub-words that are named.
MAX_NAMES = 4


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
    script = SCRIPT.read_text(encoding="utf-8")
    if isinstance(attention, PretrainedPart):
        shown = _of_pretrained(explanation, attention)
    else:
        shown = _of_attention(explanation, attention)
    return pages.render(
        TEMPLATE,
        label=explanation.classes[predicted],
        probability=float(explanation.probabilities[predicted]),
        likeliest=np.argsort(-explanation.probabilities, kind="stable")[:MAX_CLASSES].tolist(),
        explanation=explanation,
        longest=LONGEST_LEAD,
        linear=linear,
        attention=attention,
        terms=_terms(explanation),
        opposed=_opposed(explanation),
        by_ngrams=coloured(explanation.text, explanation.spans, explanation.kept, linear.tokens)
        if linear is not None
        else [],
        largest_ngrams=strongest(linear.tokens) if linear is not None else 0.0,
        pretrained=isinstance(attention, PretrainedPart),
        **shown,
        script=Markup(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    ).html


def _opposed(explanation: Explanation) -> tuple[float, float] | None:
    """The logits of the n-grams and of the attention part for the predicted class, if one is for it and one against it."""
    if explanation.linear is None:
        return None
    ngrams, attention = (float(part.logits[explanation.predicted]) for part in (explanation.linear, explanation.attention))
    return (ngrams, attention) if ngrams * attention < 0 else None


def _terms(explanation: Explanation) -> list[tuple[str, str, float]]:
    """The terms that sum to the predicted class's logit: part, name, value."""
    linear, attention = explanation.linear, explanation.attention
    terms = []
    if linear is not None:
        terms += [("n-grams", "the text's n-grams", float(linear.tokens.sum())), ("n-grams", "bias", linear.bias)]
    if isinstance(attention, PretrainedPart):
        terms.append(("attention", "the text's words", float(attention.words.sum())))
        if names := _special_names(attention):
            terms.append(("attention", f"special sub-words: {names}", attention.special))
    else:
        terms.append(("attention", "the text's tokens", float(attention.tokens.sum())))
    return [
        *terms,
        ("attention", "a blank text of this length", attention.blank),
        ("attention", "error of the numerical integral", attention.left_over),
    ]


def _of_attention(explanation: Explanation, attention: AttentionPart) -> dict[str, Any]:
    """What the page shows of an attention part that was trained from scratch."""
    place = explanation.text, explanation.spans[attention.seen], explanation.kept[attention.seen]
    pooled = attention.pooling.mean(axis=1)
    by_pooling = []
    for one in coloured(*place, pooled):
        heads = attention.pooling[one.piece.first : one.piece.last + 1].sum(axis=0)
        each = ", ".join(f"head {head} {share(float(value))}" for head, value in enumerate(heads, start=1))
        by_pooling.append(replace(one, title=f"{share(one.value)}: {each}"))
    panels, n_windows = maps.windows(explanation, attention)
    return {
        "by_gradients": coloured(*place, attention.tokens),
        "largest_gradients": strongest(attention.tokens),
        "by_pooling": by_pooling,
        "largest_pooling": strongest(pooled),
        "panels": panels,
        "n_windows": n_windows,
    }


def _of_pretrained(explanation: Explanation, part: PretrainedPart) -> dict[str, Any]:
    """What the page shows of a pretrained encoder."""
    place = explanation.text, *maps.words(part)
    inside = part.subwords.words >= 0
    pooled = np.bincount(part.subwords.words[inside], weights=part.shares[inside])
    return {
        "by_gradients": [_titled(part, one, signed(one.value)) for one in coloured(*place, part.words)],
        "largest_gradients": strongest(part.words),
        "by_pooling": [_titled(part, one, share(one.value)) for one in coloured(*place, pooled)],
        "largest_pooling": strongest(pooled),
        "special": _special_names(part),
        "special_pooling": float(part.shares[~inside].sum()),
        "panels": maps.layers(explanation, part),
    }


def _titled(part: PretrainedPart, one: Coloured, title: str) -> Coloured:
    """A word with a title that also has its sub-words, if there are several."""
    names: list[str] = []
    if one.piece.kind == "token":
        edges = part.subwords.edges
        names = list(part.subwords.names[edges[one.piece.first, 0] : edges[one.piece.last, 1] + 1])
    return replace(one, title=f"{title}, {len(names)} sub-words" if len(names) > 1 else title)


def _special_names(part: PretrainedPart) -> str:
    """The different sub-words without visible characters, as in the encoder's vocabulary; "" if there are none."""
    names = list(dict.fromkeys(np.array(part.subwords.names, dtype=object)[part.subwords.words < 0].tolist()))
    return ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
