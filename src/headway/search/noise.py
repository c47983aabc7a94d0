"""Whether trials can be told apart: the noise of their scores, and the rules by which a trial replaces the defaults.

A trial's score varies for two reasons, and the best of many trials is partly the luckiest one.

*Rows.* All trials are scored on the same validation rows. With d_ki the difference in the objective between trial k and the
defaults (trial 0) on row i, the statistic of a trial is t_k = Σ_i d_ki / √(Σ_i d_ki²). Under the hypothesis that trial and
defaults are equally good, a row's difference is as likely to be negative as positive. So the distribution of the largest t_k is
known: it is that of max_k Σ_i ε_i d_ki / √(Σ_i d_ki²) with random signs ε, the same for all trials. This keeps the dependence
between trials and the discreteness of few rows (a sign-flip test with the max-T correction of Westfall & Young 1993,
"Resampling-Based Multiple Testing"). For accuracy and a single trial it is a Monte Carlo version of the exact McNemar test.
Of N validation rows, n ≤ :data:`~headway.search.trial.MAX_ROWS` are kept. If n < N, Σ d_ki is N times the difference of the
scores, which are of all rows, and Σ d_ki² is that of the kept rows times N / n.

*Seeds.* Another seed gives other initial weights and another order of the rows. So a trial that passes the test on rows is
trained again with other seeds, and so are the defaults. The mean of its new scores, which took no part in the choice, must be
above that of all scores of the defaults by Student's t-test with pooled variance. The first score of the defaults did take part,
which favours the trial a little; it is used for its degree of freedom, and the simulation includes that.

Each test has level :data:`LEVEL`. A trial must pass both, so if all points of the space are equally good, the defaults are
replaced with a probability of at most :data:`LEVEL` if one kind of noise dominates, and of about that if both are alike
(``tests/search/test_noise.py`` simulates this).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headway.params import TuneParams
from headway.search.goals import objective

if TYPE_CHECKING:
    import numpy as np

    from headway.search.results import TrialResult

LEVEL = 0.1
#: Random signs of the rows, in parts that fit into memory, drawn with a fixed seed so that the result can be repeated.
FLIPS, CHUNK, SEED = 4_000, 500, 0
#: New trainings of the best trial, and as many of the defaults, each with another seed.
REPEATS = 2
#: A pruned trial differs from the defaults if it was worse by more than this number of standard errors.
FAR = 3.0


@dataclass(frozen=True)
class RowNoise:
    """The noise of the trials' scores that comes from the choice of validation rows.

    Attributes:
        limit: gain of the best other trial that chance exceeds with probability :data:`LEVEL`, in units of the objective;
            None if no other trial is complete.
        p_value: of that trial's gain, corrected for the number of trials; None if no other trial is complete.
        differ: whether any trial differs from the defaults by more than noise, for better or worse.
    """

    limit: float | None
    p_value: float | None
    differ: bool


def row_noise(trials: Sequence[TrialResult], params: TuneParams) -> RowNoise | None:
    """Compare the trials with trial 0 on the same validation rows.

    A pruned trial has no final score, but was compared before it was pruned. So p is multiplied by the number of trials divided
    by that of the completed ones.

    Returns:
        None if there is nothing to compare: trial 0 or all other trials did not complete, or the trials have no row scores.
    """
    import numpy as np

    from headway.search.trial import decode_rows

    goal = objective(params)
    defaults = next(
        (trial for trial in trials if trial.number == 0 and trial.state == "complete" and trial.row_scores), None
    )
    others = [trial for trial in trials if trial.number != 0 and trial.state != "failed"]
    complete = [trial for trial in others if trial.state == "complete" and trial.row_scores]
    if defaults is None or not others or params.second_objective != "none":
        return None
    base, rows = decode_rows(defaults.row_scores)
    pruned_far = any(
        _is_far(trial, defaults, float(base.std()), rows, params) for trial in others if trial.state == "pruned"
    )
    if not complete:
        return RowNoise(None, None, pruned_far)
    gains = np.array([goal.gain(_score(trial), _score(defaults)) for trial in complete])  # (trials,)
    direction = 1 if goal.maximise else -1
    differences = direction * np.array(
        [decode_rows(trial.row_scores)[0] - base for trial in complete]
    )  # (trials, kept rows)
    scale = np.sqrt(np.square(differences).sum(axis=1))  # (trials,)
    sums = differences.sum(axis=1) if len(base) == rows else gains * np.sqrt(rows * len(base))  # (trials,)
    statistics = np.divide(sums, scale, out=np.zeros(len(scale)), where=scale > 0)
    flipped = _flipped(np.divide(differences, scale[:, None], out=np.zeros_like(differences), where=scale[:, None] > 0))
    leader = int(gains.argmax())
    exceeded = _p_value(flipped.max(axis=1), statistics[leader])
    outside = _p_value(np.abs(flipped).max(axis=1), np.abs(statistics).max())
    per_completed = len(others) / len(complete)
    quantile = float(np.quantile(flipped.max(axis=1), 1 - LEVEL / per_completed))
    return RowNoise(
        limit=quantile * float(scale[leader]) / math.sqrt(rows * len(base)),
        p_value=min(1.0, exceeded * per_completed),
        differ=outside * per_completed <= LEVEL or pruned_far,
    )


def seed_gain(defaults: Sequence[float], repeated: Sequence[float], params: TuneParams) -> tuple[float, float]:
    """The gain of a trial over the defaults with other seeds, and the gain that chance exceeds with :data:`LEVEL`.

    Args:
        defaults: scores of the defaults, with the first seed and with others.
        repeated: scores of the trial with seeds other than the one that it was chosen by.
    """
    from statistics import mean, variance

    from scipy.stats import t

    gain = objective(params).gain(mean(repeated), mean(defaults))
    degrees = len(defaults) + len(repeated) - 2
    if len(defaults) < 2 or len(repeated) < 2:
        return gain, math.inf
    pooled = ((len(defaults) - 1) * variance(defaults) + (len(repeated) - 1) * variance(repeated)) / degrees
    return gain, float(t.isf(LEVEL, degrees)) * math.sqrt(pooled * (1 / len(defaults) + 1 / len(repeated)))


def _score(trial: TrialResult) -> float:
    assert trial.score is not None, "a completed trial has a score"
    return trial.score


def _p_value(flipped: np.ndarray, statistic: float) -> float:
    """Share of the statistics under random signs that reach the found one, which counts as one of them."""
    # Rounding of the float32 product must not decide between a tie and a difference.
    return float(1 + (flipped >= statistic - 1e-4).sum()) / (1 + len(flipped))


def _flipped(differences: np.ndarray) -> np.ndarray:
    """The statistics under random signs of the rows, (flips, trials), of scaled differences, (trials, rows)."""
    import numpy as np

    random = np.random.default_rng(SEED)
    rows = differences.shape[1]
    parts = []
    for start in range(0, FLIPS, CHUNK):
        signs = random.integers(0, 2, (min(CHUNK, FLIPS - start), rows), dtype=np.int8).astype(np.float32) * 2 - 1
        parts.append(signs @ differences.T.astype(np.float32))
    return np.concatenate(parts).astype(np.float64)


def _is_far(trial: TrialResult, defaults: TrialResult, deviation: float, rows: int, params: TuneParams) -> bool:
    """Whether a pruned trial was worse than the defaults at the same point of the training by :data:`FAR` standard errors.

    Its rows are not known, so the error is that of two trials on different rows, which is larger.

    Args:
        deviation: standard deviation of the defaults' rows.
        rows: number of validation rows.
    """
    goal = objective(params)
    if not trial.curve or trial.score is None:
        return False
    last = trial.curve[-1]
    at = min(defaults.curve, key=lambda entry: abs(entry["progress"] - last["progress"]))
    error = math.sqrt(2 / rows) * deviation
    return goal.gain(at[goal.entry], trial.score) > FAR * error
