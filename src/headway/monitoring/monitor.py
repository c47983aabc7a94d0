"""The monitor of one champion: it reads answers and labels in the order in which they come, and can be asked at any time.

Everything that it remembers is in :meth:`Monitor.state`, of about the same size however many answers it has read. Reading answers
in one call or in any cuts at ends of calls gives the same numbers, bit for bit.

The risk 1 − ``confidence`` of any false warning or alarm in the whole time of the champion is divided: half for what is seen
without labels (equal parts for confidence, predicted classes, length, unknown words and wording), a quarter for the accuracy of
the labelled answers, and a quarter for that of each class, of which one half is for the class's share of right answers on the
test rows not being as high as it seems. The comparison with the former champion is a question of its own, with the same risk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

from headway.monitoring.answers import (
    COARSE,
    LEVELS,
    Answers,
    DailyCounts,
    confidence_levels,
    length_levels,
    unknown_levels,
)
from headway.monitoring.capital import Capital
from headway.monitoring.conformal import ConformalStream
from headway.monitoring.guard import Guard
from headway.monitoring.loss import LossMartingale, group_threshold
from headway.monitoring.martingale import ConformalMartingale, thresholds
from headway.monitoring.wording import STARTS, Wording

CONFIDENCE, LENGTH, UNKNOWN, CLASS = "confidence", "length", "unknown words", "predicted class"
#: With more classes, only the most frequent ones are watched one by one.
MOST_CLASSES = 10
#: The lowest accepted accuracy is kept this far from 0 and 1, where no bet is possible.
EDGE = 1e-6


@dataclass(frozen=True)
class Reference:
    """The champion's answers on test rows.

    Attributes:
        answers: on the rows.
        labels: indices of the true labels, int, (rows,); -1 for a label that the champion does not know.
        classes: of the champion.
    """

    answers: Answers
    labels: np.ndarray
    classes: Sequence[str]

    @property
    def correct(self) -> np.ndarray:
        """Whether each answer is right, bool, (rows,)."""
        return np.asarray(self.answers.predicted == self.labels)


@dataclass(frozen=True)
class Terms:
    """What the monitor holds the champion to.

    Attributes:
        promised: accuracy, from 0 to 1.
        margin: loss of accuracy that is accepted.
        confidence: 1 − the risk of any false warning or alarm.
        key: of the champion's term, from which the random numbers follow.
    """

    promised: float
    margin: float
    confidence: float
    key: str

    @property
    def alpha(self) -> float:
        return 1 - self.confidence

    @property
    def least(self) -> float:
        """The lowest accepted accuracy."""
        return float(np.clip(self.promised - self.margin, EDGE, 1 - EDGE))


class Monitor:
    """What has been seen of a champion's answers, and what that shows.

    Attributes:
        reference: the champion's answers on the test rows.
        terms: what it is held to.
        answers: number of answers so far.
        days: counts by day; ``labelled``: the same of answers whose label is known.
        right_by_level: labelled answers that were right and that were wrong, by coarse level of confidence, (2, COARSE).
        drift: capital by name of the score; ``loss``: against the promised accuracy; ``by_class``: the same by class.
        guard: the former champion against the champion.
        crossed_days: day on which a capital reached its threshold, by its name.
    """

    def __init__(self, reference: Reference, terms: Terms) -> None:
        self.reference, self.terms = reference, terms
        n_classes = len(reference.classes)
        self.days, self.labelled = DailyCounts(n_classes), DailyCounts(n_classes)
        self.right_by_level = np.zeros((2, COARSE), np.int64)
        self.answers = 0
        self.crossed_days: dict[str, str] = {}
        self.weights = _weights(reference)
        self.thresholds = thresholds(self.weights, terms.alpha / 2)
        self._streams = {
            name: ConformalStream(np.bincount(levels, minlength=size), _seed(terms.key, name))
            for name in self.weights
            if name not in STARTS
            for levels, size in [self._levels(name, reference.answers)]
        }
        trigrams = reference.answers.trigrams
        self._wording = None if trigrams is None else Wording(trigrams, _seed(terms.key, "wording"))
        self.drift = {name: ConformalMartingale([self.thresholds[name]]) for name in self.weights}
        self.loss_threshold = 1 / (terms.alpha / 4)
        self.loss = LossMartingale(terms.least, [self.loss_threshold])
        watched = _watched_classes(reference)
        # An eighth for the bets, and an eighth for the promises, which are lower bounds from the test rows of a class.
        self.class_threshold = group_threshold(len(watched), terms.alpha / 8) if watched else np.inf
        self.by_class: dict[str, LossMartingale] = {}
        for index in watched:
            promised = self.promised_of(index, terms.alpha / 8 / len(watched))
            least = float(np.clip(promised - terms.margin, EDGE, 1 - EDGE))
            self.by_class[reference.classes[index]] = LossMartingale(least, [self.class_threshold])
        self.guard_threshold = 1 / terms.alpha
        self.guard = Guard([self.guard_threshold])

    @property
    def has_moved(self) -> bool:
        """Whether any change of the texts has been shown, now or earlier."""
        return any(capital.crossed_at(self.thresholds[name]) is not None for name, capital in self.drift.items())

    @property
    def reads_texts(self) -> bool:
        """Whether the words of the texts are watched."""
        return self._wording is not None

    def promised_of(self, index: int, risk: float) -> float:
        """A lower bound for the share of right answers among those that name a class, from the test rows.

        It is above the true share with a probability of at most ``risk`` (Clopper & Pearson 1934).
        """
        mine = self.reference.answers.predicted == index
        right, rows = int(self.reference.correct[mine].sum()), int(mine.sum())
        return float(beta.ppf(risk, right, rows - right + 1)) if right else 0.0

    def add(self, answers: Answers, unanswered: Sequence[str] | np.ndarray = ()) -> None:
        """Read the next answers, and the days of texts that could not be classified."""
        for day in unanswered:
            self.days.of(str(day)).unanswered += 1
        if not len(answers):
            return
        self.days.add(answers)
        for name in self.drift:
            if name not in STARTS:
                usable = answers.take(~np.isnan(answers.unknown_share)) if name == UNKNOWN else answers
                self._bet(name, self._levels(name, usable)[0], usable.days)
        if self._wording is not None and answers.trigrams is not None:
            for found in self._wording.read(answers.trigrams):
                if found.name not in self._streams:
                    reference = self._wording.reference(found.name)
                    self._streams[found.name] = ConformalStream(reference, _seed(self.terms.key, found.name))
                self._bet(found.name, found.levels, answers.days[found.texts])
        self.answers += len(answers)

    def add_labelled(self, answers: Answers, labels: Sequence[str], shadow: Sequence[str | None]) -> None:
        """Read answers whose true label has arrived; they have been read as answers before.

        Args:
            answers: of the champion.
            labels: true labels by name.
            shadow: classes that the former champion gave to the same texts, None where it was not asked.
        """
        if not len(answers):
            return
        classes = list(self.reference.classes)
        predicted = [classes[index] for index in answers.predicted]
        right = np.array([one == label for one, label in zip(predicted, labels, strict=True)])
        self.labelled.add(answers)
        levels = confidence_levels(answers.probability, COARSE)
        np.add.at(self.right_by_level, (1 - right.astype(int), levels), 1)
        for day, is_right in zip(answers.days.tolist(), right.tolist(), strict=True):
            counts = self.days.of(day)
            counts.right, counts.wrong = counts.right + is_right, counts.wrong + (not is_right)
        before = self.loss.rows
        self.loss.update(right)
        self._note("accuracy", self.loss, self.loss_threshold, answers.days, before)
        for name, capital in self.by_class.items():
            mine = np.array([one == name for one in predicted])
            before = capital.rows
            capital.update(right[mine])
            self._note(f"accuracy of {name}", capital, self.class_threshold, answers.days[mine], before)
        both = np.array([one is not None for one in shadow])
        former = np.array([one == label for one, label in zip(shadow, labels, strict=True)])
        self.guard.update(former[both], right[both])

    def state(self) -> dict[str, Any]:
        """Everything that :meth:`restore` needs, as plain JSON."""
        return {
            "answers": self.answers,
            "days": {day: counts.as_json() for day, counts in sorted(self.days.days.items())},
            "labelled": {day: counts.as_json() for day, counts in sorted(self.labelled.days.items())},
            "right_by_level": self.right_by_level.tolist(),
            "crossed_days": self.crossed_days,
            "streams": {name: stream.state() for name, stream in self._streams.items()},
            "wording": self._wording and self._wording.state(),
            "drift": {name: capital.state() for name, capital in self.drift.items()},
            "loss": self.loss.state(),
            "by_class": {name: capital.state() for name, capital in self.by_class.items()},
            "guard": self.guard.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where a monitor of the same reference and terms was when :meth:`state` was called."""
        self.answers = state["answers"]
        self.days.restore(state["days"])
        self.labelled.restore(state["labelled"])
        self.right_by_level = np.array(state["right_by_level"], np.int64)
        self.crossed_days = dict(state["crossed_days"])
        self._streams = {name: ConformalStream.from_state(stream) for name, stream in state["streams"].items()}
        if self._wording is not None:
            self._wording.restore(state["wording"])
        self.drift = {name: ConformalMartingale.from_state(state["drift"][name]) for name in self.drift}
        self.loss = LossMartingale.from_state(state["loss"])
        self.by_class = {name: LossMartingale.from_state(state["by_class"][name]) for name in self.by_class}
        self.guard = Guard.from_state(state["guard"])

    def _levels(self, name: str, answers: Answers) -> tuple[np.ndarray, int]:
        """The levels of a score, int, (rows,), and their number."""
        if name == CONFIDENCE:
            return confidence_levels(answers.probability), LEVELS
        if name == LENGTH:
            return length_levels(answers.characters), LEVELS
        if name == UNKNOWN:
            return unknown_levels(answers.unknown_share), LEVELS
        index = list(self.reference.classes).index(name.removeprefix(f"{CLASS} "))
        return (answers.predicted == index).astype(np.int64), 2

    def _bet(self, name: str, levels: np.ndarray, days: np.ndarray) -> None:
        """Bet on the next levels of a score; both have the shape (rows,)."""
        capital = self.drift[name]
        before = capital.rows
        capital.update(self._streams[name].p_values(levels))
        self._note(name, capital, self.thresholds[name], days, before)

    def _note(self, name: str, capital: Capital, threshold: float, days: np.ndarray, before: int) -> None:
        """Note the day on which a capital first reached its threshold."""
        row = capital.crossed_at(threshold)
        if row is not None and name not in self.crossed_days:
            self.crossed_days[name] = str(days[row - before - 1])


def _weights(reference: Reference) -> dict[str, float]:
    """The share of the risk of each score."""
    watched = _watched_classes(reference)
    if len(reference.classes) == 2:  # the other class is its mirror image
        watched = watched[:1]
    families = [[CONFIDENCE], [f"{CLASS} {reference.classes[index]}" for index in watched], [LENGTH]]
    if not np.isnan(reference.answers.unknown_share).any():
        families.append([UNKNOWN])
    if reference.answers.trigrams is not None:
        families.append(list(STARTS))
    families = [names for names in families if names]
    return {name: 1 / len(families) / len(names) for names in families for name in names}


def _watched_classes(reference: Reference) -> list[int]:
    """The classes that are watched one by one: those that are predicted most often."""
    counts = np.bincount(reference.answers.predicted, minlength=len(reference.classes))
    return [int(index) for index in np.argsort(-counts, kind="stable")[:MOST_CLASSES]]


def _seed(key: str, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{key} {name}".encode()).digest()[:8], "big")
