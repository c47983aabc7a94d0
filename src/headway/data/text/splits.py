"""The splits, and the hashes that tell rows apart and put them there."""

from __future__ import annotations

import hashlib

SPLITS = ("train", "validation", "test")
#: A split's number is its place in ``SPLITS``; texts without labels come after these.
TRAIN, VALIDATION, TEST, UNLABELLED = range(4)


def text_id(text: str) -> str:
    """Hex SHA-256 of a text's UTF-8 bytes: a row's identity, whatever file it came in."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def unit_hash(identity: str | bytes, salt: str) -> float:
    """A number in [0, 1) that depends on an identity and a word alone, uniform over identities."""
    content = identity if isinstance(identity, bytes) else identity.encode()
    return int.from_bytes(hashlib.sha256(salt.encode() + b"\0" + content).digest()[:8], "big") / 2**64
