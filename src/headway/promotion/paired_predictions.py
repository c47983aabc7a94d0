"""Two models' predictions of the same rows side by side: rows matched by id, classes by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headway.errors import HeadwayError
from headway.evaluation.predictions import Predictions


@dataclass(frozen=True)
class PairedPredictions:
    """A candidate and its opponent on the same rows, sorted by row id, so that the order of the inputs does not matter.

    Attributes:
        candidate, opponent: predictions of the same rows, each with its own model's classes.
        order: position of each row in the candidate's original predictions, int, shape (rows,).
        classes: class names known to either model, sorted.
        labels: true labels, int, shape (rows,), as indices into ``classes``; -1 where neither model knows the label.
        predicted: the most likely class of the candidate and of the opponent, int, shape (rows,), as indices into
            ``classes``.
    """

    candidate: Predictions
    opponent: Predictions
    order: np.ndarray
    classes: Sequence[str]
    labels: np.ndarray
    predicted: tuple[np.ndarray, np.ndarray]

    @property
    def only_candidate_correct(self) -> np.ndarray:
        """Discordant rows that the candidate alone gets right, bool, shape (rows,)."""
        return np.asarray(self.candidate.correct & ~self.opponent.correct)

    @property
    def only_opponent_correct(self) -> np.ndarray:
        """Discordant rows that the opponent alone gets right, bool, shape (rows,)."""
        return np.asarray(self.opponent.correct & ~self.candidate.correct)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Rows that only the candidate gets right, rows that only the opponent gets right, and all rows."""
        return int(self.only_candidate_correct.sum()), int(self.only_opponent_correct.sum()), len(self.labels)

    @property
    def identical(self) -> bool:
        """Whether both models know the same classes and give the same probabilities for every row."""
        if sorted(self.candidate.classes) != sorted(self.opponent.classes):
            return False
        columns = [self.opponent.classes.index(name) for name in self.candidate.classes]
        return np.array_equal(self.candidate.probabilities, self.opponent.probabilities[:, columns])

    def with_known_labels(self) -> tuple[Predictions, Predictions]:
        """Both models on the rows whose true label both know: only there do both give the label a probability.

        Raises:
            HeadwayError: there is no such row.
        """
        rows = np.flatnonzero((self.candidate.labels >= 0) & (self.opponent.labels >= 0))
        if not len(rows):
            raise HeadwayError("there is no row whose label both models know")
        return self.candidate.take(rows), self.opponent.take(rows)


def pair(candidate: Predictions, opponent: Predictions) -> PairedPredictions:
    """Bring two models' predictions side by side. A true label that a model does not know counts as an error of that model.

    Raises:
        HeadwayError: the rows or their true labels differ, there are none, or a probability is not finite.
    """
    if not len(candidate.ids):
        raise HeadwayError("there are no rows to compare the models on")
    if len(candidate.ids) != len(set(candidate.ids)) or sorted(candidate.ids) != sorted(opponent.ids):
        raise HeadwayError("the two models were not scored on exactly the same rows")
    both = (candidate, opponent)
    if not all(np.isfinite(predictions.probabilities).all() for predictions in both):
        raise HeadwayError("a probability is not a finite number")
    orders = [np.argsort(np.asarray(predictions.ids, dtype=object)) for predictions in both]
    candidate, opponent = both = tuple(one.take(order) for one, order in zip(both, orders, strict=True))  # type: ignore[assignment]
    classes = sorted({*candidate.classes, *opponent.classes})
    known_labels = [_reindexed(predictions.labels, predictions.classes, classes) for predictions in both]
    labels = np.maximum(*known_labels)
    for predictions, own in zip(both, known_labels, strict=True):
        known = np.isin(labels, [classes.index(name) for name in predictions.classes])
        if not np.array_equal(own, np.where(known, labels, -1)):
            raise HeadwayError("the two models were not scored against the same true labels")
    predicted = [_reindexed(predictions.predicted, predictions.classes, classes) for predictions in both]
    return PairedPredictions(candidate, opponent, orders[0], classes, labels, (predicted[0], predicted[1]))


def _reindexed(labels: np.ndarray, names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Indices into ``names`` as indices into ``classes``; -1 stays -1."""
    numbers = np.array([*(classes.index(name) for name in names), -1])
    return np.asarray(numbers[labels])
