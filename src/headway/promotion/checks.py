"""The gate's questions, one function each: from predictions, costs and policy to a :class:`Check`.

A question that cannot be answered raises a HeadwayError; :func:`asked` makes a refusal of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headway.errors import HeadwayError, first_line
from headway.evaluation.calibration import expected_calibration_error
from headway.evaluation.metrics import Interval
from headway.evaluation.predictions import Predictions
from headway.params import GateParams
from headway.phrases import listed
from headway.promotion.bootstrap import macro_f1_difference, nll_difference
from headway.promotion.paired_predictions import Pair
from headway.promotion.paired_tests import (
    POWER,
    accuracy_difference,
    detectable_difference,
    holm,
    is_non_inferior,
    is_superior,
    mcnemar,
    score_test,
    worse_by_more,
)

PROBABILITY_TOLERANCE = 1e-3
BASELINE, CHAMPION = "the linear baseline", "the champion, scored now on the same rows"


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
        details: more numbers behind it, as plain JSON.
    """

    name: str
    passed: bool
    value: float | None
    low: float | None
    high: float | None
    threshold: float | None
    explanation: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What one answer or one copy of a model costs, measured; None where it was not.

    Attributes:
        name, unit: of the cost.
        candidate, champion: whose it is.
    """

    name: str
    unit: str
    candidate: float | None
    champion: float | None


@dataclass(frozen=True)
class Turn:
    """Where the comparison with the champion stands among those on this test set; or an election among the elections there.

    Attributes:
        number: of this verdict, from 1.
        significance: the one-sided level that it is tested at.
    """

    number: int
    significance: float

    def __str__(self) -> str:
        tested = f"verdict {self.number} on this test set is tested at {self.significance:.3g}"
        return f"{tested} (fresh test rows start the count anew)"


def asked(name: str, threshold: float | None, untold: str, question: Callable[[], Check]) -> Check:
    """The answer to a question; where there is none, a refusal that begins with the given words and gives the reason."""
    try:
        return question()
    except HeadwayError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - whatever keeps a question from being answered, the others are answered too
        reason = f"{type(error).__name__}: {first_line(error)}"
    return Check(name, False, None, None, None, threshold, f"{untold}: {reason}")


def enough_rows(candidate: Predictions, policy: GateParams) -> Check:
    rows = len(candidate.ids)
    explanation = f"{rows:,} test rows, at least {policy.min_test_rows:,} are needed"
    return Check("enough_test_rows", rows >= policy.min_test_rows, rows, None, None, policy.min_test_rows, explanation)


def proper_probabilities(candidate: Predictions) -> Check:
    """Probabilities are finite, not negative, and sum to 1."""
    p = candidate.probabilities
    bad = int((~np.isfinite(p).all(axis=1) | (p < 0).any(axis=1) | (abs(p.sum(axis=1) - 1) > PROBABILITY_TOLERANCE)).sum())
    explanation = f"{bad:,} rows with improper probabilities" if bad else "all probabilities are finite and sum to 1"
    return Check("proper_probabilities", not bad, bad, None, None, 0, explanation)


def power(
    pair: Pair, opponent: str, significance: float, policy: GateParams, margin: float = 0.0, minimum: float = -1.0
) -> Check:
    """The smallest true difference that so many rows show, at the disagreement observed.

    Args:
        margin, minimum: of the question about accuracy: by how much a model may be worse, and how much has to be seen.
    """
    rows = len(pair.truth)
    disagreement = int((pair.won | pair.lost).sum()) / rows
    least = detectable_difference(rows, disagreement, significance, margin, minimum)
    limit = policy.detectable_gain
    explanation = f"{rows:,} rows, on {disagreement:.1%} of which one model alone is right, "
    if margin:
        explanation += (
            f"pass with {POWER:.0%} power a model whose true difference from {opponent} is {_signed(least)} points (it may be "
            f"{_signed(-margin)})"
        )
    else:
        explanation += f"show a true gain over {opponent} of {_points(least)} points with {POWER:.0%} power"
    explanation += f"; {'lower' if margin else 'smaller'} ones they may miss"
    gain = detectable_difference(rows, disagreement, significance, minimum=minimum)  # what they show without the margin
    if limit:
        explanation += f"; they show a gain of {_points(gain)}, and must show one of {_points(limit)}"
    details = {"disagreement": disagreement, "power": POWER, "significance": significance, "detectable_gain": gain}
    return Check("power", not limit or gain <= limit, least, None, None, limit or None, explanation, details)


def no_worse_than_baseline(pair: Pair, policy: GateParams, election: Turn | None = None) -> Check:
    """The lower end of the accuracy difference's interval lies above the margin, and the score test agrees.

    Where that elects a champion, it is asked at the election's own level.
    """
    won, lost, rows = _counts(pair)
    tail = election.significance if election else (1 - policy.confidence) / 2
    passed = _is_no_worse(pair, tail, policy.baseline_margin)
    difference = accuracy_difference(won, lost, rows, tail)
    explanation = (
        f"accuracy {_signed(difference.value)} points ({_percent(1 - 2 * tail)} interval {_signed(difference.low)} to "
        f"{_signed(difference.high)}) against {BASELINE}; the lower end must be above {_signed(-policy.baseline_margin)}"
        f"{_score_test(pair, policy.baseline_margin, tail)}"
    )
    if election and election.number > 1:
        explanation += f"; {election}"
    details = {**_tally(pair), **(vars(election) if election else {}), "p_value": float(mcnemar(won, lost))}
    return _interval("no_worse_than_baseline", passed, difference, -policy.baseline_margin, explanation, details)


def better_than_champion(pair: Pair, policy: GateParams, turn: Turn) -> Check:
    """Surely better, by bootstrap and by exact McNemar at the level that is this verdict's, and by the minimum at least."""
    won, lost, rows = _counts(pair)
    passed = bool(is_superior(won, lost, rows, turn.significance, policy.minimum_gain))
    difference = accuracy_difference(won, lost, rows, turn.significance)
    p_value = float(mcnemar(won, lost))
    explanation = (
        f"accuracy {_signed(difference.value)} points (lower end {_signed(difference.low)}), {won:,} rows won and {lost:,} lost, "
        f"exact McNemar p {p_value:.2g}, against {CHAMPION}; {turn}: the lower end must be above 0, p not above that, and "
        f"the gain {_points(policy.minimum_gain)} or more"
    )
    details = {**_tally(pair), **vars(turn), "p_value": p_value, "minimum_gain": policy.minimum_gain}
    return _interval("better_than_champion", passed, difference, 0.0, explanation, details)


