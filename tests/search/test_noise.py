"""When trials can be told apart: error rates and power by simulation, and the single rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, norm, ttest_ind

from headway.search import noise
from headway.search.noise import LEVEL, REPEATS, row_noise, seed_gain
from headway.search.results import FinishedSearch, TrialResult, best, score_of, summary
from headway.search.trial import MAX_ROWS, encode_rows
from tests.search.conftest import tune_params

TRIALS = 8


@pytest.fixture(autouse=True)
def fewer_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "FLIPS", 300)


def trial(number: int, rows: Any, state: str = "complete", repeat: int = 0) -> TrialResult:
    values = np.asarray(rows, dtype=float)
    curve = [{"epoch": 1.0, "progress": 1.0, "joint_validation_accuracy": float(values.mean())}]
    kept = encode_rows(values) if state == "complete" else ""
    return TrialResult(number, state, float(values.mean()), None, {"at": number}, curve, "", 100, 0.0, kept, repeat)


# The search as a whole, on simulated rows


@dataclass(frozen=True)
class World:
    """Chances of being right, on the scale of the logit.

    Attributes:
        seeds: standard deviation of what a seed does to all rows.
        points: standard deviation of what a point does to single rows, which is nothing on average.
        gain: what every second point does to all rows.
    """

    rows: int = 200
    seeds: float = 0.0
    points: float = 0.0
    gain: float = 0.0
    steepness: float = 4.0

    def search(self, seed: int) -> tuple[list[TrialResult], list[TrialResult]]:
        """The trials of a search, and its repetitions."""
        random = np.random.default_rng(seed)
        rows = self.steepness * random.normal(1.0, 1.0, self.rows)
        own = {number: random.normal(0, self.points, self.rows) + self.gain * (number % 2) for number in range(TRIALS)}
        own[0][:] = 0

        def train(number: int) -> np.ndarray:
            logit = rows + own[number] + random.normal(0, self.seeds)
            return np.asarray(random.random(self.rows) < 1 / (1 + np.exp(-logit)), dtype=float)

        trials = [trial(number, train(number)) for number in range(TRIALS)]
        leader, found = best(trials, tune_params()).number, row_noise(trials, tune_params())
        assert found is not None
        if not leader or found.p_value > LEVEL:
            return trials, []
        return trials, [trial(n, train(n), repeat=r) for r in range(1, REPEATS + 1) for n in (0, leader)]


def share_of_changes(world: World, searches: int) -> float:
    """Share of the searches that replace the defaults."""
    return float(
        np.mean(
            [
                summary(FinishedSearch(trials, tune_params()), again).winner != 0
                for trials, again in map(world.search, range(searches))
            ]
        )
    )


@pytest.mark.parametrize(
    "world",
    [
        World(),
        World(rows=60),
        World(steepness=0.5),  # undertrained: every training is right on other rows
        World(seeds=0.7),
        World(points=1.5),
        World(seeds=0.2, points=1.0),
    ],
    ids=str,
)
def test_if_all_points_are_equal_the_defaults_stay_in_nine_of_ten_searches(world: World) -> None:
    # 100 searches with a probability of 10% have at most 16 changes with a probability of 98%.
    assert share_of_changes(world, 100) <= 0.16


def test_the_rows_alone_would_let_the_luck_of_a_seed_win() -> None:
    """Why trials are repeated: with the noise of seeds, the best of eight is beyond the noise of the rows."""
    world = World(seeds=0.7)
    assert np.mean([bool(world.search(seed)[1]) for seed in range(100)]) > 2 * LEVEL


def test_a_gain_that_is_larger_than_the_noise_is_found() -> None:
    assert share_of_changes(World(rows=1000, gain=1.0, seeds=0.05), 60) > 0.8


# Rows


def test_for_one_trial_it_is_the_exact_mcnemar_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "FLIPS", 20_000)
    defaults = np.repeat([1.0, 0.0, 1.0], [3, 11, 86])  # the trial alone is right on 11 rows, the defaults alone on 3
    better = np.repeat([0.0, 1.0, 1.0], [3, 11, 86])
    found = row_noise([trial(0, defaults), trial(1, better)], tune_params())
    assert found is not None
    assert found.p_value == pytest.approx(binom.sf(10, 14, 0.5), abs=0.004)


def test_the_more_trials_the_larger_the_gain_that_chance_explains() -> None:
    random = np.random.default_rng(1)
    rows = [random.random(500) < 0.8 for _ in range(30)]
    few, many = (row_noise([trial(n, one) for n, one in enumerate(rows[:count])], tune_params()) for count in (2, 30))
    assert few is not None
    assert many is not None
    assert many.limit > 1.4 * few.limit


def test_trials_that_were_pruned_count_as_trials() -> None:
    random = np.random.default_rng(1)
    trials = [trial(number, random.random(500) < 0.8) for number in range(3)]
    pruned = [trial(number, random.random(500) < 0.8, "pruned") for number in range(3, 13)]
    with_all, without = row_noise([*trials, *pruned], tune_params()), row_noise(trials, tune_params())
    assert with_all is not None
    assert without is not None
    assert with_all.limit > without.limit
    assert with_all.p_value >= without.p_value


@pytest.mark.parametrize("objective", ["accuracy", "negative_log_likelihood"])
def test_the_better_direction_is_that_of_the_objective(objective: str) -> None:
    random = np.random.default_rng(1)
    base = random.random(300)
    better = base + (0.2 if objective == "accuracy" else -0.2)
    params = tune_params(objective=objective)
    for rows, passes in [(better, True), (2 * base - better, False)]:
        found = row_noise([trial(0, base), trial(1, rows)], params)
        assert found is not None
        assert (found.p_value <= LEVEL) == passes
        assert found.differ


def test_the_gain_of_more_rows_than_are_kept_is_that_of_all_rows() -> None:
    """Against a test on every row, with 40,000 of which a tenth is kept."""
    random = np.random.default_rng(1)
    base = (random.random(10 * MAX_ROWS) < 0.8).astype(float)
    better = np.where(random.random(len(base)) < 0.04, 1.0, base)
    found = row_noise([trial(0, base), trial(1, better), trial(2, base)], tune_params())
    d = better - base
    assert found is not None
    assert found.p_value == pytest.approx(1 / (1 + noise.FLIPS))
    assert found.limit == pytest.approx(norm.isf(LEVEL) * np.sqrt((d**2).sum()) / len(d), rel=0.35)
    # The kept rows alone do not decide: here the trial has as many hits among them as the defaults.
    kept = np.linspace(0, len(d) - 1, MAX_ROWS).round().astype(int)
    better[kept] = base[kept]
    for hit in (0.0, 1.0):
        better[kept[base[kept] == hit][:16]] = 1 - hit
    found = row_noise([trial(0, base), trial(1, better)], tune_params())
    assert found is not None
    assert found.p_value == pytest.approx(1 / (1 + noise.FLIPS))


def test_if_all_other_trials_were_pruned_the_noise_of_a_gain_is_unknown() -> None:
    trials = [trial(0, alike(0)), trial(1, alike(1), "pruned")]
    found = row_noise(trials, tune_params())
    assert found is not None
    assert (found.limit, found.p_value, found.differ) == (None, None, False)
    result = summary(FinishedSearch(trials, tune_params()))
    assert (result.winner, result.row_noise, result.row_p_value) == (0, None, None)


def test_equal_trials_are_ties() -> None:
    found = row_noise([trial(number, [1.0, 0.0, 1.0]) for number in range(4)], tune_params())
    assert found is not None
    assert (found.limit, found.p_value, found.differ) == (0.0, 1.0, False)


def test_without_row_scores_or_defaults_nothing_is_known() -> None:
    rows = np.arange(50) % 2
    one, other = trial(0, rows), trial(1, rows)
    assert row_noise([replace(one, row_scores=""), other], tune_params()) is None
    assert row_noise([replace(one, state="failed", score=None), other], tune_params()) is None
    assert row_noise([one], tune_params()) is None
    assert row_noise([one, other], tune_params(second_objective="size")) is None


# Seeds


def test_the_limit_of_the_seeds_is_that_of_the_t_test() -> None:
    defaults, again = [0.80, 0.81, 0.79], [0.83, 0.84]
    gain, limit = seed_gain(defaults, again, tune_params())
    assert gain == pytest.approx(0.035)
    statistic = ttest_ind(again, defaults).statistic
    (p_value,) = [ttest_ind(again, defaults, alternative="greater").pvalue]
    assert (gain > limit) == (p_value < LEVEL)
    at_limit = [one - gain + limit for one in again]
    assert ttest_ind(at_limit, defaults, alternative="greater").pvalue == pytest.approx(LEVEL)
    assert statistic > 0


def test_one_new_training_proves_nothing() -> None:
    assert seed_gain([0.8, 0.81], [0.9], tune_params())[1] == float("inf")


# The summary


def test_a_gain_within_noise_leaves_the_defaults() -> None:
    random = np.random.default_rng(3)
    trials = [trial(number, random.random(100) < 0.8) for number in range(4)]
    found = summary(FinishedSearch(trials, tune_params()))
    assert found.winner == 0
    assert found.gain_over_defaults is not None
    assert found.row_noise is not None
    assert found.gain_over_defaults <= found.row_noise


def clear_gain() -> list[TrialResult]:
    return [trial(0, np.arange(300) % 2), trial(1, np.arange(300) % 10 > 0), trial(2, np.arange(300) % 2)]


@pytest.mark.parametrize(
    ("again", "winner"),
    [((0.5, 0.9, 0.5, 0.9), 1), ((0.5, 0.52, 0.55, 0.49), 0), ((0.9, 0.5), 0), ((), 0)],
)
def test_a_gain_beyond_the_noise_of_rows_needs_other_seeds_to_confirm_it(again: tuple[float, ...], winner: int) -> None:
    repeats = [
        replace(trial(number % 2, np.arange(300) % 2, repeat=1 + number // 2), score=score)
        for number, score in enumerate(again)
    ]
    assert summary(FinishedSearch(clear_gain(), tune_params()), repeats).winner == winner


def test_a_repetition_that_failed_confirms_nothing() -> None:
    repeats = [replace(trial(n, [0, 1], repeat=1), score=0.5 + 0.4 * n) for n in (0, 1)]
    failed = [repeats[0], replace(repeats[1], state="failed", score=None)]
    assert summary(FinishedSearch(clear_gain(), tune_params()), failed).winner == 0


def test_scores_without_rows_decide_as_before() -> None:
    trials = [replace(one, row_scores="") for one in clear_gain()]
    assert summary(FinishedSearch(trials, tune_params())).winner == 1
    assert summary(FinishedSearch(trials, tune_params())).row_noise is None


# Early end


def alike(number: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(100 + number).random(400) < 0.8)


@pytest.mark.parametrize(("trials", "end"), [(8, 4), (12, 4), (40, 10)])
def test_a_search_of_equal_trials_ends_after_four_or_a_quarter(trials: int, end: int) -> None:
    params = tune_params(trials=trials)
    found = [trial(number, alike(number)) for number in range(trials)]
    ends = [count for count in range(1, trials) if FinishedSearch(found[:count], params).stops_early]
    assert ends
    assert min(ends) == end
    assert not FinishedSearch(found, params).stops_early  # it has ended anyway


def test_a_search_that_reached_its_target_did_not_stop_early() -> None:
    trials = [trial(number, alike(number)) for number in range(4)]
    assert summary(FinishedSearch(trials, tune_params(trials=8))).stopped_early
    assert not summary(FinishedSearch(trials, tune_params(trials=8, target=0.5))).stopped_early


@pytest.mark.parametrize("other", [lambda: np.zeros(400), lambda: np.ones(400)], ids=["worse", "better"])
def test_a_search_goes_on_while_any_trial_differs_for_better_or_worse(other: Callable[[], np.ndarray]) -> None:
    found = [*(trial(number, alike(number)) for number in range(3)), trial(3, other())]
    assert not FinishedSearch(found, tune_params(trials=8)).stops_early


def test_a_trial_that_was_pruned_far_below_the_defaults_differs() -> None:
    found = [trial(number, alike(number)) for number in range(3)]
    assert FinishedSearch([*found, trial(3, alike(3), "pruned")], tune_params(trials=8)).stops_early
    assert not FinishedSearch([*found, trial(3, np.arange(400) % 2, "pruned")], tune_params(trials=8)).stops_early


def test_failed_trials_are_no_evidence() -> None:
    found = [trial(number, alike(number)) for number in range(3)]
    failed = replace(trial(3, alike(3)), state="failed", score=None)
    assert not FinishedSearch([*found, failed], tune_params(trials=8)).stops_early
    assert FinishedSearch([*found, failed, trial(4, alike(4))], tune_params(trials=8)).stops_early
    assert not FinishedSearch(
        [*found, failed, trial(4, alike(4))], tune_params(trials=5)
    ).stops_early  # its budget is used up


def test_the_leader_is_the_trial_with_the_best_score() -> None:
    """A trial may have a smaller gain that is more certain; the test is on the one that would be used."""
    base = np.zeros(400)
    certain, larger = base.copy(), np.tile([1.06, -0.94], 200)
    certain[:10] = 1.0
    trials = [trial(0, base), trial(1, certain), trial(2, larger)]
    assert score_of(best(trials, tune_params())) == score_of(trials[2])
    found = row_noise(trials, tune_params())
    assert found is not None
    assert found.p_value > LEVEL
