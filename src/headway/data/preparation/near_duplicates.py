"""Fingerprints by which equal and nearly equal texts are found without comparing pairs.

Near-duplicates are found by MinHash (Broder 1997): over random permutations of all word triples, the minima of two texts are
equal with a probability that is the Jaccard similarity of their sets of triples. The minima are cut into bands, and texts
that agree in a whole band share a *bucket* (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, section 3.4).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import regex
from rensa import RMinHash

from headway.data.text.chunks import chunks

PERMUTATIONS = 128
#: The probability with which texts of exactly the wanted similarity share a bucket.
RECALL = 0.95
#: Words in a shingle. Unrelated texts share many single words and pairs, but few triples.
SHINGLE_WORDS = 3

#: Words. In scripts without spaces: single characters, or runs of up to four where the alphabet is small.
_WORDS = regex.compile(
    r"(?V1)[\p{Han}\p{Hiragana}\p{Katakana}]|[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]{1,4}"
    r"|[\w--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]+"
)


def band_shape(threshold: float) -> tuple[int, int]:
    """The number of bands, and of minima in each, for a similarity threshold.

    Texts with Jaccard similarity ``threshold`` share a bucket with probability ``RECALL`` or more. Bands are as long as that
    allows, so that less similar texts share few buckets. A threshold of 0 gives no bands.
    """
    if not threshold:
        return 0, 0
    shapes = [(PERMUTATIONS // rows, rows) for rows in range(1, PERMUTATIONS + 1)]
    return max(
        (shape for shape in shapes if bucket_probability(threshold, shape) >= RECALL),
        key=lambda shape: shape[1],
        default=shapes[0],
    )


def bucket_probability(similarity: float, shape: tuple[int, int]) -> float:
    """The probability that two texts of this Jaccard similarity share a bucket."""
    bands, rows = shape
    return 1 - (1 - similarity**rows) ** bands


def band_hashes(normal_forms: Sequence[str], threshold: float) -> np.ndarray:
    """One hash per band of each text, uint64, shape (texts, bands). Texts share a bucket where these are equal."""
    bands, rows = band_shape(threshold)
    if not bands or not normal_forms:
        return np.empty((len(normal_forms), bands), dtype=np.uint64)
    return np.concatenate([_band_hashes(chunk, bands, rows) for chunk in chunks(normal_forms)])


def shingles(normal_form: str) -> list[str]:
    """Triples of consecutive words; all words together if there are fewer; the text itself if it contains no word."""
    words = _WORDS.findall(normal_form)
    if len(words) < SHINGLE_WORDS:
        return [" ".join(words) or normal_form]
    return [" ".join(triple) for triple in zip(*(words[start:] for start in range(SHINGLE_WORDS)), strict=False)]


def _band_hashes(normal_forms: Sequence[str], bands: int, rows: int) -> np.ndarray:
    sets = [shingles(text) for text in normal_forms]
    minima = np.array(RMinHash.digest_matrix_from_token_sets(sets, PERMUTATIONS, 1).to_rows(), dtype=np.uint64)
    minima = minima[:, : bands * rows].reshape(len(sets), bands, rows)
    hashes = np.zeros((len(sets), bands), dtype=np.uint64)
    for row in range(rows):  # FNV-1a over the minima of a band, then MurmurHash3's finalizer
        hashes = (hashes ^ minima[:, :, row]) * np.uint64(0x100000001B3)
    hashes ^= hashes >> np.uint64(33)
    return hashes * np.uint64(0xFF51AFD7ED558CCD)
