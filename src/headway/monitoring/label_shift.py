"""Shares of the true classes among rows without labels, from the predicted ones and the model's confusions in the reference.

If only the shares of the classes have changed, and the texts of each class have not (*label shift*), the predicted classes are
distributed as Σ_i π_i P(predicted = j | true = i), where P is known from the reference and π are the shares. EM finds the π under
which the predictions are most likely (Saerens, Latinne & Decaestecker 2002, "Adjusting the outputs of a classifier to new a
priori probabilities"); inverting P instead (Lipton, Wang & Smola 2018, "Detecting and correcting for label shift with black box
predictors") gives the same where its result is a distribution, and negative shares elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Resamples for the intervals.
SAMPLES = 200
#: EM ends when no share moves by more than this, or after so many steps.
TOLERANCE, STEPS = 1e-7, 2_000
#: If the smallest singular value of P is below this, predictions say next to nothing about some of the shares.
SINGULAR = 0.02


@dataclass(frozen=True)
class ClassShares:
    """Shares of the true classes.

    Attributes:
        shares, low, high: of each class with its interval, float64, (classes,); the shares sum to 1.
        is_corrected: whether confusions are corrected for; if not, these are the shares of the predicted classes.
        caveat: why they are not corrected, or for which classes; "" if there is nothing to say.
    """

    shares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    is_corrected: bool
    caveat: str


def class_shares(confusion: np.ndarray, predicted: np.ndarray, *, seed: int, alpha: float = 0.05) -> ClassShares:
    """Estimate the shares, with percentile intervals over resamples of the reference and of the new rows.

    A class without reference rows is taken as always predicted correctly and never predicted for another class, because nothing
    is known about its confusions. If the confusions cannot be told apart at all, the shares of the predicted classes are
    returned. ``caveat`` then says so.

    Args:
        confusion: reference rows by true and predicted class, int, (classes, classes).
        predicted: numbers of new rows by predicted class, int, (classes,).
        seed: of the resamples.
        alpha: probability outside of each interval.

    Raises:
        ValueError: there are no new rows.
    """
    confusion, predicted = np.asarray(confusion), np.asarray(predicted)
    rows = int(predicted.sum())
    if not rows:
        raise ValueError("class shares need at least one row")
    random = np.random.default_rng(seed)
    seen = predicted / rows
    resampled = random.multinomial(rows, seen, size=SAMPLES) / rows  # (samples, classes)
    absent = np.flatnonzero(confusion.sum(axis=1) == 0)
    rates = confusion_rates(confusion)
    is_corrected = bool(np.linalg.svd(rates, compute_uv=False)[-1] >= SINGULAR)
    if is_corrected:
        caveat = f"no reference rows of {len(absent)} of {len(confusion)} classes" if len(absent) else ""
        drawn = np.stack(
            [random.multinomial(int(row.sum()), rate, size=SAMPLES) for row, rate in zip(confusion, rates, strict=True)], 1
        )
        of_sample = np.stack([confusion_rates(one) for one in drawn])  # (samples, true, predicted)
        start = (confusion.sum(axis=1) + 1) / (confusion.sum() + len(confusion))
        shares = maximise(rates[None], seen[None], start)[0]
        samples = maximise(of_sample, resampled, start)
    else:
        caveat = "the model's confusions do not tell the classes apart: these are the shares of the predicted classes"
        shares, samples = seen, resampled
    low, high = np.quantile(samples, [alpha / 2, 1 - alpha / 2], axis=0)
    return ClassShares(shares, np.minimum(low, shares), np.maximum(high, shares), is_corrected, caveat)


def confusion_rates(confusion: np.ndarray) -> np.ndarray:
    """P(predicted | true), float64, (true, predicted); rows sum to 1.

    One further row of each class is spread over the predicted classes evenly, so that no prediction is impossible.
    A class without rows is predicted correctly.
    """
    classes = len(confusion)
    rates = (confusion + 1 / classes) / (confusion.sum(axis=1, keepdims=True) + 1)
    absent = confusion.sum(axis=1) == 0
    rates[absent] = np.eye(classes)[absent]
    return np.asarray(rates)


def maximise(rates: np.ndarray, predicted: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The most likely shares of the true classes, by EM; all samples at once.

    Args:
        rates: P(predicted | true), (samples, true, predicted), above 0 in at least one row of each column.
        predicted: shares of the predicted classes, (samples, predicted).
        start: first values, above 0, (true,).

    Returns:
        float64, (samples, true); rows sum to 1.
    """
    shares = np.tile(start / start.sum(), (len(predicted), 1))
    for _ in range(STEPS):
        expected = np.einsum("si,sij->sj", shares, rates)
        ratio = np.divide(predicted, expected, out=np.zeros_like(expected), where=expected > 0)
        updated = shares * np.einsum("sij,sj->si", rates, ratio)
        updated /= updated.sum(axis=1, keepdims=True)
        moved = np.abs(updated - shares).max()
        shares = updated
        if moved < TOLERANCE:
            break
    return np.asarray(shares)
