"""What a column's name says about its content: usual names of texts and labels in many languages, and of everything else."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from importlib.resources import files

CODES = {"id", "idx", "index", "key", "num", "number", "code", "nr"}
FLAGS = {"is", "has", "was", "are", "can", "should", "had"}


def words_of(name: str) -> list[str]:
    """The lower-case words of a name in camelCase, snake_case or with spaces; plurals are singular, ``sentence1`` is one word."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", unicodedata.normalize("NFC", name))
    return [
        _singular(word.lower())
        for word in re.findall(r"[^\W_](?:[^\W_]|[\u0300-\u036f\u0900-\u0dff\u0e00-\u0e7f])*", spaced)
    ]


def _singular(word: str) -> str:
    if not word.isascii() or len(word) < 4 or word.endswith("ss"):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith("sses") else word.removesuffix("s")


#: Words by what a column of such a name holds, as :func:`words_of` gives them.
WORDS = {
    key: value.split() if key.endswith("_parts") else words_of(value)
    for key, value in tomllib.loads((files("headway.data") / "column_names.toml").read_text("utf-8")).items()
}
TEXTS, SHORT_TEXTS, OTHER_TEXTS = (set(WORDS[key]) for key in ("texts", "short_texts", "other_texts"))
OWNERS, EXPLICIT_LABELS = set(WORDS["owners"]), set(WORDS["explicit_labels"])
LABELS, PROBABLE_LABELS, POSSIBLE_LABELS = (set(WORDS[key]) for key in ("labels", "probable_labels", "possible_labels"))
NEVER_LABELS, CIRCUMSTANCES = set(WORDS["never_labels"]), set(WORDS["circumstances"])
TEXT_PARTS, LABEL_PARTS, NEVER_PARTS = (WORDS[key] for key in ("text_parts", "label_parts", "never_parts"))


def text_weight(name: str) -> float:
    """How usual a name is for the text: 3 for the best, 0.4 for names of something else."""
    words = words_of(name)
    if words and set(words) <= TEXTS:
        return 3.2
    known = [word for word in words if word in TEXTS or _short(word) in TEXTS]
    others = set(words) & OTHER_TEXTS
    if others and not (known and words[-1] in known and others <= OWNERS):
        return 0.9 if known else 0.4
    if known or _has_part(name, TEXT_PARTS):
        return 3.0 if words[-1] in TEXTS or _has_part(name, TEXT_PARTS) else 2.4
    return 1.2 if set(words) & SHORT_TEXTS else 1.0


def label_weight(name: str) -> float:
    """How usual a name is for the label: 7 for the best, 1 for unknown names, less for names of something else."""
    words = words_of(name)
    is_label = _has_part(name, LABEL_PARTS) or bool(set(words) & (LABELS | EXPLICIT_LABELS))
    foreign = set(words) & NEVER_LABELS
    if _has_part(name, NEVER_PARTS) or (foreign and not (is_label and foreign <= CODES)):
        return 0.15
    if set(words) & EXPLICIT_LABELS:
        return _by_position(words, EXPLICIT_LABELS, False, (7.0, 6.0, 3.0)) * (0.7 if foreign else 1)
    if is_label:
        return _by_position(words, LABELS, name in LABEL_PARTS or not words, (4.0, 3.8, 2.0)) * (0.7 if foreign else 1)
    if set(words) & PROBABLE_LABELS:
        return _by_position(words, PROBABLE_LABELS, False, (2.2, 2.0, 1.6))
    if set(words) & POSSIBLE_LABELS:
        return 1.5
    return 0.6 if set(words) & CIRCUMSTANCES else 1.0


def is_flag_name(name: str) -> bool:
    """Whether a name asks for yes or no, such as ``is_retweet``."""
    return not FLAGS.isdisjoint(words_of(name)[:1])


def is_known_name(name: str) -> bool:
    """Whether a name is a usual one for texts or labels."""
    words = set(words_of(name))
    usual = TEXTS | SHORT_TEXTS | EXPLICIT_LABELS | LABELS | PROBABLE_LABELS | POSSIBLE_LABELS | NEVER_LABELS | OTHER_TEXTS
    return bool(words & usual) or _has_part(name, [*TEXT_PARTS, *LABEL_PARTS, *NEVER_PARTS])


def is_usual_name(name: str) -> bool:
    """Whether every word of a name is usual for a column, as in ``review_text``; texts such as "good review" have others."""
    return is_known_name(name) and all(word in OWNERS or is_known_name(word) for word in words_of(name))


def _by_position(words: list[str], known: set[str], whole: bool, weights: tuple[float, float, float]) -> float:
    """The weight of a name that is known as a whole, by its last word, or by another word."""
    if whole or set(words) <= known:
        return weights[0]
    return weights[1] if words[-1] in known else weights[2]


def _has_part(name: str, parts: Iterable[str]) -> bool:
    return any(part in name for part in parts)


def _short(word: str) -> str:
    """A word without a digit at its end: ``text2`` is ``text``."""
    return word.rstrip("0123456789")
