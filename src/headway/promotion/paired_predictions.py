"""Two models' predictions of the same rows, brought side by side: rows matched by identity, classes by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headway.errors import HeadwayError
from headway.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Pair:
    """Two models on the same rows, these in the order of their identities, so that the order they came in is irrelevant.

    Attributes:
        first, second: predictions of the same rows, each with the classes that its model knows.
        order: where each row stood in the first predictions, int, shape (rows,).
        classes: the names that either knows, sorted.
        truth: true labels, int, shape (rows,), in the numbering of ``classes``; -1 where neither knows it.
        guesses: what the first and what the second took for the likeliest, likewise.
    """

    first: Predictions
    second: Predictions
    order: np.ndarray
    classes: Sequence[str]
    truth: np.ndarray
    guesses: tuple[np.ndarray, np.ndarray]

    @property
    def won(self) -> np.ndarray:
        """Rows that the first alone is right on, bool, shape (rows,)."""
        won: np.ndarray = self.first.correct & ~self.second.correct
        return won

    @property
    def lost(self) -> np.ndarray:
        """Rows that the second alone is right on, bool, shape (rows,)."""
        lost: np.ndarray = self.second.correct & ~self.first.correct
        return lost

    @property
    def identical(self) -> bool:
        """Whether both know the same classes and say the very same of each row: there is nothing to be unsure of then."""
        if sorted(self.first.classes) != sorted(self.second.classes):
            return False
        columns = [self.second.classes.index(name) for name in self.first.classes]
        return np.array_equal(self.first.probabilities, self.second.probabilities[:, columns])

    def known_to_both(self) -> tuple[Predictions, Predictions]:
        """Both, on the rows whose true label both know: there, and only there, both can say how likely it is."""
        rows = np.flatnonzero((self.first.labels >= 0) & (self.second.labels >= 0))
        return self.first.take(rows), self.second.take(rows)


def pair(first: Predictions, second: Predictions) -> Pair:
    """Bring two models' predictions side by side. A true label that a model does not know is an error of that model.

    Raises:
        HeadwayError: they are not of exactly the same rows and true labels, or hold what is not a finite number.
    """
    if not len(first.ids):
        raise HeadwayError("there are no rows to compare them on")
    if len(first.ids) != len(set(first.ids)) or sorted(first.ids) != sorted(second.ids):
        raise HeadwayError("the two models were not scored on exactly the same rows")
    for predictions in (first, second):
        if not np.isfinite(predictions.probabilities).all():
            raise HeadwayError("a probability is not a finite number")
    orders = [np.argsort(np.asarray(predictions.ids, dtype=object)) for predictions in (first, second)]
    first, second = (predictions.take(order) for predictions, order in zip((first, second), orders, strict=True))
    classes = sorted({*first.classes, *second.classes})
    truths = [_renumbered(predictions.labels, predictions.classes, classes) for predictions in (first, second)]
    truth = np.maximum(*truths)
    for predictions, own in zip((first, second), truths, strict=True):
        known = np.isin(truth, [classes.index(name) for name in predictions.classes])
        if not np.array_equal(own, np.where(known, truth, -1)):
            raise HeadwayError("the two models were not scored against the same true labels")
    guesses = [_renumbered(predictions.predicted, predictions.classes, classes) for predictions in (first, second)]
    return Pair(first, second, orders[0], classes, truth, (guesses[0], guesses[1]))


def _renumbered(labels: np.ndarray, names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Labels in another numbering of the same names; -1 stays -1."""
    numbers = np.array([*(classes.index(name) for name in names), -1])
    return np.take(numbers, labels)
