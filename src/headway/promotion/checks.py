"""The gate's checks, one function each: from predictions, costs and policy to a :class:`Check`. Accuracy has its own module.

A check that cannot be computed raises an error; :func:`run` turns that into a failed check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple
from typing import Any

import numpy as np

from headway.errors import HeadwayError, first_line
from headway.evaluation.calibration import expected_calibration_error
from headway.evaluation.metrics import Interval
from headway.evaluation.predictions import Predictions
from headway.params import GateParams
from headway.phrases import counted, listed
from headway.promotion.bootstrap import macro_f1_difference, nll_difference
from headway.promotion.check import Check, points, signed
from headway.promotion.paired_predictions import PairedPredictions
from headway.promotion.paired_tests import holm, worse_by_more
from headway.serving.latency import MachineLoad

PROBABILITY_TOLERANCE = 1e-3
#: Largest ratio to the champion's latency if the champion is too slow too and the policy limits no ratio.
RATIO_IF_BOTH_ARE_SLOW = 2.0
BASELINE, CHAMPION = "the linear baseline", "the champion"
#: Labels that a message names before it only counts the rest.
LABELS_SHOWN = 5


def run(failure: str, checks: Iterable[tuple[str, float | None, Callable[[], Check]]]) -> list[Check]:
    """The results of checks. A check that cannot be computed fails, and its explanation gives the reason.

    Args:
        failure: first words of the explanation of a check that cannot be computed.
        checks: name, threshold and function of each check.
    """
    results = []
    for name, threshold, check in checks:
        try:
            results.append(check())
        except Exception as error:  # noqa: BLE001 - whatever stops one check, the others are still reported
            reason = str(error) if isinstance(error, HeadwayError) else f"{type(error).__name__}: {first_line(error)}"
            results.append(Check(name=name, passed=False, threshold=threshold, explanation=f"{failure}: {reason}"))
    return results


def result(
    name: str, passed: bool, measured: float | Interval, threshold: float | None, explanation: str, **details: Any
) -> Check:
    """The result of a check that was computed, with the interval of its value if it has one."""
    value, low, high = astuple(measured) if isinstance(measured, Interval) else (measured, None, None)
    found = {"value": value, "low": low, "high": high, "threshold": threshold}
    return Check(name=name, passed=passed, explanation=explanation, details=details, **found)


def enough_test_rows(candidate: Predictions, policy: GateParams) -> Check:
    """The test split has at least ``gate.min_test_rows`` rows."""
    rows, minimum = len(candidate.ids), policy.min_test_rows
    explanation = f"{rows:,} test rows, at least {minimum:,} required"
    return result("enough_test_rows", rows >= minimum, rows, minimum, explanation)


def unseen_test_rows(reason: str) -> Check:
    """Fails, because the candidate may have been trained on rows that are test rows now."""
    return Check(name="unseen_test_rows", passed=False, explanation=reason)


def proper_probabilities(candidate: Predictions) -> Check:
    """Probabilities are finite, not negative, and sum to 1 within 0.001."""
    p = candidate.probabilities
    bad = int((~np.isfinite(p).all(axis=1) | (p < 0).any(axis=1) | (abs(p.sum(axis=1) - 1) > PROBABILITY_TOLERANCE)).sum())
    explanation = f"{bad:,} rows with improper probabilities" if bad else "all probabilities are finite and sum to 1"
    return result("proper_probabilities", not bad, bad, 0, explanation)


def same_labels(candidate: Predictions, champion: Predictions) -> Check:
    """The candidate knows every label of the champion, so users of the champion's labels can still rely on them."""
    removed = sorted({*champion.classes} - {*candidate.classes})
    added = sorted({*candidate.classes} - {*champion.classes})
    explanation = f"the candidate has all {len(champion.classes):,} labels of the champion"
    if removed:
        explanation = (
            f"the champion's labels {listed(removed, LABELS_SHOWN)} are missing or renamed; data.label_map can restore "
            "their names; to start anew with other labels, `headway retire` the champion; for another task, set another "
            "registry.model_name in params.yaml"
        )
    elif added:
        explanation += f"; {listed(added, LABELS_SHOWN)} added, whose rows count as errors of the champion"
    return result("same_labels", not removed, len(removed), 0, explanation, removed=removed, added=added)


