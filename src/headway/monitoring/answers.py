"""Answers of one model as monitoring reads them, and what is kept of them: counts by day, however many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, vstack

from headway.monitoring.wording import nothing_known

#: Steps of the grids on which confidence, length and unknown share are counted.
LEVELS = 4096
#: Confidences are also counted by day, on a grid with this number of steps.
COARSE = 256
#: Ends of the grid of confidence, in logits of the top probability; and of that of length, as log(1 + characters).
LOGITS, LOG_CHARACTERS = 20.0, float(np.log1p(10_000_000))
#: In which lengths and shares are summed.
UNIT = 1e-4


@dataclass(frozen=True)
class Answers:
    """Answers of one model, in the order in which they were given. All arrays have the shape (rows,).

    Attributes:
        predicted: index of the most likely class, int.
        probability: of that class, from 0 to 1.
        characters: of the text, int.
        unknown_share: share of the text that the model does not know, from 0 to 1; NaN where that is not known.
        days: what the answers are counted by: days in UTC, such as ``2026-12-01``; "" if that is not known.
        trigrams: of the texts, (rows, BUCKETS), see :func:`headway.monitoring.wording.trigrams`; a row of a text that is not kept
            is empty. None: no text is kept.
    """

    predicted: np.ndarray
    probability: np.ndarray
    characters: np.ndarray
    unknown_share: np.ndarray
    days: np.ndarray
    trigrams: csr_array | None = None

    def __len__(self) -> int:
        return len(self.predicted)

    def take(self, rows: np.ndarray) -> Answers:
        """The rows at the given indices, or where a mask is set."""
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return replace(self, **columns, trigrams=None if self.trigrams is None else self.trigrams[rows])


#: The arrays of :class:`Answers`.
_COLUMNS = ("predicted", "probability", "characters", "unknown_share", "days")


def concatenated(parts: Sequence[Answers]) -> Answers:
    """Answers one after the other; at least one part."""
    trigrams = None
    if any(one.trigrams is not None for one in parts):
        trigrams = vstack([nothing_known(len(one)) if one.trigrams is None else one.trigrams for one in parts], format="csr")
    columns = {name: np.concatenate([getattr(one, name) for one in parts]) for name in _COLUMNS}
    return replace(parts[0], **columns, trigrams=trigrams)


def confidence_levels(probability: np.ndarray, levels: int = LEVELS) -> np.ndarray:
    """Probabilities on a grid that is even in logits, int, (rows,), from 0 to ``levels`` − 1."""
    clipped = np.clip(np.asarray(probability, np.float64), 1e-12, 1 - 1e-12)
    return _on_grid((np.log(clipped / (1 - clipped)) + LOGITS) / (2 * LOGITS), levels)


def length_levels(characters: np.ndarray) -> np.ndarray:
    """Lengths on a grid that is even in their logarithm, int, (rows,)."""
    return _on_grid(np.log1p(np.asarray(characters, np.float64)) / LOG_CHARACTERS, LEVELS)


def unknown_levels(share: np.ndarray) -> np.ndarray:
    """Unknown shares on an even grid, int, (rows,)."""
    return _on_grid(np.asarray(share, np.float64), LEVELS)


def level_probabilities(levels: int = COARSE) -> np.ndarray:
    """The probability in the middle of each step of the grid of confidence, (levels,)."""
    return np.asarray(1 / (1 + np.exp(LOGITS - (np.arange(levels) + 0.5) * (2 * LOGITS / levels))))


def _on_grid(shares: np.ndarray, levels: int) -> np.ndarray:
    return np.clip((shares * levels).astype(np.int64), 0, levels - 1)


def _whole(values: np.ndarray) -> np.ndarray:
    return np.rint(np.asarray(values, np.float64) / UNIT).astype(np.int64)


@dataclass
class Counts:
    """What is kept of the answers of a day, or of more.

    Attributes:
        rows: answers.
        classes: answers by predicted class, (classes,).
        confidence: answers by step of :func:`confidence_levels`, (COARSE,).
        log_characters: sum and sum of squares of log(1 + characters), in units of UNIT and its square. Sums of whole numbers do
            not depend on the order of what is added.
        unknown: sum of the unknown shares that are known, in units of UNIT, and their number.
        unanswered: texts that could not be classified.
        right, wrong: answers whose true label is known.
    """

    rows: int
    classes: np.ndarray
    confidence: np.ndarray
    log_characters: np.ndarray
    unknown: np.ndarray
    unanswered: int = 0
    right: int = 0
    wrong: int = 0

    @classmethod
    def empty(cls, n_classes: int) -> Self:
        return cls(
            0, np.zeros(n_classes, np.int64), np.zeros(COARSE, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int64)
        )

    @classmethod
    def of(cls, answers: Answers, n_classes: int) -> Self:
        """The counts of some answers."""
        lengths = _whole(np.log1p(np.asarray(answers.characters, np.float64)))
        known = _whole(answers.unknown_share[~np.isnan(answers.unknown_share)])
        return cls(
            len(answers),
            np.bincount(answers.predicted, minlength=n_classes),
            np.bincount(confidence_levels(answers.probability, COARSE), minlength=COARSE),
            np.array([lengths.sum(), (lengths**2).sum()]),
            np.array([known.sum(), len(known)]),
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def as_json(self) -> dict[str, Any]:
        """For :meth:`from_json`. Confidences are kept as pairs of step and number, because few steps occur."""
        steps = np.flatnonzero(self.confidence)
        return {
            "rows": self.rows,
            "classes": self.classes.tolist(),
            "confidence": [[int(step), int(self.confidence[step])] for step in steps],
            "log_characters": self.log_characters.tolist(),
            "unknown": self.unknown.tolist(),
            "unanswered": self.unanswered,
            "right": self.right,
            "wrong": self.wrong,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        confidence = np.zeros(COARSE, np.int64)
        for step, number in content["confidence"]:
            confidence[step] = number
        return cls(
            content["rows"],
            np.array(content["classes"], np.int64),
            confidence,
            np.array(content["log_characters"], np.int64),
            np.array(content["unknown"], np.int64),
            content["unanswered"],
            content["right"],
            content["wrong"],
        )


@dataclass
class DailyCounts:
    """Counts by day."""

    n_classes: int
    days: dict[str, Counts] = field(default_factory=dict)

    def of(self, day: str) -> Counts:
        """The counts of a day, to be changed."""
        return self.days.setdefault(day, Counts.empty(self.n_classes))

    def add(self, answers: Answers) -> None:
        for day in np.unique(answers.days).tolist():
            self.days[day] = self.of(day) + Counts.of(answers.take(answers.days == day), self.n_classes)

    def restore(self, content: Mapping[str, Any]) -> None:
        """Take the counts of :meth:`Counts.as_json`, by day."""
        self.days = {day: Counts.from_json(counts) for day, counts in content.items()}

    def total(self, days: Sequence[str] | None = None) -> Counts:
        """The counts of some days, by default of all."""
        total = Counts.empty(self.n_classes)
        for day in self.days if days is None else days:
            total = total + self.days[day]
        return total

    def recent(self, rows: int) -> list[str]:
        """The latest days that have this number of rows together, in order; all if there are fewer."""
        chosen: list[str] = []
        found = 0
        for day in sorted(self.days, reverse=True):
            if found >= rows:
                break
            chosen.append(day)
            found += self.days[day].rows
        return sorted(chosen)
