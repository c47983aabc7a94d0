"""The gate's checks of accuracy, by the tests of :mod:`headway.promotion.paired_tests`, and of the power behind them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from headway.params import GateParams
from headway.promotion.check import Check, points
from headway.promotion.checks import BASELINE, CHAMPION, points_and_bounds, result
from headway.promotion.paired_predictions import PairedPredictions
from headway.promotion.paired_tests import (
    POWER,
    accuracy_difference,
    detectable_difference,
    is_non_inferior,
    is_superior,
    mcnemar,
    score_test,
)


@dataclass(frozen=True)
class Look:
    """A look at a test set: its number, from 1, and its one-sided level, see :mod:`headway.promotion.alpha_spending`."""

    look: int
    significance: float

    def __str__(self) -> str:
        return (
            f"look {self.look} at this test set, tested at level {self.significance:.3g} (new test rows restart the count)"
        )


def power(
    pair: PairedPredictions,
    opponent: str,
    significance: float,
    policy: GateParams,
    margin: float = 0.0,
    minimum: float = -1.0,
) -> Check:
    """The smallest true difference in accuracy that the test rows can show, at the observed disagreement.

    It fails only if ``gate.detectable_gain`` is set and a gain of that size could be missed. Level, margin (by how much a model
    may be worse) and minimum (the smallest gain that passes) are those of the accuracy check.
    """
    wins, losses, rows = pair.counts
    disagreement, limit = (wins + losses) / rows, policy.detectable_gain
    smallest = detectable_difference(rows, disagreement, significance, margin, minimum)
    gain = detectable_difference(rows, disagreement, significance, minimum=minimum)
    explanation = f"with {rows:,} test rows and {disagreement:.1%} disagreement with {opponent}, the accuracy check has "
    explanation += f"{POWER:.0%} power to pass a model whose true "
    if margin:
        explanation += f"difference is {points(smallest)} or better (limit {points(-margin)})"
    else:
        explanation += f"gain is {points(smallest)} or more"
    if limit:
        explanation += f"; it can detect a gain of {points(gain)}, gate.detectable_gain requires {points(limit)} or less"
    details = {"disagreement": disagreement, "power": POWER, "significance": significance, "detectable_gain": gain}
    return result("power", not limit or gain <= limit, smallest, limit or None, explanation, **details)


def no_worse_than_baseline(pair: PairedPredictions, policy: GateParams, look: Look | None = None) -> Check:
    """Non-inferior to the linear baseline in accuracy, with the margin ``gate.baseline_margin``.

    For a first promotion, which this check decides, it is tested at the level of the look, else at ``gate.confidence``.
    """
    tail = look.significance if look else (1 - policy.confidence) / 2
    # The message states the coverage, because it changes from look to look.
    interval = f"{100 * (1 - 2 * tail):.4g}% interval"
    return _non_inferior("no_worse_than_baseline", pair, BASELINE, tail, policy.baseline_margin, look, interval)


def no_worse_than_champion(pair: PairedPredictions, policy: GateParams, look: Look) -> Check:
    """Non-inferior to the champion in accuracy, with the margin ``gate.champion_margin``, at the look's level."""
    return _non_inferior("no_worse_than_champion", pair, CHAMPION, look.significance, policy.champion_margin, look)


def better_than_champion(pair: PairedPredictions, policy: GateParams, look: Look) -> Check:
    """Superior to the champion in accuracy at the look's level, by at least ``gate.minimum_gain``."""
    wins, losses, rows = pair.counts
    difference = accuracy_difference(wins, losses, rows, look.significance)
    p_value = float(mcnemar(wins, losses))
    passed = bool(is_superior(wins, losses, rows, look.significance, policy.minimum_gain))
    explanation = (
        f"accuracy {points_and_bounds(difference)} against {CHAMPION}; the candidate alone is correct on {wins:,} rows, "
        f"{CHAMPION} alone on {losses:,}; exact McNemar p = {p_value:.2g}; required: lower bound above 0, p at most "
        f"{look.significance:.3g}, gain of {points(policy.minimum_gain)} or more; {look}"
    )
    details = {**_discordant(pair), **asdict(look), "p_value": p_value, "minimum_gain": policy.minimum_gain}
    return result("better_than_champion", passed, difference, 0.0, explanation, **details)


def _non_inferior(
    name: str,
    pair: PairedPredictions,
    opponent: str,
    significance: float,
    margin: float,
    look: Look | None,
    interval: str = "",
) -> Check:
    """Non-inferiority in accuracy. Identical predictions pass if there is any margin; without one, a model has to be better."""
    wins, losses, rows = pair.counts
    difference = accuracy_difference(wins, losses, rows, significance)
    p_value = float(score_test(wins, losses, rows, margin))
    requirement = (
        f"both models predict the same, which passes if the margin ({points(margin, sign=False)}) is above 0"
        if pair.identical
        else f"required: lower bound above {points(-margin)}, score test p = {p_value:.2g}, at most {significance:.3g}"
    )
    passed = (pair.identical and margin > 0) or bool(is_non_inferior(wins, losses, rows, significance, margin))
    repeated = f"; {look}" if look and (look.look > 1 or opponent == CHAMPION) else ""
    explanation = (
        f"accuracy {points_and_bounds(difference, interval)} against {opponent}; the candidate alone is correct on {wins:,} "
        f"rows, {opponent} alone on {losses:,}; {requirement}{repeated}"
    )
    details = {**_discordant(pair), "p_value": float(mcnemar(wins, losses)), **(asdict(look) if look else {})}
    return result(name, passed, difference, -margin, explanation, **details)


def _discordant(pair: PairedPredictions) -> dict[str, int]:
    return dict(zip(("only_candidate_correct", "only_opponent_correct", "rows"), pair.counts, strict=True))
