"""Chunks of texts that fit into memory whether the texts are short or long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MAX_TEXTS, MAX_CHARACTERS = 1_000, 2_000_000


def chunks(texts: Iterable[str], max_texts: int = MAX_TEXTS, max_characters: int = MAX_CHARACTERS) -> Iterator[list[str]]:
    """Cut texts, in order, into lists within both limits. A text longer than ``max_characters`` is a chunk of its own."""
    chunk: list[str] = []
    characters = 0
    for text in texts:
        if chunk and (len(chunk) == max_texts or characters + len(text) > max_characters):
            yield chunk
            chunk, characters = [], 0
        chunk.append(text)
        characters += len(text)
    if chunk:
        yield chunk
