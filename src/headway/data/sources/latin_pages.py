"""Telling apart the Windows code pages of the Latin script, by the letters beyond a to z that its languages use.

charset-normalizer cannot: it rates the Spanish and Portuguese of cp1252 as highly when read as cp1250, and then returns that.
"""

from __future__ import annotations

import re

#: Letters beyond a to z, per language.
WESTERN = [
    "éèêëïöñçàâæœ",  # English
    "àâæçéèêëîïôœùûüÿñ",  # French
    "áéíóúüñºª",  # Spanish
    "áâãàçéêíóôõúüºª",  # Portuguese
    "àçéèíïóòúü·",  # Catalan
    "àéèìíîòóùúºª",  # Italian
    "äöüßé",  # German
    "éèëïöüáóâêç",  # Dutch
    "åäöéàüšž",  # Swedish, Finnish
    "æøåéèêòóôäöü",  # Danish, Norwegian
    "áðéíóúýþæö",  # Icelandic
    "äõöüšž",  # Estonian
    "áéíóú",  # Irish
]
CENTRAL = [
    "ąćęłńóśźż",  # Polish
    "áčďéěíňóřšťúůýž",  # Czech
    "áäčďéíĺľňóôŕšťúýž",  # Slovak
    "áéíóöőúüű",  # Hungarian
    "ăâîşţ",  # Romanian
    "čćđšž",  # Croatian, Slovene, Serbian
    "çë",  # Albanian
]
TURKISH = ["çğıiöşüâîûi̇"]
BALTIC = ["ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž"]  # Lithuanian, Latvian, Estonian
VIETNAMESE = ["ăâđêôơưàáãèéìíòóõùúýảạẹẽỉĩịọỏỵỳỷỹủũụ\u0300\u0301\u0303\u0309\u0323"]
ALPHABETS = {"cp1252": WESTERN, "cp1250": CENTRAL, "cp1254": TURKISH, "cp1257": BALTIC, "cp1258": VIETNAMESE}
DEFAULT = "cp1252"
FITS = 0.8  # share of the letters beyond ASCII that must be in one language's alphabet
CLEARLY = 0.5  # another page is chosen if at most this share of the default's misfits remains
MOST_BEYOND = 0.5  # share of the letters; with more beyond ASCII, the script is not Latin
SIGNS = "“”‘’‚„–—…«»‹›€£¥§©®™°·•´¨¡¿½¼¾²³±×\xa0\xad"
_WORD = re.compile(r"[^\W\d_]+[\u0300-\u036f]*(?:[^\W\d_]|[\u0300-\u036f])*|[^\x00-\x7f\s]")


def latin_page(sample: bytes) -> str | None:
    """The code page of lines in Latin letters: Western European, or one that fits much better; None if none fits."""
    letters = len(re.findall(rb"[A-Za-z]", sample))
    beyond = len(re.findall(rb"[\xc0-\xff]", sample))  # where these pages have letters, and no signs
    if beyond > MOST_BEYOND * (beyond + letters):
        return None
    fit = {page: _fit(sample.decode(page, "replace"), alphabets) for page, alphabets in ALPHABETS.items()}
    best = max(fit, key=fit.__getitem__)
    page = best if 1 - fit[best] < CLEARLY * (1 - fit[DEFAULT]) else DEFAULT
    return page if fit[page] >= FITS else None


def _fit(text: str, alphabets: list[str]) -> float:
    """Share of the letters beyond ASCII that are in the best fitting alphabet."""
    beyond = [(character, word) for word in _WORD.findall(text) for character in word if character > "\x7f"]
    letters = [_lower(character, word) for character, word in beyond if character not in SIGNS]
    if not letters:
        return 1.0 if beyond else 0.0
    return max(sum(letter in alphabet for letter in letters) / len(letters) for alphabet in alphabets)


def _lower(character: str, word: str) -> str:
    """A letter in lower case; "?" for a capital among small letters, which only a wrong page produces."""
    misplaced = character.isupper() and not word.isupper() and not word.startswith(character)
    return "?" if misplaced else character.lower()
