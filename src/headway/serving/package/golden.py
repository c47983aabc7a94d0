"""Golden predictions: a few texts that a package keeps together with the probabilities that the model gave when it was saved.

The SHA-256 of its files shows that a package is the one that was saved. Replaying its golden predictions shows that it also
gives the same answers on this machine, with the libraries that are installed here.

The texts are made of the tokenizer's own vocabulary, which the package holds anyway, so they are nobody's data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from headway.data.text.content import problem
from headway.model.ngrams import ngrams
from headway.serving.package.config import Golden, OtherAnswers

if TYPE_CHECKING:
    from headway.serving.package.model_package import ModelPackage

#: Largest allowed difference of a probability. The same package differs by less than 1e-5 between processors, numbers of
#: threads and PyTorch's matrix libraries, because float32 sums depend on their order; another token or weight moves some
#: probability by more than 1e-3 as a rule.
TOLERANCE = 1e-4
#: Probabilities kept of each text, the highest ones, and digits after the point.
KEPT, DIGITS = 10, 7
#: Words in a text, and the most frequent words whose pairs are looked up among the n-grams.
WORDS, FREQUENT = 12, 60
#: Words of the longest text; a model that keeps more tokens than that is not shown a truncated one.
LONGEST = 10_000
#: Characters of a word, at most.
LONGEST_WORD = 40
#: Exercises the normalisation of texts: markup, accents, capitals, an emoji, several scripts, and words that nobody writes.
ODD = "<b>Élan</b> &amp; ZXQV-zxqv: 東京 Москва القاهرة 🤷 3.14!"


def record(package: ModelPackage) -> list[Golden]:
    """The golden predictions of a model, which are the same each time for the same model."""
    found = []
    for text, repeats in _texts(package):
        (row,) = package.predict_proba([text * repeats])
        classes = sorted(np.argsort(-row, kind="stable")[:KEPT].tolist())
        probabilities = [round(float(row[index]), DIGITS) for index in classes]
        found.append(Golden(text=text, repeats=repeats, classes=classes, probabilities=probabilities))
    return found


def replay(package: ModelPackage) -> float:
    """Predict the golden texts again.

    Returns:
        The largest difference of a probability; 0 for a package of format 9 or earlier, which has no golden predictions.

    Raises:
        OtherAnswers: a probability differs by more than :data:`TOLERANCE`.
    """
    largest = 0.0
    for number, golden in enumerate(package.golden, 1):
        (row,) = package.predict_proba([golden.text * golden.repeats])
        differences = np.abs(row[golden.classes] - np.array(golden.probabilities))
        worst = int(differences.argmax())
        if differences[worst] > TOLERANCE:
            raise OtherAnswers(
                f"the model package does not give the probabilities that it was saved with: for golden text {number} of "
                f"{len(package.golden)}, {row[golden.classes[worst]]:.6f} of {package.classes[golden.classes[worst]]} instead "
                f"of {golden.probabilities[worst]:.6f}, a difference of {differences[worst]:.1e} where at most {TOLERANCE:.0e} "
                "is allowed; use the library versions in requirements.lock, or train the model again here"
            )
        largest = max(largest, float(differences[worst]))
    return largest


def _texts(package: ModelPackage) -> list[tuple[str, int]]:
    """Texts that can be classified, each with how often it is repeated."""
    words = _words(package)
    rare = [words[index] for index in _spread(len(words), 8 * WORDS)]
    unit = " ".join(rare) + " "
    longer_than_kept = min(package.encoder.max_length + 1, LONGEST)
    others = [word for word in words if not word.isascii() and not any("\u00c0" <= letter <= "\u024f" for letter in word)]
    texts = [
        (" ".join(words[:WORDS]), 1),
        (_known_pairs(package, words[:FREQUENT]), 1),
        (" ".join(rare[:: len(rare) // WORDS or 1]), 1),
        (" ".join(others[index] for index in _spread(len(others), WORDS)), 1),
        (unit, -(-longer_than_kept // max(1, len(rare)))),
        (ODD, 1),
    ]
    return [(text, repeats) for text, repeats in texts if not problem(text)]


def _words(package: ModelPackage) -> list[str]:
    """Tokens that are words or pieces of words, in the order of their ids."""
    tokenizer = package.encoder.tokenizer
    pieces = tokenizer.decode_batch([[index] for index in range(2, tokenizer.get_vocab_size())], skip_special_tokens=True)
    return list(dict.fromkeys(word for piece in pieces if _is_word(word := piece.strip())))


def _is_word(piece: str) -> bool:
    if len(piece) > LONGEST_WORD or (len(piece) == 1 and piece.isascii()):  # a byte-level vocabulary begins with letters
        return False
    return piece.isprintable() and "\ufffd" not in piece and any(map(str.isalpha, piece))


def _known_pairs(package: ModelPackage, words: Sequence[str]) -> str:
    """Pairs of frequent words that are in the table of n-grams; "" if there is none."""
    linear = package.classifier.ngrams
    if linear is None or linear.max_order < 2 or not words:
        return ""
    texts = [f"{first} {second}" for first in words for second in words]
    of_two = [(text, ids) for text, ids in zip(texts, package.encoder(texts), strict=True) if len(ids) == 2]
    if not of_two:
        return ""
    _, keys = ngrams(torch.from_numpy(np.stack([ids for _, ids in of_two]).astype(np.int64)), 2)
    known = torch.isin(keys[-len(of_two) :], linear.keys).tolist()  # one key per pair, after those of single tokens
    found = [text for (text, _), is_known in zip(of_two, known, strict=True) if is_known]
    return " ".join(found[index] for index in _spread(len(found), WORDS // 2))


def _spread(size: int, count: int) -> list[int]:
    """At most ``count`` indices below ``size``, evenly spaced from the first to the last."""
    return sorted(set(np.linspace(0, size - 1, min(size, count)).round().astype(int).tolist()))
