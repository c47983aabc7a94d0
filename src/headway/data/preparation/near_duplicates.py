"""Equal and nearly equal texts: each text as a few numbers that are equal where texts are alike.

Nearly equal texts are found by MinHash (Broder 1997): a permutation's minimum over a text's word triples is the same for two
texts with a probability that is the Jaccard similarity of their sets of triples. Minima are taken together in bands, and
texts that agree in one whole band share a *bucket* (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, 3.4).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np
import regex
from rensa import RMinHash

from headway.data.text.chunks import portions
from headway.data.text.markup import MARKUP

PERMUTATIONS = 128
#: Two texts as similar as asked for share a bucket at least so often.
RECALL = 0.95
#: Shared phrases count from this length on; shorter ones are shared by texts that have nothing else in common.
SHINGLE_WORDS = 3

_MARKUP = regex.compile(MARKUP)
#: Words; of scripts that put no space between them single characters, or short runs where the alphabet is small.
_WORDS = regex.compile(
    r"(?V1)[\p{Han}\p{Hiragana}\p{Katakana}]|[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]{1,4}"
    r"|[\w--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]+"
)


def normal_form(text: str) -> str:
    """A text without what makes copies differ: markup, case, width of characters and of spaces."""
    return " ".join(unicodedata.normalize("NFKC", _MARKUP.sub(" ", text)).casefold().split())


def digests(normal_forms: Sequence[str]) -> np.ndarray:
    """The first 16 bytes of each text's SHA-256, as void of 16 bytes (V16), shape (texts,); equal where the normal forms are."""
    joined = b"".join(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in normal_forms)
    return np.frombuffer(joined, dtype="V16")


def band_shape(threshold: float) -> tuple[int, int]:
    """Bands, and minima in each, that let texts of Jaccard similarity ``threshold`` share a bucket with ``RECALL``.

    As many minima a band as that allows, for the fewest buckets shared by texts that are less similar. No band at all for a
    threshold of 0.
    """
    if not threshold:
        return 0, 0
    shapes = [(PERMUTATIONS // rows, rows) for rows in range(1, PERMUTATIONS + 1)]
    return max(
        (shape for shape in shapes if chance(threshold, shape) >= RECALL), key=lambda shape: shape[1], default=shapes[0]
    )


def chance(similarity: float, shape: tuple[int, int]) -> float:
    """Probability that two texts of this Jaccard similarity share a bucket."""
    bands, rows = shape
    return 1 - (1 - similarity**rows) ** bands


def band_hashes(normal_forms: Sequence[str], threshold: float) -> np.ndarray:
    """A number for each band of each text, uint64, shape (texts, bands): two texts share a bucket where they are equal."""
    bands, rows = band_shape(threshold)
    if not bands or not normal_forms:
        return np.empty((len(normal_forms), bands), dtype=np.uint64)
    return np.concatenate([_band_hashes(part, bands, rows) for part in portions(normal_forms)])


def shingles(normal_form: str) -> list[str]:
    """Triples of neighbouring words; all words together when there are fewer; the text itself when it has none."""
    words = _WORDS.findall(normal_form)
    if len(words) < SHINGLE_WORDS:
        return [" ".join(words) or normal_form]
    return [" ".join(triple) for triple in zip(*(words[start:] for start in range(SHINGLE_WORDS)), strict=False)]


def _band_hashes(normal_forms: Sequence[str], bands: int, rows: int) -> np.ndarray:
    sets = [shingles(text) for text in normal_forms]
    minima = np.array(RMinHash.digest_matrix_from_token_sets(sets, PERMUTATIONS, 1).to_rows(), dtype=np.uint64)
    minima = minima[:, : bands * rows].reshape(len(sets), bands, rows)
    hashes = np.zeros((len(sets), bands), dtype=np.uint64)
    for row in range(rows):  # FNV-1a over the minima of a band, then the finish of MurmurHash3
        hashes = (hashes ^ minima[:, :, row]) * np.uint64(0x100000001B3)
    hashes ^= hashes >> np.uint64(33)
    return hashes * np.uint64(0xFF51AFD7ED558CCD)
