"""The bytes that each id of a byte-level tokenizer stands for."""

from __future__ import annotations

import json

from tokenizers import Tokenizer

from headway.data.tokenization.tokenizer import PADDING, UNKNOWN


def _bytes() -> dict[str, int]:
    """The byte for each character of a byte-level vocabulary.

    Printable characters of Latin-1 stand for themselves, all others for one of the characters from 256 on, as in GPT-2.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


#: The byte for each character of a byte-level vocabulary.
BYTES = _bytes()


def vocabulary_of(tokenizer: Tokenizer) -> tuple[bytes, ...] | None:
    """The bytes of each piece in the order of the ids, with the space before it, empty for a special token.

    None for a tokenizer of another kind than bpe: its tokens are words, or pieces of a script without spaces.
    """
    model = json.loads(tokenizer.to_str())["model"]
    if model["type"] != "BPE":
        return None
    names = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return tuple(b"" if name in (PADDING, UNKNOWN) else bytes(BYTES[character] for character in name) for name, _ in names)
