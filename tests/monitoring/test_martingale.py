"""The bets and their capital: a martingale from 1, whatever the cuts, that grows under drift and rarely alarms without."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr, ndtri

from headway.monitoring import capital as module
from headway.monitoring.capital import CEILING, MAX_POINTS, Capital, reserve
from headway.monitoring.martingale import JUMP, ConformalMartingale, bets, thresholds


def slow(p_values: np.ndarray) -> float:
    """The capital by its definition: for each first row, a Simple Jumper that starts there; their sum, and the reserve."""
    total = reserve(len(p_values))
    for first in range(len(p_values)):
        factors = bets(p_values[first:])
        experts = factors.shape[1]
        held = np.full(experts, (reserve(first) - reserve(first + 1)) / experts)
        for number, of_row in enumerate(factors):
            if number:  # money that enters at a row is spread evenly already
                held = (1 - JUMP) * held + JUMP * held.mean()
            held = held * of_row
        total += held.sum()
    return float(total)


PROBABILITIES = st.lists(st.floats(0, 1), max_size=40).map(np.array)


@settings(max_examples=50)
@given(PROBABILITIES)
def test_the_capital_is_the_mixture_over_all_first_rows(p_values: np.ndarray) -> None:
    martingale = ConformalMartingale()
    martingale.update(p_values)
    assert martingale.value == pytest.approx(slow(p_values), rel=1e-9)
    assert martingale.rows == len(p_values)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3_000), st.lists(st.integers(0, 3_000), max_size=4))
def test_cuts_and_states_do_not_change_a_bit(seed: int, rows: int, cuts: list[int]) -> None:
    p_values = np.random.default_rng(seed).random(rows) ** 1.2
    whole = ConformalMartingale([5.0, 120.0])
    whole.update(p_values)
    martingale = ConformalMartingale([5.0, 120.0])
    for part in np.split(p_values, sorted(cuts)):
        martingale.update(part)
        martingale = ConformalMartingale.from_state(json.loads(json.dumps(martingale.state())))
    assert martingale.state() == whole.state()


@pytest.mark.parametrize("expert", range(bets(np.array([0.5])).shape[1]))
def test_every_bet_is_fair_and_never_negative(expert: int) -> None:
    assert quad(lambda p: bets(np.array([p]))[0, expert], 0, 1)[0] == pytest.approx(1, abs=1e-12)
    assert bets(np.linspace(0, 1, 1_001))[:, expert].min() >= 0


def test_streams_without_drift_alarm_at_most_as_often_as_stated() -> None:
    """400 streams of 2,000 rows at α 20%."""
    random, alarms = np.random.default_rng(1), 0
    for _ in range(400):
        martingale = ConformalMartingale([5.0])
        martingale.update(random.random(2_000))
        alarms += martingale.crossed_at(5.0) is not None
    assert 4 <= alarms <= 400 * 0.2


def test_the_expected_capital_stays_one() -> None:
    random, capitals = np.random.default_rng(1), []
    for _ in range(3_000):
        martingale = ConformalMartingale()
        martingale.update(random.random(30))
        capitals.append(martingale.value)
    assert np.mean(capitals) == pytest.approx(1, abs=4 * np.std(capitals) / math.sqrt(3_000))
    assert np.std(capitals) / math.sqrt(3_000) < 0.01


@pytest.mark.parametrize("quiet", [0, 5_000])
@pytest.mark.parametrize(
    ("drift", "rows"),
    [
        (lambda u: ndtr(ndtri(u) - 2), 50),
        (lambda u: ndtr(ndtri(u) + 2), 50),
        (lambda u: ndtr(ndtri(u) * 2), 120),
        (lambda u: ndtr(ndtri(u) / 2), 120),
    ],
    ids=["lower", "higher", "to the ends", "to the middle"],
)
def test_drift_of_every_kind_is_found_early_and_late(drift, rows: int, quiet: int) -> None:
    u = np.random.default_rng(2).random(quiet + rows)
    martingale = ConformalMartingale([120.0])
    martingale.update(np.concatenate([u[:quiet], drift(u[quiet:])]))
    crossed = martingale.crossed_at(120.0)
    assert crossed is not None
    assert crossed > quiet


def test_after_a_long_quiet_term_the_reserve_is_left() -> None:
    martingale = ConformalMartingale()
    martingale.update(np.random.default_rng(3).random(20_000))
    assert reserve(20_000) < martingale.value
    assert reserve(20_000) > 0.15
    assert reserve(1_000_000) > 0.1


def test_the_capital_stops_at_the_ceiling_and_goes_on_counting_rows() -> None:
    martingale = ConformalMartingale()
    martingale.update(np.full(2_000, 1e-9))
    assert CEILING <= martingale.value < 2 * CEILING
    assert martingale.maximum == martingale.value
    assert martingale.rows == 2_000


def test_crossings_are_the_first_rows_at_which_the_capital_has_reached_a_threshold() -> None:
    p_values = np.concatenate([np.full(30, 0.01), np.full(200, 0.5)])
    limits = [2.0, 10.0, 1e60]
    martingale, capitals = ConformalMartingale(limits), []
    step = ConformalMartingale()
    for value in p_values:
        step.update(np.array([value]))
        capitals.append(step.value)
    martingale.update(p_values)
    for limit in limits[:2]:
        assert martingale.crossed_at(limit) == 1 + int(np.argmax(np.array(capitals) >= limit))
    assert martingale.crossed_at(1e60) is None
    assert martingale.maximum == max(capitals)


def test_the_trajectory_is_evenly_spaced_short_and_true() -> None:
    p_values = np.random.default_rng(4).random(5_000)
    martingale = ConformalMartingale()
    martingale.update(p_values)
    rows = [row for row, _ in martingale.trajectory]
    assert MAX_POINTS / 2 <= len(rows) <= MAX_POINTS
    assert len(set(np.diff(rows))) == 1
    assert rows[0] == 0
    for row, level in martingale.trajectory[:: len(rows) // 5]:
        part = ConformalMartingale()
        part.update(p_values[:row])
        assert level == math.log10(part.value)


@pytest.mark.parametrize("factors", [np.ones((3, 2)), np.ones(3), np.full((2, 3), -0.1), np.full((2, 3), np.nan)])
def test_factors_that_are_no_bets_are_refused(factors: np.ndarray) -> None:
    with pytest.raises(ValueError, match="factor"):
        Capital(3).bet(factors)


def test_each_score_alarms_at_its_own_share_of_the_risk() -> None:
    limits = thresholds({"confidence": 0.5, "length": 0.25, "words": 0.25}, 0.05)
    assert limits == pytest.approx({"confidence": 40, "length": 80, "words": 80})


def test_weights_that_spend_more_than_the_risk_are_refused() -> None:
    for weights in ({"a": 0.6, "b": 0.5}, {"a": 0.0}, {"a": -0.5}):
        with pytest.raises(ValueError, match="sum to at most 1"):
            thresholds(weights, 0.05)
    for alpha in (0.0, 1.0):
        with pytest.raises(ValueError, match="alpha"):
            thresholds({"a": 1.0}, alpha)


def test_ten_points_at_most_are_kept_if_ten_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_POINTS", 10)
    martingale = ConformalMartingale()
    martingale.update(np.full(100, 0.5))
    assert [row for row, _ in martingale.trajectory] == list(range(0, 101, 16))
