"""When two texts, and two labels, count as the same. Duplicates, classes and corrections of labels are found by this."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import regex

from headway.data.text.markup import MARKUP

_MARKUP = regex.compile(MARKUP)
_WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")
#: Invisible characters. The zero-width joiners are not among them: inside a word they change how its letters are written.
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
_JOINERS = "\u200c\u200d"
#: Labels that YAML and spreadsheets read as booleans, in lower case, capitalised or in capitals.
BOOLEANS = ("true", "false")


def normal_form(text: str) -> str:
    """A text without differences that do not make it another text: markup, case, character width and white space."""
    return " ".join(unicodedata.normalize("NFKC", _MARKUP.sub(" ", text)).casefold().split())


def digests(normal_forms: Sequence[str]) -> np.ndarray:
    """The first 16 bytes of each text's SHA-256, dtype V16, shape (texts,). Equal texts have equal digests."""
    joined = b"".join(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in normal_forms)
    return np.frombuffer(joined, dtype="V16")


def canonical_label(label: str) -> str:
    """The label under which equal-looking labels are counted.

    Unicode NFC; no invisible characters, and no white space or joiners around it; "1.0" becomes "1".
    """
    visible, before = _INVISIBLE.sub("", unicodedata.normalize("NFC", label)), None
    while visible != before:
        before, visible = visible, visible.strip().strip(_JOINERS)
    whole = _WHOLE_NUMBER.fullmatch(visible)
    return whole[1] if whole else visible
