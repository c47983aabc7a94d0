"""Telling apart the code pages of the Latin script: by the letters that its languages write beyond a to z.

A frequency of letters tells little here: in "très été" each of these pages has some accented letter where cp1252 has its
own, and a single text has too few of them to count.
"""

from __future__ import annotations

import re

#: Letters beyond a to z by language, under the page that the language was written in.
ALPHABETS = {
    "cp1252": {
        "English": "éèêëïöñçàâæœ",
        "French": "àâæçéèêëîïôœùûüÿñ",
        "Spanish": "áéíóúüñºª",
        "Portuguese": "áâãàçéêíóôõúüºª",
        "Catalan": "àçéèíïóòúü·",
        "Italian": "àéèìíîòóùúºª",
        "German": "äöüßé",
        "Dutch": "éèëïöüáóâêç",
        "Swedish, Finnish": "åäöéàüšž",
        "Danish, Norwegian": "æøåéèêòóôäöü",
        "Icelandic": "áðéíóúýþæö",
        "Estonian": "äõöüšž",
        "Irish": "áéíóú",
    },
    "cp1250": {
        "Polish": "ąćęłńóśźż",
        "Czech": "áčďéěíňóřšťúůýž",
        "Slovak": "áäčďéíĺľňóôŕšťúýž",
        "Hungarian": "áéíóöőúüű",
        "Romanian": "ăâîşţ",
        "Croatian, Slovene, Serbian": "čćđšž",
        "Albanian": "çë",
    },
    "cp1254": {"Turkish": "çğıiöşüâîûi̇"},
    "cp1257": {"Lithuanian": "ąčęėįšųūž", "Latvian": "āčēģīķļņšūž", "Estonian": "äõöüšž"},
    "cp1258": {"Vietnamese": "ăâđêôơưàáãèéìíòóõùúýảạẹẽỉĩịọỏỵỳỷỹủũụ\u0300\u0301\u0303\u0309\u0323"},
}
DEFAULT = "cp1252"
FITS = 0.8  # share of the letters beyond ASCII that have to be in one language's alphabet
CLEARLY = 0.5  # another page than the default has to misfit at so much fewer of them
MOST_BEYOND = 0.5  # of the letters: where more are beyond ASCII, the script is another one
SIGNS = "“”‘’‚„–—…«»‹›€£¥§©®™°·•´¨¡¿½¼¾²³±×\xa0\xad"

_WORD = re.compile(r"[^\W\d_]+[\u0300-\u036f]*(?:[^\W\d_]|[\u0300-\u036f])*|[^\x00-\x7f\s]")


def latin_page(sample: bytes) -> str | None:
    """The code page of a text in Latin letters, Western European unless another one clearly fits better.

    Args:
        sample: lines with bytes beyond ASCII.

    Returns:
        A page, or None when no language that is written in one of them has such letters.
    """
    letters = len(re.findall(rb"[A-Za-z]", sample))
    beyond = len(re.findall(rb"[\xc0-\xff]", sample))  # where these pages have most of them, and no signs
    if beyond > MOST_BEYOND * (beyond + letters):
        return None
    fit = {page: _fit(sample, page) for page in ALPHABETS}
    best = max(fit, key=fit.__getitem__)
    page = best if 1 - fit[best] < CLEARLY * (1 - fit[DEFAULT]) else DEFAULT
    return page if fit[page] >= FITS else None


def _fit(sample: bytes, page: str) -> float:
    """Of the characters beyond ASCII, the share that is in the alphabet of the page's language that fits best."""
    text = sample.decode(page, "replace")
    seen = [(character, word) for word in _WORD.findall(text) for character in word if character > "\x7f"]
    told = [_plain(character, word) for character, word in seen if character not in SIGNS]
    if not told:
        return 1.0 if seen else 0.0
    return max(sum(letter in alphabet for letter in told) / len(told) for alphabet in ALPHABETS[page].values())


def _plain(character: str, word: str) -> str:
    """A letter in lower case; "?" where no one would write it: a capital among small letters."""
    odd = character.isupper() and not word.isupper() and not word.startswith(character)
    return "?" if odd else character.lower()
