"""The gate: may this candidate become champion? Pure functions over predictions; nothing here reads a file or a registry.

It fails closed: a check that cannot be computed is a refusal, and says so. Every check is reported, also after one fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from headway.errors import HeadwayError
from headway.evaluation.predictions import Predictions
from headway.params import GateParams
from headway.promotion import checks
from headway.promotion.alpha_spending import election_significance, significance
from headway.promotion.checks import BASELINE, CHAMPION, Check, Cost, Turn, asked
from headway.promotion.paired_predictions import Pair, pair

PROMOTE, REFUSE = "promote", "refuse"
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Costs:
    """What candidate and champion cost, measured for this decision on this machine.

    Attributes:
        candidate_ms, champion_ms: 95th percentile of the time for one text, in milliseconds, as
            :func:`headway.serving.latency.measure` measures it, both models in turns; None without a champion.
        candidate_bytes, champion_bytes: size of the model package; likewise.
    """

    candidate_ms: float
    candidate_bytes: int
    champion_ms: float | None = None
    champion_bytes: int | None = None


@dataclass(frozen=True)
class Decision:
    """The verdict and all checks behind it."""

    verdict: str
    checks: tuple[Check, ...]

    @property
    def promotes(self) -> bool:
        return self.verdict == PROMOTE

    def as_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, "checks": [asdict(check) for check in self.checks]}


def decide(
    candidate: Predictions,
    baseline: Predictions | HeadwayError,
    champion: Predictions | HeadwayError | None,
    policy: GateParams,
    seed: int,
    *,
    slices: Mapping[str, np.ndarray] | None = None,
    costs: Costs | None = None,
    verdicts_before: int = 0,
) -> Decision:
    """Judge a candidate.

    Args:
        candidate: its predictions on the test split.
        baseline: the linear baseline's on the same rows; an error when there are none, which refuses.
        champion: the champion's, scored now on the same rows; None when there is no champion; an error when there is one
            but it could not be scored, which refuses.
        policy: thresholds.
        seed: of the bootstrap.
        slices: parts of the test split by name, as masks over the candidate's rows, bool, shape (rows,).
        costs: what the two models cost; None where it was not measured, which refuses where the policy limits it.
        verdicts_before: verdicts against a champion that this very test split has given so far, whatever they were; without a
            champion, how often it was asked to elect one.
    """
    number, budget = verdicts_before + 1, 1 - policy.confidence
    election = Turn(number, election_significance(number, budget)) if champion is None else None
    found = [
        checks.enough_rows(candidate, policy),
        checks.proper_probabilities(candidate),
        *_against_baseline(candidate, baseline, policy, election),
    ]
    if champion is not None:
        turn = Turn(number, significance(number, budget))
        found += _against_champion(candidate, champion, policy, seed, slices or {}, turn)
    found += _costs(costs, policy, in_office=champion is not None)
    return Decision(PROMOTE if all(check.passed for check in found) else REFUSE, tuple(found))


def _against_baseline(
    candidate: Predictions, baseline: Predictions | HeadwayError, policy: GateParams, election: Turn | None
) -> list[Check]:
    """How the candidate does against the baseline; and, if that elects it, what the rows could show."""

    def compared() -> Pair:
        if isinstance(baseline, HeadwayError):
            raise baseline
        if odd := sorted({*candidate.classes} ^ {*baseline.classes}):
            raise HeadwayError(f"the two models do not know the same labels: {', '.join(odd[:5])} in one only")
        return pair(candidate, baseline)

    untold = f"cannot be compared with {BASELINE}"
    found = [
        asked(
            "no_worse_than_baseline",
            -policy.baseline_margin,
            untold,
            lambda: checks.no_worse_than_baseline(compared(), policy, election),
        )
    ]
    if election is not None:
        level, margin = election.significance, policy.baseline_margin
        found.append(asked("power", None, untold, lambda: checks.power(compared(), BASELINE, level, policy, margin)))
    return found


def _against_champion(
    candidate: Predictions,
    champion: Predictions | HeadwayError,
    policy: GateParams,
    seed: int,
    masks: Mapping[str, np.ndarray],
    turn: Turn,
) -> list[Check]:
    """How the candidate does against the champion, in every respect that the policy names."""

    def scored() -> Predictions:
        if isinstance(champion, HeadwayError):
            raise champion
        return champion

    @cache
    def compared() -> Pair:
        return pair(candidate, scored())

    untold = f"cannot be compared with {CHAMPION}"
    if policy.policy == "superior":
        name, threshold, better = "better_than_champion", 0.0, checks.better_than_champion
        accuracy = {"minimum": policy.minimum_gain}
    else:
        name, threshold, better = "no_worse_than_champion", -policy.champion_margin, checks.no_worse_than_champion
        accuracy = {"margin": policy.champion_margin}
    questions: list[tuple[str, float | None, Callable[[], Check]]] = [
        ("same_labels", 0, lambda: checks.same_labels(candidate, scored())),
        (name, threshold, lambda: better(compared(), policy, turn)),
        ("macro_f1", -policy.macro_f1_margin, lambda: checks.macro_f1(compared(), policy, seed)),
        ("negative_log_likelihood", policy.nll_margin, lambda: checks.negative_log_likelihood(compared(), policy, seed)),
        ("calibration", policy.calibration_margin, lambda: checks.calibration(compared(), policy)),
        ("slices", 1 - policy.confidence, lambda: checks.slices(compared(), masks, policy)),
        ("power", None, lambda: checks.power(compared(), "the champion", turn.significance, policy, **accuracy)),
    ]
    return [asked(name, threshold, untold, question) for name, threshold, question in questions]


def _costs(costs: Costs | None, policy: GateParams, in_office: bool) -> list[Check]:
    """Whether what the candidate costs is within the budget; of a cost that is neither measured nor limited, nothing is asked."""
    ms = (costs.candidate_ms, costs.champion_ms) if costs else (None, None)
    size = (costs.candidate_bytes, costs.champion_bytes) if costs else (None, None)
    megabytes = [None if one is None else one / MEGABYTE for one in size]
    # A ratio to the champion limits nothing where there is none.
    ratios = (policy.max_latency_ratio, policy.max_size_ratio) if in_office else (0.0, 0.0)
    budgets = [
        (Cost("latency", "ms for one text (95th percentile)", *ms), policy.max_latency_ms, ratios[0]),
        (Cost("size", "MB", *megabytes), policy.max_size_mb, ratios[1]),
    ]
    return [
        asked(cost.name, most or None, f"its {cost.name} cannot be told", partial(checks.within, cost, most, ratio))
        for cost, most, ratio in budgets
        if cost.candidate is not None or most or ratio
    ]
