"""Texts in portions that fit into memory whatever their length: a thousand short ones, or two long ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

TEXTS, CHARACTERS = 1_000, 2_000_000


def portions(texts: Iterable[str], most_texts: int = TEXTS, most_characters: int = CHARACTERS) -> Iterator[list[str]]:
    """The texts in order, in runs of at most so many texts and characters, each of at least one text."""
    portion: list[str] = []
    characters = 0
    for text in texts:
        if portion and (len(portion) == most_texts or characters + len(text) > most_characters):
            yield portion
            portion, characters = [], 0
        portion.append(text)
        characters += len(text)
    if portion:
        yield portion
