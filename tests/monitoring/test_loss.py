"""The realised loss: a supermartingale while the accuracy is as promised, which grows once it is lower."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.monitoring.capital import reserve
from headway.monitoring.loss import ODDS_OF_ERROR, LossMartingale, group_threshold


def slow(right: list[bool], least: float) -> float:
    """The mixture over accuracies and first rows, by its definition."""
    total = reserve(len(right))
    for odds in ODDS_OF_ERROR:
        wrong_rate = odds * (1 - least) / (least + odds * (1 - least))
        for first in range(len(right)):
            held = (reserve(first) - reserve(first + 1)) / len(ODDS_OF_ERROR)
            for is_right in right[first:]:
                held *= (1 - wrong_rate) / least if is_right else wrong_rate / (1 - least)
            total += held
    return total


@settings(max_examples=60)
@given(st.lists(st.booleans(), max_size=40), st.floats(0.05, 0.99))
def test_the_capital_is_the_mixture_over_accuracies_and_first_rows(right: list[bool], least: float) -> None:
    martingale = LossMartingale(least)
    martingale.update(np.array(right, dtype=bool))
    assert martingale.value == pytest.approx(slow(right, least), rel=1e-9)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 1_500), max_size=4))
def test_cuts_and_states_do_not_change_a_bit(seed: int, cuts: list[int]) -> None:
    right = np.random.default_rng(seed).random(1_500) < 0.8
    whole = LossMartingale(0.85, [20.0])
    whole.update(right)
    martingale = LossMartingale(0.85, [20.0])
    for part in np.split(right, sorted(cuts)):
        martingale.update(part)
        martingale = LossMartingale.from_state(json.loads(json.dumps(martingale.state())))
    assert martingale.state() == whole.state()


@pytest.mark.parametrize("least", [0.5, 0.9, 0.99])
def test_no_bet_gains_while_the_accuracy_is_at_least_the_lowest_accepted_one(least: float) -> None:
    gains = []
    for outcome in (False, True):
        martingale = LossMartingale(least)
        martingale.update(np.array([outcome]))
        gains.append(martingale.value)
    for accuracy in np.linspace(least, 1, 20):
        assert (1 - accuracy) * gains[0] + accuracy * gains[1] <= 1 + 1e-12
    assert gains[0] > 1 > gains[1]


def test_an_accuracy_at_the_limit_is_called_a_loss_at_most_as_often_as_stated() -> None:
    random, alarms = np.random.default_rng(1), 0
    for _ in range(400):
        martingale = LossMartingale(0.9, [5.0])
        martingale.update(random.random(1_500) < 0.9)
        alarms += martingale.crossed_at(5.0) is not None
    assert 4 <= alarms <= 400 * 0.2


@pytest.mark.parametrize("quiet", [0, 5_000])
def test_a_loss_of_ten_points_is_found_early_and_late(quiet: int) -> None:
    random = np.random.default_rng(2)
    martingale = LossMartingale(0.9, [20.0])
    martingale.update(random.random(quiet) < 0.92)
    martingale.update(random.random(600) < 0.8)
    crossed = martingale.crossed_at(20.0)
    assert crossed is not None
    assert crossed > quiet


@pytest.mark.parametrize("least", [0.0, 1.0, -0.1, float("nan")])
def test_a_lowest_accuracy_outside_of_the_unit_interval_is_refused(least: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        LossMartingale(least)


def test_ten_groups_share_the_risk() -> None:
    """Ten classes at the limit, 200 times: with the threshold of one class, about twice as many would alarm as stated."""
    random, alarms = np.random.default_rng(3), np.zeros(2)
    limits = [group_threshold(10, 0.3), group_threshold(1, 0.3)]
    for _ in range(200):
        crossed = np.zeros(2, dtype=bool)
        for _ in range(10):
            martingale = LossMartingale(0.7, limits)
            martingale.update(random.random(300) < 0.7)
            crossed |= [martingale.crossed_at(limit) is not None for limit in limits]
        alarms += crossed
    assert alarms[0] <= 200 * 0.3
    assert alarms[1] > 200 * 0.3