def macro_f1(pair: PairedPredictions, policy: GateParams, seed: int) -> Check:
    """The lower bound of the difference in macro F1 is above ``-gate.macro_f1_margin``."""
    difference, limit = macro_f1_difference(pair, policy, seed), -policy.macro_f1_margin
    explanation = (
        f"macro F1 {points_and_bounds(difference, f'{policy.confidence:.0%} interval')} against the champion; required: lower "
        f"bound above {points(limit)}"
    )
    return result("macro_f1", difference.low > limit or _is_zero(difference), difference, limit, explanation)


def negative_log_likelihood(pair: PairedPredictions, policy: GateParams, seed: int) -> Check:
    """The upper bound of the difference, on rows whose label both models know, is below ``gate.nll_margin``."""
    difference, limit = nll_difference(*pair.with_known_labels(), policy, seed), policy.nll_margin
    value, low, high, upper = (signed(one, 4) for one in (*astuple(difference), limit))
    explanation = (
        f"negative log-likelihood {value} nats per row ({policy.confidence:.0%} interval {low} to {high}) against the champion; "
        f"required: upper bound below {upper}"
    )
    return result("negative_log_likelihood", difference.high < limit or _is_zero(difference), difference, limit, explanation)


def calibration(pair: PairedPredictions, policy: GateParams) -> Check:
    """The expected calibration error is at most ``gate.calibration_margin`` above the champion's, without an interval.

    No interval, because a percentile bootstrap of this error is invalid. The error is a sum of absolute values, which noise
    only increases. A resample is noisier than the rows, so the interval is too high, the more so the better a model is
    calibrated, and near 0 no bootstrap of it is consistent. Most of the bias cancels in the difference of two models on the
    same rows.
    """
    candidate, champion = (expected_calibration_error(predictions) for predictions in pair.with_known_labels())
    limit, higher = policy.calibration_margin, candidate - champion
    explanation = (
        f"expected calibration error {candidate:.4f}, the champion's is {champion:.4f}; required: at most {limit:.4f} higher"
    )
    return result("calibration", higher <= limit, higher, limit, explanation, candidate=candidate, champion=champion)


def slices(pair: PairedPredictions, masks: Mapping[str, np.ndarray], policy: GateParams) -> Check:
    """No slice shows that the candidate is worse than the champion by more than ``gate.slice_margin``, Holm-corrected.

    Here the burden of proof is reversed: a slice must show a loss. Slices are small, so few candidates could show on each of
    them that they are not worse.

    Args:
        pair: candidate and champion.
        masks: rows of each slice in the candidate's original order, bool, shape (rows,). Slices with fewer than
            ``gate.min_slice_rows`` rows are not compared.
        policy: ``slice_margin``, ``min_slice_rows`` and ``confidence`` are used.
    """
    risk = 1 - policy.confidence
    for name, mask in masks.items():
        if np.shape(mask) != pair.labels.shape or np.asarray(mask).dtype != bool:
            raise HeadwayError(f"the slice {name!r} is not a mask over the {len(pair.labels):,} test rows")
    ordered = {name: np.asarray(mask)[pair.order] for name, mask in masks.items()}
    large = {name: mask for name, mask in ordered.items() if mask.sum() >= policy.min_slice_rows}
    if not large:
        explanation = f"no slice has {policy.min_slice_rows:,} test rows, so none is compared"
        return Check(name="slices", passed=True, threshold=risk, explanation=explanation, details={"slices": []})
    won, lost = pair.only_candidate_correct, pair.only_opponent_correct
    counts = [(int(won[mask].sum()), int(lost[mask].sum()), int(mask.sum())) for mask in large.values()]
    adjusted = holm([worse_by_more(*one, policy.slice_margin) for one in counts])
    compared: list[dict[str, Any]] = [
        {
            "name": name,
            "rows": rows,
            "only_candidate_correct": wins,
            "only_champion_correct": losses,
            "difference": (wins - losses) / rows,
            "p_value": float(p),
        }
        for name, (wins, losses, rows), p in zip(large, counts, adjusted, strict=True)
    ]
    worse = sum(one["p_value"] <= risk for one in compared)
    worst = min(compared, key=lambda one: one["p_value"])
    explanation = (
        f"{worse or 'none'} of {len(compared):,} slices with at least {policy.min_slice_rows:,} rows is shown to be "
        f"worse than the champion by more than {points(policy.slice_margin, sign=False)} of accuracy; the smallest p-value is "
        f"{worst['p_value']:.2g} (Holm), for {worst['name']!r} at {points(worst['difference'])}; required: above {risk:.2g}"
    )
    return result("slices", not worse, worst["p_value"], risk, explanation, slices=compared)


