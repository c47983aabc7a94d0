"""The gate: may this candidate become champion? Pure functions over predictions; nothing here reads a file or a registry.

It fails closed: a check that cannot be computed counts as failed and says why. Every check is reported, even after one
fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial

import numpy as np

from headway.errors import HeadwayError
from headway.evaluation.predictions import Predictions
from headway.params import GateParams
from headway.phrases import listed
from headway.promotion import accuracy_checks, checks
from headway.promotion.accuracy_checks import Look
from headway.promotion.alpha_spending import first_promotion_significance, significance
from headway.promotion.check import Check
from headway.promotion.checks import BASELINE, CHAMPION
from headway.promotion.paired_predictions import PairedPredictions, pair
from headway.serving.latency import MachineLoad

MEGABYTE = 1_000_000
#: Name, threshold and function of a check.
Comparison = tuple[str, float | None, Callable[[], Check]]


@dataclass(frozen=True)
class Costs:
    """What candidate and champion cost, measured for this decision on this machine.

    Attributes:
        candidate_ms, champion_ms: 95th percentile of the time per text in milliseconds, see
            :func:`headway.serving.latency.measure`; None if not measured, or without a champion.
        candidate_bytes, champion_bytes: size of the model package in bytes; None if not measured, or without a champion.
        load: how busy the machine was when the times were measured; None if unknown.
    """

    candidate_ms: float | None
    candidate_bytes: int | None
    champion_ms: float | None = None
    champion_bytes: int | None = None
    load: MachineLoad | None = None


@dataclass(frozen=True)
class GateInput:
    """What the gate decides on.

    Attributes:
        candidate: the candidate's predictions on the test split.
        baseline: the linear baseline's predictions of the same rows; an error if there are none, which refuses.
        champion: the champion's predictions of the same rows, computed now; None if there is no champion; an error if it
            could not be scored, which refuses.
        slices: parts of the test split by name, as masks over the candidate's rows, bool, shape (rows,).
        costs: what the two models cost; None if not measured, which refuses where the policy limits it.
        earlier_looks: earlier comparisons on this test set, see :func:`headway.promotion.history_queries.earlier_looks`.
        seen_rows: why the candidate may have been trained on these rows, which refuses; "" if it was not.
    """

    candidate: Predictions
    baseline: Predictions | HeadwayError
    champion: Predictions | HeadwayError | None = None
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)
    costs: Costs | None = None
    earlier_looks: int = 0
    seen_rows: str = ""


@dataclass(frozen=True)
class GateResult:
    """The result of every check."""

    checks: tuple[Check, ...]

    @property
    def promotes(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)


def decide(given: GateInput, policy: GateParams, seed: int) -> GateResult:
    """Run every check that applies to a candidate, with the policy's thresholds and the seed of the bootstrap."""
    number, budget = given.earlier_looks + 1, 1 - policy.confidence
    first_promotion = given.champion is None
    level = first_promotion_significance(number, budget) if first_promotion else significance(number, budget)
    look = Look(number, level)
    return GateResult(
        (
            checks.enough_test_rows(given.candidate, policy),
            checks.proper_probabilities(given.candidate),
            *_against_baseline(given.candidate, given.baseline, policy, look if first_promotion else None),
            *_against_champion(given, policy, seed, look),
            *_costs(given.costs, policy, has_champion=not first_promotion),
            *([checks.unseen_test_rows(given.seen_rows)] if given.seen_rows else []),
        )
    )


def _available(predictions: Predictions | HeadwayError) -> Predictions:
    if isinstance(predictions, HeadwayError):
        raise predictions
    return predictions


def _against_baseline(
    candidate: Predictions, baseline: Predictions | HeadwayError, policy: GateParams, look: Look | None
) -> list[Check]:
    """Accuracy against the baseline; for a first promotion, which this check decides, also the power of the test."""

    @cache
    def compared() -> PairedPredictions:
        opponent = _available(baseline)
        if different := sorted({*candidate.classes} ^ {*opponent.classes}):
            raise HeadwayError(
                f"the two models have different labels: only one knows {listed(different, checks.LABELS_SHOWN)}"
            )
        return pair(candidate, opponent)

    margin = policy.baseline_margin
    comparisons: list[Comparison] = [
        ("no_worse_than_baseline", -margin, lambda: accuracy_checks.no_worse_than_baseline(compared(), policy, look))
    ]
    if look is not None:
        level = look.significance
        comparisons.append(("power", None, lambda: accuracy_checks.power(compared(), BASELINE, level, policy, margin)))
    return checks.run(f"cannot be compared with {BASELINE}", comparisons)


def _against_champion(given: GateInput, policy: GateParams, seed: int, look: Look) -> list[Check]:
    """Every comparison with the champion that the policy names; none if there is no champion."""
    champion = given.champion
    if champion is None:
        return []

    @cache
    def compared() -> PairedPredictions:
        return pair(given.candidate, _available(champion))

    if policy.policy == "superior":
        name, threshold, accuracy = "better_than_champion", 0.0, accuracy_checks.better_than_champion
        power = {"minimum": policy.minimum_gain}
    else:
        name, threshold, accuracy = "no_worse_than_champion", -policy.champion_margin, accuracy_checks.no_worse_than_champion
        power = {"margin": policy.champion_margin}
    comparisons: list[Comparison] = [
        ("same_labels", 0, lambda: checks.same_labels(given.candidate, _available(champion))),
        (name, threshold, lambda: accuracy(compared(), policy, look)),
        ("macro_f1", -policy.macro_f1_margin, lambda: checks.macro_f1(compared(), policy, seed)),
        ("negative_log_likelihood", policy.nll_margin, lambda: checks.negative_log_likelihood(compared(), policy, seed)),
        ("calibration", policy.calibration_margin, lambda: checks.calibration(compared(), policy)),
        ("slices", 1 - policy.confidence, lambda: checks.slices(compared(), given.slices, policy)),
        ("power", None, lambda: accuracy_checks.power(compared(), CHAMPION, look.significance, policy, **power)),
    ]
    return checks.run(f"cannot be compared with {CHAMPION}", comparisons)


def _costs(costs: Costs | None, policy: GateParams, has_champion: bool) -> list[Check]:
    """Whether costs are within the budget. A cost that is neither measured nor limited has no check."""
    costs = costs or Costs(None, None)
    size, champion_size = (None if one is None else one / MEGABYTE for one in (costs.candidate_bytes, costs.champion_bytes))
    # A ratio to the champion limits nothing if there is none.
    time_ratio, size_ratio = (policy.max_latency_ratio, policy.max_size_ratio) if has_champion else (0.0, 0.0)
    latency = partial(
        checks.latency, costs.candidate_ms, costs.champion_ms, policy.max_latency_ms, time_ratio, load=costs.load
    )
    within_size = partial(checks.within_budget, "size", "MB", size, champion_size, policy.max_size_mb, size_ratio)
    found: list[Check] = []
    for name, candidate, maximum, ratio, check in (
        ("latency", costs.candidate_ms, policy.max_latency_ms, time_ratio, latency),
        ("size", size, policy.max_size_mb, size_ratio, within_size),
    ):
        if candidate is not None or maximum or ratio:
            found += checks.run(f"its {name} is unknown", [(name, maximum or None, check)])
    return found
