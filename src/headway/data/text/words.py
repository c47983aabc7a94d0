"""The words of a text, for the models and comparisons that count words."""

from __future__ import annotations

import re

import regex

#: Characters of scripts without spaces between words (Thai, Lao, Burmese, Khmer, Japanese, Chinese): each one is a word.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Elsewhere a word begins with a letter or a digit. Combining marks (Indic vowel signs, vocalised Arabic and Hebrew) and
# the joiners between letters continue it, as in the word boundaries of Unicode Standard Annex 29.
_WORD = regex.compile(
    rf"(?V1)[{UNSPACED}]|[[\p{{L}}\p{{N}}_]--[{UNSPACED}]][[\p{{L}}\p{{M}}\p{{N}}_\u200c\u200d]--[{UNSPACED}]]*"
)
_ASCII_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text in order: runs of letters, digits and underscores with their marks; single letters count too."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text)
