"""Names and codes of the splits, and the hashes that identify rows and assign them."""

from __future__ import annotations

import hashlib

SPLITS = ("train", "validation", "test")
#: Codes of the splits, in the order of ``SPLITS``; texts without labels are not a split but share the codes.
TRAIN, VALIDATION, TEST, UNLABELLED = range(4)


def text_id(text: str) -> str:
    """Hex SHA-256 of a text's UTF-8 bytes: the identity of a row, whichever file it is from."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def unit_hash(identity: str | bytes, salt: str) -> float:
    """A number in [0, 1), uniform over identities, that depends on the identity and the salt alone."""
    content = identity if isinstance(identity, bytes) else identity.encode()
    return int.from_bytes(hashlib.sha256(salt.encode() + b"\0" + content).digest()[:8], "big") / 2**64
