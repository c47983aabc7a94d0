"""Whether a text says anything: one rule for training, which leaves empty texts out, and for serving, which refuses them."""

from __future__ import annotations

import re
import unicodedata

from headway.data.text.markup import LINEAR_MARKUP, MARKUP

#: Categories of characters that show nothing: control, format, surrogate and private characters, and white space.
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp"})
# Letters, marks and symbols that show nothing either: joiners, Hangul and Khmer fillers, variation selectors, the blank Braille
# pattern, and the replacement character, which stands for what could not be decoded.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufffd\U000e0100-\U000e01ef]"
)
_MARKUP = re.compile(f"{MARKUP}|{LINEAR_MARKUP}")


def has_text(text: str) -> bool:
    """Whether a visible character is left of a text without its markup. Takes linear time, for most texts constant time."""
    position = 0
    while position < len(text):
        char = text[position]
        if char in "<&" and (markup := _MARKUP.match(text, position)):
            position = markup.end()
        elif _is_visible(char):
            return True
        else:
            position += 1
    return False


def problem(value: object) -> str:
    """Why a value cannot be classified, in a few words; "" if it can. Missing values of pandas and NumPy are recognised."""
    if not isinstance(value, str):
        return (
            "the text is missing" if is_missing(value) else f"expected a string, got a value of type {type(value).__name__}"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"the text is not valid Unicode at character {error.start + 1}"
    return "" if has_text(value) else "the text is empty"


def is_missing(value: object) -> bool:
    """Whether a value is None, NaN, NaT or pandas.NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # arrays have no truth value
        return False


def _is_visible(char: str) -> bool:
    return unicodedata.category(char) not in _INVISIBLE_CATEGORIES and not _INVISIBLE.match(char)
