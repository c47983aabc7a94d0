"""What has changed since the test rows: how large each difference is, with an interval, the largest evidence first.

These describe a change that the martingales have shown. They are not tests: with many numbers, some differ by chance.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binomtest

from headway.data.text.excerpts import excerpt
from headway.data.text.scripts import dominant_scripts
from headway.data.text.words import words
from headway.monitoring.answers import UNIT, Counts

#: Two-sided 95% intervals.
Z = 1.959964
#: Characters of a text whose n-grams are counted, words in the longest n-gram, n-grams and texts that are shown.
HEAD, MAX_ORDER, MOST_NGRAMS, MOST_EXAMPLES, EXCERPT = 5_000, 2, 12, 5, 300
#: Texts that an n-gram must be in, and standard errors by which its share must have grown.
MIN_TEXTS, MIN_SCORE = 5, 4.0
#: A score without any spread would be infinite, which JSON cannot say.
MAX_SCORE = 1e6
SHARE, CHARACTERS = "share", "characters"


@dataclass(frozen=True)
class Change:
    """A number before and now, with a 95% interval of the difference.

    Attributes:
        what: the number's name, such as ``texts predicted as positive``.
        unit: ``share`` (from 0 to 1) or ``characters``.
        before, now: on the test rows, and in the recent answers.
        low, high: of ``now`` − ``before``; for characters, of the factor ``now`` / ``before``.
        score: standard errors from no change, from 0 to ``MAX_SCORE``.
    """

    what: str
    unit: str
    before: float
    now: float
    low: float
    high: float
    score: float


@dataclass(frozen=True)
class GrownNgram:
    """Words that more texts have than before; ``before`` and ``now`` are shares of the texts."""

    words: str
    before: float
    now: float


@dataclass(frozen=True)
class TextChanges:
    """What the texts themselves show.

    Attributes:
        scripts: shares of texts by their dominant script.
        ngrams: those that grew most.
        examples: beginnings of recent texts with many of these n-grams.
        rows: recent texts that were compared.
    """

    scripts: list[Change]
    ngrams: list[GrownNgram]
    examples: list[str]
    rows: int


def number_changes(before: Counts, now: Counts, classes: Sequence[str]) -> list[Change]:
    """Changes of the shares of predicted classes, of length and of unknown words; nothing without answers on either side."""
    if not before.rows or not now.rows:
        return []
    found = [
        _share_change(
            f"texts predicted as {name}", int(now.classes[index]), now.rows, int(before.classes[index]), before.rows
        )
        for index, name in enumerate(classes)
    ]
    found.append(_length_change(before, now))
    if before.unknown[1] and now.unknown[1]:
        was, known = (UNIT * counts.unknown[0] / counts.unknown[1] for counts in (before, now))
        # Of shares only the sums are kept; a share's variance is at most that of a yes or no with its mean.
        error = math.sqrt(was * (1 - was) / before.unknown[1] + known * (1 - known) / now.unknown[1])
        found.append(
            Change("unknown part of a text", SHARE, was, known, *_around(known - was, error), _score(known - was, error))
        )
    return sorted(found, key=lambda change: -change.score)


def text_changes(before: Sequence[str], now: Sequence[str]) -> TextChanges:
    """How recent texts differ from those of the test rows."""
    scripts_before, scripts_now = Counter(dominant_scripts(before)), Counter(dominant_scripts(now))
    scripts = [
        _share_change(
            f"texts in the script {name or 'none'}", scripts_now[name], len(now), scripts_before[name], len(before)
        )
        for name in sorted({*scripts_before, *scripts_now})
    ]
    found_before, found_now = _document_counts(before), _document_counts(now)
    scores = {
        ngram: score
        for ngram, count in found_now.items()
        if count >= MIN_TEXTS
        if (score := _growth(count, len(now), found_before[ngram], len(before))) >= MIN_SCORE
    }
    grown = _without_parts(sorted(scores, key=lambda ngram: (-scores[ngram], ngram)))[:MOST_NGRAMS]
    chosen = [GrownNgram(ngram, found_before[ngram] / len(before), found_now[ngram] / len(now)) for ngram in grown]
    return TextChanges(
        sorted((one for one in scripts if one.score >= Z), key=lambda change: -change.score),
        chosen,
        _examples(now, {ngram: scores[ngram] for ngram in grown}),
        len(now),
    )


def _share_change(what: str, now: int, rows_now: int, before: int, rows_before: int) -> Change:
    """A difference of two shares with Newcombe's interval ("Interval estimation for the difference between independent
    proportions", 1998, method 10, from Wilson's intervals)."""
    was, share = before / rows_before, now / rows_now
    first = binomtest(now, rows_now).proportion_ci(0.95, method="wilson")
    second = binomtest(before, rows_before).proportion_ci(0.95, method="wilson")
    low = share - was - math.hypot(share - first.low, second.high - was)
    high = share - was + math.hypot(first.high - share, was - second.low)
    pooled = (now + before) / (rows_now + rows_before)
    error = math.sqrt(pooled * (1 - pooled) * (1 / rows_now + 1 / rows_before))
    return Change(what, SHARE, was, share, low, high, _score(share - was, error))


