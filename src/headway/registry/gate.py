"""The gate: may this candidate become champion? Pure functions over predictions; nothing here reads a file or a registry.

It fails closed: a check that cannot be computed is a refusal, and says so. Every check is reported, also after one fails.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from headway.errors import HeadwayError
from headway.evaluation.metrics import Interval, bootstrap_mean
from headway.evaluation.predictions import Predictions
from headway.params import GateParams

PROMOTE, REFUSE = "promote", "refuse"
PROBABILITY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Check:
    """One question the gate asks.

    Attributes:
        name: short, stable.
        passed: the verdict.
        value: what was measured, None where that was impossible.
        low, high: its confidence interval, where it has one.
        threshold: what it was held against.
        explanation: one sentence for a person.
    """

    name: str
    passed: bool
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None
    explanation: str


@dataclass(frozen=True)
class Decision:
    """The verdict and all checks behind it."""

    verdict: str
    checks: tuple[Check, ...]

    @property
    def promotes(self) -> bool:
        return self.verdict == PROMOTE

    @property
    def reasons(self) -> list[str]:
        """Explanations of the checks that failed, or of all when none did."""
        failed = [check.explanation for check in self.checks if not check.passed]
        return failed or [check.explanation for check in self.checks]

    def as_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "checks": [asdict(check) for check in self.checks]}


def decide(
    candidate: Predictions,
    baseline: Predictions,
    champion: Predictions | HeadwayError | None,
    policy: GateParams,
    seed: int,
) -> Decision:
    """Judge a candidate.

    Args:
        candidate: its predictions on the test split.
        baseline: the linear baseline's on the same rows.
        champion: the champion's, scored now on the same rows; None when there is no champion; an error when there is one
            but it could not be scored, which refuses.
        policy: thresholds.
        seed: of the bootstrap.
    """
    superior = policy.policy == "superior"
    opponents: list[tuple[str, Predictions | HeadwayError, float, str]] = [
        ("no_worse_than_baseline", baseline, -policy.baseline_margin, "the linear baseline")
    ]
    if champion is not None:
        name = "better_than_champion" if superior else "no_worse_than_champion"
        threshold = 0.0 if superior else -policy.champion_margin
        opponents.append((name, champion, threshold, "the champion, scored now on the same rows"))
    checks = [_enough_rows(candidate, policy), _proper(candidate)]
    checks += [_compare(name, candidate, opponent, limit, words, policy, seed) for name, opponent, limit, words in opponents]
    return Decision(PROMOTE if all(check.passed for check in checks) else REFUSE, tuple(checks))


def accuracy_difference(first: Predictions, second: Predictions, policy: GateParams, seed: int) -> Interval:
    """Accuracy of the first less that of the second on the same rows, with a paired bootstrap interval.

    Rows are matched by identity; in which order they stand is irrelevant.

    Raises:
        HeadwayError: the two were not scored on exactly the same rows, or do not know the same classes.
    """
    if not len(first.ids):
        raise HeadwayError("there are no rows to compare them on")
    if len(first.ids) != len(set(first.ids)) or sorted(first.ids) != sorted(second.ids):
        raise HeadwayError("the two models were not scored on exactly the same rows")
    if set(first.classes) != set(second.classes):
        odd = sorted(set(first.classes) ^ set(second.classes))
        raise HeadwayError(
            f"the two models do not know the same labels: {', '.join(odd[:5])} in one only; for another task, give the model "
            "another registry.model_name"
        )
    # In the order of identities, so that the resampling does not depend on the order in which the rows came.
    order_first = np.argsort(np.asarray(first.ids, dtype=object))
    order_second = np.argsort(np.asarray(second.ids, dtype=object))
    if _names(first, order_first) != _names(second, order_second):
        raise HeadwayError("the two models were not scored against the same true labels")
    for predictions in (first, second):
        if not np.isfinite(predictions.probabilities).all():
            raise HeadwayError("a probability is not a finite number")
    difference = first.correct[order_first].astype(float) - second.correct[order_second].astype(float)
    return bootstrap_mean(difference, policy.confidence, policy.bootstrap_samples, seed)


def _names(predictions: Predictions, order: np.ndarray) -> list[str]:
    """True labels by name: two models may number the same classes differently."""
    return [predictions.classes[label] for label in predictions.labels[order]]


def _enough_rows(candidate: Predictions, policy: GateParams) -> Check:
    rows = len(candidate.ids)
    passed = rows >= policy.min_test_rows
    explanation = f"{rows:,} test rows, at least {policy.min_test_rows:,} are needed"
    return Check("enough_test_rows", passed, rows, None, None, policy.min_test_rows, explanation)


def _proper(candidate: Predictions) -> Check:
    """Probabilities are finite, not negative, and sum to 1."""
    p = candidate.probabilities
    bad = int((~np.isfinite(p).all(axis=1) | (p < 0).any(axis=1) | (abs(p.sum(axis=1) - 1) > PROBABILITY_TOLERANCE)).sum())
    explanation = f"{bad:,} rows with improper probabilities" if bad else "all probabilities are finite and sum to 1"
    return Check("proper_probabilities", not bad, bad, None, None, 0, explanation)


def _compare(
    name: str,
    candidate: Predictions,
    opponent: Predictions | HeadwayError,
    threshold: float,
    words: str,
    policy: GateParams,
    seed: int,
) -> Check:
    """The lower end of the accuracy difference must lie above the threshold; what cannot be compared refuses."""
    try:
        if isinstance(opponent, HeadwayError):
            raise opponent
        difference = accuracy_difference(candidate, opponent, policy, seed)
    except HeadwayError as error:
        return Check(name, False, None, None, None, threshold, f"cannot be compared with {words}: {error}")
    value, low, high = (100 * bound for bound in (difference.value, difference.low, difference.high))
    explanation = (
        f"accuracy {value:+.2f} points ({policy.confidence:.0%} interval {low:+.2f} to {high:+.2f}) against {words}; "
        f"the lower end must be above {100 * threshold:+.2f}"
    )
    return Check(name, difference.low > threshold, difference.value, difference.low, difference.high, threshold, explanation)
