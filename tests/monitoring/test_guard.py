"""The guard: a fair bet on discordant rows, which finds a former champion that was better."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from headway.monitoring.guard import Guard, log10_capital
from headway.monitoring.intervals import difference_interval


def answers(rows: int, former: float, disagreement: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of two models is right; the former one is better by ``former``, and they disagree on a share of the rows."""
    random = np.random.default_rng(seed)
    both = random.random(rows) < 0.85
    differ = random.random(rows) < disagreement
    wins = random.random(rows) < 0.5 + former / disagreement / 2
    return np.where(differ, wins, both), np.where(differ, ~wins, both)


@settings(max_examples=60)
@given(st.integers(0, 300), st.integers(0, 300))
def test_the_capital_is_the_mixture_over_the_former_champions_share(wins: int, losses: int) -> None:
    def held(v: float) -> float:
        share = 0.5 + v * v / 2
        return math.exp(wins * math.log(2 * share) + losses * math.log(2 * (1 - share)) if share < 1 else -math.inf)

    peak = math.sqrt(max(0.0, 2 * wins / (wins + losses) - 1)) if wins + losses else 0.0
    expected = quad(held, 0, 1, points=[min(peak, 1 - 1e-9)], limit=500)[0] if losses else None
    if expected is not None:
        assert float(log10_capital(np.array(wins), np.array(losses))) == pytest.approx(math.log10(expected), abs=0.05)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_bet_is_unfair_if_each_discordant_row_is_a_toss(wins: int, losses: int) -> None:
    now, won, lost = log10_capital(np.array([wins, wins + 1, wins]), np.array([losses, losses, losses + 1]))
    assert np.isfinite([now, won, lost]).all()
    assert (10 ** (won - now) + 10 ** (lost - now)) / 2 == pytest.approx(1, rel=1e-6)
    assert won > now > lost


def test_the_capital_starts_at_one() -> None:
    assert log10_capital(np.array(0), np.array(0)) == pytest.approx(0, abs=1e-12)
    assert Guard().comparison(0.05).capital_log10 == pytest.approx(0, abs=1e-12)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 4_000), max_size=4))
def test_cuts_and_states_do_not_change_a_bit(seed: int, cuts: list[int]) -> None:
    former, champion = answers(4_000, 0.05, 0.5, seed)
    whole = Guard([20.0])
    whole.update(former, champion)
    guard = Guard([20.0])
    cuts = sorted(cuts)
    for part, other in zip(np.split(former, cuts), np.split(champion, cuts), strict=True):
        guard.update(part, other)
        guard = Guard.from_state(json.loads(json.dumps(guard.state())))
    assert guard.state() == whole.state()


def test_the_crossing_is_the_first_row_at_which_the_threshold_is_reached() -> None:
    former, champion = answers(3_000, 0.04, 0.1, 1)
    guard = Guard([20.0, 1e200])
    guard.update(former, champion)
    crossed = guard.crossed_at(20.0)
    assert crossed is not None
    assert guard.crossed_at(1e200) is None
    levels = []
    for rows in (crossed - 1, crossed):
        part = Guard()
        part.update(former[:rows], champion[:rows])
        levels.append(part.maximum_log10)
    assert levels[0] < math.log10(20) <= levels[1]
    assert guard.maximum_log10 >= levels[1]


def test_equal_models_are_rolled_back_at_most_as_often_as_stated() -> None:
    alarms = 0
    for seed in range(400):
        guard = Guard([5.0])
        guard.update(*answers(2_000, 0.0, 0.2, seed))
        alarms += guard.crossed_at(5.0) is not None
    assert 8 <= alarms <= 400 * 0.2


def test_the_comparison_counts_rows_and_gives_the_difference_with_its_interval() -> None:
    guard = Guard()
    guard.update(np.array([1, 1, 1, 0, 0, 1], dtype=bool), np.array([1, 0, 0, 1, 0, 1], dtype=bool))
    comparison = guard.comparison(0.05)
    assert (comparison.rows, comparison.only_former, comparison.only_champion) == (6, 2, 1)
    assert comparison.difference == pytest.approx(1 / 6)
    assert (comparison.low, comparison.high) == difference_interval(2, 1, 3, 0.05)


def test_a_worse_former_champion_is_never_brought_back_and_has_a_negative_difference() -> None:
    guard = Guard([20.0])
    guard.update(*answers(5_000, -0.05, 0.1, 1))
    comparison = guard.comparison(0.05)
    assert guard.crossed_at(20.0) is None
    assert comparison.high < 0
    assert comparison.capital_log10 < 0


def test_answers_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="2 answers of the former champion, 1 of the champion"):
        Guard().update(np.array([True, False]), np.array([True]))