def no_worse_than_champion(pair: Pair, policy: GateParams, turn: Turn) -> Check:
    """Surely not worse by the margin, at the level that is this verdict's."""
    won, lost, rows = _counts(pair)
    passed = _is_no_worse(pair, turn.significance, policy.champion_margin)
    difference = accuracy_difference(won, lost, rows, turn.significance)
    explanation = (
        f"accuracy {_signed(difference.value)} points (lower end {_signed(difference.low)}), {won:,} rows won and {lost:,} lost, "
        f"against {CHAMPION}; {turn}: the lower end must be above {_signed(-policy.champion_margin)}"
        f"{_score_test(pair, policy.champion_margin, turn.significance)}"
    )
    details = {**_tally(pair), **vars(turn), "p_value": float(mcnemar(won, lost))}
    return _interval("no_worse_than_champion", passed, difference, -policy.champion_margin, explanation, details)


def _is_no_worse(pair: Pair, significance: float, margin: float) -> bool:
    """Surely not worse by the margin; without one, a model has to be better."""
    return (pair.identical and margin > 0) or bool(is_non_inferior(*_counts(pair), significance, margin))


def _score_test(pair: Pair, margin: float, significance: float) -> str:
    """The second condition of a model that must not be worse, in words."""
    if pair.identical:
        return "; both models say the very same"
    return f", and the score test's p, {float(score_test(*_counts(pair), margin)):.2g}, not above {significance:.3g}"


def same_labels(candidate: Predictions, champion: Predictions) -> Check:
    """Every label that the champion gives, the candidate gives too: who asks the model may rely on each of them."""
    gone = sorted({*champion.classes} - {*candidate.classes})
    added = sorted({*candidate.classes} - {*champion.classes})
    explanation = f"all {len(champion.classes):,} labels of the champion are labels of the candidate"
    if gone:
        explanation = (
            f"the champion's labels {listed(gone, 5)} are gone or have another name; for another task, give the model another "
            "registry.model_name"
        )
    elif added:
        explanation += f"; {listed(added, 5)} added, whose rows count as errors of the champion"
    return Check("same_labels", not gone, len(gone), None, None, 0, explanation, {"removed": gone, "added": added})


def macro_f1(pair: Pair, policy: GateParams, seed: int) -> Check:
    difference = macro_f1_difference(pair, policy, seed)
    limit = -policy.macro_f1_margin
    explanation = (
        f"macro F1 {_signed(difference.value)} points ({policy.confidence:.0%} interval {_signed(difference.low)} to "
        f"{_signed(difference.high)}) against the champion; the lower end must be above {_signed(limit)}"
    )
    return _interval("macro_f1", difference.low > limit or _none_lost(difference), difference, limit, explanation)


def negative_log_likelihood(pair: Pair, policy: GateParams, seed: int) -> Check:
    """The upper end of the difference, on rows whose label both models know, lies below the margin."""
    first, second = _known(pair)
    difference = nll_difference(first, second, policy, seed)
    limit = policy.nll_margin
    explanation = (
        f"negative log-likelihood {difference.value:+.4f} nats a row ({policy.confidence:.0%} interval {difference.low:+.4f} "
        f"to {difference.high:+.4f}) against the champion; the upper end must be below {limit:+.4f}"
    )
    passed = difference.high < limit or _none_lost(difference)
    return _interval("negative_log_likelihood", passed, difference, limit, explanation)