def within_budget(
    name: str, unit: str, candidate: float | None, champion: float | None, maximum: float, ratio: float
) -> Check:
    """A cost of serving is at most an absolute maximum, and at most a multiple of the champion's; 0 means no limit.

    The cost of a model is None if it was not measured.
    """
    if candidate is None or (ratio and champion is None):
        raise HeadwayError("it was not measured")
    limits = [*([maximum] if maximum else []), *([ratio * champion] if ratio and champion is not None else [])]
    if not np.isfinite([candidate, *limits]).all():
        raise HeadwayError("the measured value is not a finite number")
    limit = min(limits, default=None)
    explanation = f"{candidate:,.1f} {unit}"
    if champion is not None:
        explanation += f", the champion's {champion:,.1f}"
    explanation += f"; required: at most {limit:,.1f}" if limit is not None else "; no limit"
    return result(name, limit is None or candidate <= limit, candidate, limit, explanation)


def latency(
    candidate: float | None, champion: float | None, maximum: float, ratio: float, load: MachineLoad | None = None
) -> Check:
    """As :func:`within_budget` for latencies in milliseconds, except if the champion is too slow now too.

    If the champion, measured beside the candidate, exceeds the maximum now, the time says more about the machine than about
    the candidate. Then only the ratio of the two counts, which other load hardly changes: at most ``ratio``, or
    :data:`RATIO_IF_BOTH_ARE_SLOW` if the policy has none.
    """
    both_slow = bool(maximum and champion is not None and np.isfinite(champion) and champion > maximum)
    if both_slow:
        maximum, limit_ms, ratio = 0.0, maximum, ratio or RATIO_IF_BOTH_ARE_SLOW
    found = within_budget("latency", "ms per text (95th percentile)", candidate, champion, maximum, ratio)
    assert found.value is not None  # within_budget has raised an error for a latency that was not measured
    explanation, details = found.explanation, dict(found.details)
    if champion and np.isfinite(champion):
        details |= {"champion": champion, "ratio": found.value / champion}
        explanation += f"; {details['ratio']:.2f} times the champion's"
    if both_slow:
        explanation += f"; the limit of {limit_ms:,.1f} ms is not applied, because the champion exceeds it now too"
    if load is not None:
        details |= {"load_average": load.average, "cores": load.cores}
        explanation += f"; load average {load.average:.1f} on {counted(load.cores, 'core')}"
        if not found.passed and champion is None and load.average > load.cores:
            explanation += ": the machine is busy, run again when it is not"
    return found.model_copy(update={"explanation": explanation, "details": details})


def _is_zero(difference: Interval) -> bool:
    """Whether no resample differs, in which case no margin is too small."""
    return difference.value == difference.low == difference.high == 0


def points_and_bounds(difference: Interval, interval: str = "") -> str:
    """A difference in points with its interval, or with the lower bound alone if no interval is named."""
    low, high = signed(100 * difference.low, 2), signed(100 * difference.high, 2)
    return f"{points(difference.value)} ({f'{interval} {low} to {high}' if interval else f'lower bound {low}'})"