def _length_change(before: Counts, now: Counts) -> Change:
    """The geometric mean of the lengths, and the interval of its factor."""
    means, variances = [], []
    for counts in (before, now):
        mean = UNIT * counts.log_characters[0] / counts.rows
        means.append(mean)
        variances.append(max(0.0, UNIT**2 * counts.log_characters[1] / counts.rows - mean**2) / counts.rows)
    difference, error = means[1] - means[0], math.sqrt(sum(variances))
    low, high = _around(difference, error)
    was, length = (math.expm1(mean) for mean in means)
    return Change(
        "typical length of a text", CHARACTERS, was, length, math.exp(low), math.exp(high), _score(difference, error)
    )


def _around(value: float, error: float) -> tuple[float, float]:
    return value - Z * error, value + Z * error


def _score(value: float, error: float) -> float:
    return min(MAX_SCORE, abs(value) / error) if error else 0.0 if value == 0 else MAX_SCORE


def _ngrams(text: str) -> set[str]:
    found = words(text[:HEAD].lower())
    return {
        " ".join(found[start : start + order])
        for order in range(1, MAX_ORDER + 1)
        for start in range(len(found) - order + 1)
    }


def _document_counts(texts: Sequence[str]) -> Counter[str]:
    """Number of texts that each n-gram is in."""
    return Counter(ngram for text in texts for ngram in _ngrams(text))


def _growth(now: int, rows_now: int, before: int, rows_before: int) -> float:
    """Growth of a share in standard errors, those of the pooled share, so that words that were never seen before can count."""
    pooled = (now + before) / (rows_now + rows_before)
    error = math.sqrt(pooled * (1 - pooled) * (1 / rows_now + 1 / rows_before))
    return (now / rows_now - before / rows_before) / error if error else 0.0


def _without_parts(ngrams: Sequence[str]) -> list[str]:
    """The n-grams in order, without words that an n-gram before them has, and without n-grams around words before them."""
    chosen: list[str] = []
    seen: set[str] = set()
    for ngram in ngrams:
        parts = set(ngram.split(" "))
        if not parts & seen:
            chosen.append(ngram)
            seen |= parts
    return chosen


def _examples(texts: Sequence[str], scores: dict[str, float]) -> list[str]:
    """Beginnings of the texts with the highest mean score of their n-grams: short ones with many of the grown n-grams."""
    if not scores:
        return []
    rated = []
    for row, text in enumerate(texts):
        ngrams = _ngrams(text)
        if total := sum(scores.get(ngram, 0.0) for ngram in ngrams):
            rated.append((total / math.sqrt(len(ngrams)), -row))
    return [excerpt(texts[-row], EXCERPT) for _, row in heapq.nlargest(MOST_EXAMPLES, rated)]