def calibration(pair: Pair, policy: GateParams) -> Check:
    """Expected calibration error, no worse than the champion's by more than the margin, as measured.

    Without an interval, on purpose: this error is a sum of absolute values, which noise only adds to. A resample has more of it
    than the rows, so that a percentile interval lies too high, and the more so the better a model is calibrated; where the
    true error is near zero, no bootstrap of it is consistent. Measured on the same rows, most of that bias cancels in the
    difference of the two.
    """
    first, second = (expected_calibration_error(predictions) for predictions in _known(pair))
    limit = policy.calibration_margin
    explanation = (
        f"expected calibration error {first:.4f}, the champion's is {second:.4f}; it may be higher by {limit:.4f} at most"
    )
    details = {"candidate": first, "champion": second}
    return Check("calibration", first - second <= limit, first - second, None, None, limit, explanation, details)


def slices(pair: Pair, masks: Mapping[str, np.ndarray], policy: GateParams) -> Check:
    """On no slice is the candidate surely worse than the champion by more than the margin, Holm-corrected over the slices.

    Here the proof is the gate's to bring: slices are small, and few candidates could prove on each that they are no worse.
    """
    name, risk = "slices", 1 - policy.confidence
    for slice_name, mask in masks.items():
        if np.shape(mask) != pair.truth.shape or np.asarray(mask).dtype != bool:
            raise HeadwayError(f"the slice {slice_name!r} is no mask over the {len(pair.truth):,} test rows")
    ordered = {slice_name: np.asarray(mask)[pair.order] for slice_name, mask in masks.items()}
    large = {slice_name: mask for slice_name, mask in ordered.items() if mask.sum() >= policy.min_slice_rows}
    if not large:
        explanation = f"none of {len(masks):,} slices has {policy.min_slice_rows:,} test rows, so none is compared"
        return Check(name, True, None, None, None, risk, explanation, {"slices": []})
    tallies = [(int(pair.won[mask].sum()), int(pair.lost[mask].sum()), int(mask.sum())) for mask in large.values()]
    adjusted = holm([worse_by_more(*tally, policy.slice_margin) for tally in tallies])
    told: list[dict[str, Any]] = [
        {
            "name": slice_name,
            "rows": rows,
            "wins": won,
            "losses": lost,
            "difference": (won - lost) / rows,
            "p_value": float(p),
        }
        for slice_name, (won, lost, rows), p in zip(large, tallies, adjusted, strict=True)
    ]
    worse = [one for one in told if one["p_value"] <= risk]
    worst = min(told, key=lambda one: one["p_value"])
    explanation = (
        f"{len(worse) or 'none'} of {len(told):,} slices with at least {policy.min_slice_rows:,} rows surely worse than the "
        f"champion by more than {_points(policy.slice_margin)} points of accuracy; the likeliest is {worst['name']!r}, "
        f"{_signed(worst['difference'])} points, p {worst['p_value']:.2g} (Holm), which must be above {risk:.2g}"
    )
    return Check(name, not worse, worst["p_value"], None, None, risk, explanation, {"slices": told})


def within(cost: Cost, most: float, ratio: float) -> Check:
    """A cost within its budget: an absolute one, and one in times of the champion's; 0 is no limit."""
    candidate, champion = cost.candidate, cost.champion
    if candidate is None or (ratio and champion is None):
        raise HeadwayError("it was not measured")
    limits = [*([most] if most else []), *([ratio * champion] if ratio and champion is not None else [])]
    if not np.isfinite([candidate, *limits]).all():
        raise HeadwayError("what was measured is not a finite number")
    limit = min(limits, default=None)
    explanation = f"{candidate:,.1f} {cost.unit}"
    if champion is not None:
        explanation += f", the champion's {champion:,.1f}"
    explanation += f"; at most {limit:,.1f} is allowed" if limit is not None else "; there is no limit"
    return Check(cost.name, limit is None or candidate <= limit, candidate, None, None, limit, explanation)


def _none_lost(difference: Interval) -> bool:
    """Whether no resample tells two models apart: no margin is too small for that."""
    return difference.value == difference.low == difference.high == 0


def _known(pair: Pair) -> tuple[Predictions, Predictions]:
    both = pair.known_to_both()
    if not len(both[0].ids):
        raise HeadwayError("there is no row whose label both models know")
    return both


def _counts(pair: Pair) -> tuple[int, int, int]:
    return int(pair.won.sum()), int(pair.lost.sum()), len(pair.truth)


def _tally(pair: Pair) -> dict[str, int]:
    return dict(zip(("wins", "losses", "rows"), _counts(pair), strict=True))


def _interval(
    name: str,
    passed: bool,
    measured: Interval,
    threshold: float,
    explanation: str,
    details: Mapping[str, Any] | None = None,
) -> Check:
    return Check(name, passed, measured.value, measured.low, measured.high, threshold, explanation, dict(details or {}))


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def _signed(share: float) -> str:
    return f"{100 * share:+.2f}"
