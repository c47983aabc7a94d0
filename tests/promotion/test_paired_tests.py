"""The statistics of wins and losses, against values worked by hand, drawn samples and other implementations."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from headway.promotion.alpha_spending import first_promotion_significance, significance
from headway.promotion.bootstrap import bootstrap_mean
from headway.promotion.paired_tests import (
    accuracy_difference,
    bootstrap_distribution,
    detectable_difference,
    holm,
    is_non_inferior,
    is_superior,
    mcnemar,
    score_test,
    worse_by_more,
)


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int, int]:
    """Wins, losses and rows."""
    rows = draw(st.integers(1, 3000))
    wins = draw(st.integers(0, rows))
    return wins, draw(st.integers(0, rows - wins)), rows


# McNemar.


@pytest.mark.parametrize(
    ("wins", "losses", "p_value"),
    [
        (8, 2, (45 + 10 + 1) / 1024),  # of 2^10 equally likely outcomes: 8, 9 or 10 wins
        (2, 8, 1 - (10 + 1) / 1024),
        (5, 0, 1 / 32),
        (1, 1, 3 / 4),
        (0, 3, 1),
        (0, 0, 1),
    ],
)
def test_exact_mcnemar_counts_outcomes(wins: int, losses: int, p_value: float) -> None:
    assert mcnemar(wins, losses) == pytest.approx(p_value, rel=1e-12)


@given(st.integers(0, 400), st.integers(0, 400).filter(bool))
def test_exact_mcnemar_is_the_binomial_test(wins: int, losses: int) -> None:
    assert mcnemar(wins, losses) == pytest.approx(binomtest(wins, wins + losses, alternative="greater").pvalue, rel=1e-9)


# The bootstrap over all resamples.


def test_all_resamples_of_two_rows_are_those_counted_by_hand() -> None:
    """One row won, one tied: of four equally likely resamples one wins twice, two win once, one never."""
    values, chances = bootstrap_distribution(1, 0, 2)
    of = dict(zip(values.tolist(), chances.tolist(), strict=True))
    assert [of[value] for value in (0, 1, 2)] == pytest.approx([0.25, 0.5, 0.25])
    assert sum(of.values()) == pytest.approx(1)


@settings(max_examples=50)
@given(counts())
def test_resamples_have_the_mean_and_the_variance_of_resampled_rows(case: tuple[int, int, int]) -> None:
    wins, losses, rows = case
    values, chances = bootstrap_distribution(wins, losses, rows)
    mean = values @ chances
    assert chances.sum() == pytest.approx(1)
    assert mean == pytest.approx(wins - losses, abs=1e-6)
    variance = wins + losses - (wins - losses) ** 2 / rows
    assert (values - mean) ** 2 @ chances == pytest.approx(variance, abs=1e-6 * (1 + variance))


@pytest.mark.parametrize(("wins", "losses", "rows"), [(138, 80, 2500), (12, 3, 100), (40, 60, 25_000), (9, 0, 300)])
def test_the_interval_is_that_of_drawn_resamples(wins: int, losses: int, rows: int) -> None:
    exact = accuracy_difference(wins, losses, rows, tail=0.025)
    by_row = np.repeat([1, -1, 0], [wins, losses, rows - wins - losses])
    drawn = bootstrap_mean(by_row, 0.95, 200_000, seed=1)
    assert exact.value == pytest.approx(drawn.value)
    assert rows * exact.low == pytest.approx(rows * drawn.low, abs=1)
    assert rows * exact.high == pytest.approx(rows * drawn.high, abs=1)


@settings(max_examples=100)
@given(counts(), st.floats(1e-6, 0.5))
def test_the_interval_holds_the_difference_and_turns_around_with_the_models(case: tuple[int, int, int], tail: float) -> None:
    wins, losses, rows = case
    interval = accuracy_difference(wins, losses, rows, tail)
    other = accuracy_difference(losses, wins, rows, tail)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert (other.low, other.value, other.high) == (-interval.high, -interval.value, -interval.low)


def test_equal_answers_leave_nothing_to_resample() -> None:
    interval = accuracy_difference(0, 0, 500, tail=1e-6)
    assert (interval.low, interval.value, interval.high) == (0, 0, 0)


# The rules.


@pytest.mark.parametrize(
    ("wins", "losses", "significance", "minimum_gain", "superior"),
    [
        (5, 0, 0.05, 0.0, True),
        (4, 0, 0.05, 0.0, False),  # McNemar: 1/16; the bootstrap's would do: 0.96^100 = 0.017
        (5, 0, 0.03, 0.0, False),
        (5, 0, 0.05, 0.05, True),
        (5, 0, 0.05, 0.051, False),
        (8, 2, 0.05, 0.0, False),
        (8, 2, 0.055, 0.0, True),
        (0, 0, 0.5, 0.0, False),
        (50, 50, 0.5, 0.0, False),
    ],
)
def test_superior_takes_both_tests_and_the_minimum(
    wins: int, losses: int, significance: float, minimum_gain: float, superior: bool
) -> None:
    assert is_superior(wins, losses, 100, significance, minimum_gain) == superior


@settings(max_examples=200)
@given(counts(), st.floats(1e-5, 0.3))
def test_where_mcnemar_is_sure_the_interval_that_is_shown_says_the_same(case: tuple[int, int, int], level: float) -> None:
    wins, losses, rows = case
    if mcnemar(wins, losses) <= level:
        assert accuracy_difference(wins, losses, rows, level).low > 0
        assert is_superior(wins, losses, rows, level, 0.0)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=30), st.sampled_from([0.05, 0.2]))
def test_arrays_of_counts_give_the_result_of_each_alone(pairs: list[tuple[int, int]], level: float) -> None:
    wins, losses = np.array(pairs).T
    together = is_superior(wins, losses, 200, level, 0.01)
    assert together.tolist() == [bool(is_superior(won, lost, 200, level, 0.01)) for won, lost in pairs]


def test_non_inferior_is_a_question_of_the_margin() -> None:
    low = accuracy_difference(40, 40, 2500, 0.05).low
    assert low < 0
    assert is_non_inferior(40, 40, 2500, 0.05, -low + 1e-9)
    assert not is_non_inferior(40, 40, 2500, 0.05, -low)


def test_worse_by_more_than_the_margin_is_distinguished_from_worse() -> None:
    assert worse_by_more(0, 0, 500, 0.0) == 1
    assert worse_by_more(0, 5, 100, 0.0) == pytest.approx(1 / 32)  # McNemar's; the bootstrap's is 0.95^100 = 0.006
    assert worse_by_more(10, 60, 500, 0.0) < 1e-8
    assert worse_by_more(10, 60, 500, 0.05) < 0.01
    assert worse_by_more(10, 60, 500, 0.1) == pytest.approx(0.5, abs=0.06)
    assert worse_by_more(10, 60, 500, 0.2) > 0.99


# Holm.


def test_holm_steps_down_as_by_hand() -> None:
    """Smallest first: 4 · 0.005, 3 · 0.01, 2 · 0.03, and 0.04, which may not be below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == pytest.approx([1, 1])
    assert holm([0.04]) == pytest.approx([0.04])


# Power.


def test_the_detectable_difference_is_the_one_worked_by_hand() -> None:
    """n 2,500, ψ 0.1, one-sided 5%: from (1.6449 + 0.8416) · √0.1 / 50 = 0.01573, and Δ² off ψ under z_β."""
    assert detectable_difference(2500, 0.1, 0.05) == pytest.approx(0.015717, abs=5e-6)
    # Without disagreement a difference brings its own: n Δ² ≈ (z_α √Δ + z_β √(Δ − Δ²))², about (1.6449 + 0.8416)² / n.
    assert detectable_difference(2500, 0.0, 0.05) == pytest.approx(6.183 / 2500, rel=0.01)
    assert detectable_difference(2, 0.5, 0.05) == 1


@pytest.mark.parametrize(("rows", "disagreement", "level"), [(1000, 0.1, 0.05), (2500, 0.08, 0.0146), (25_000, 0.2, 0.001)])
def test_the_rule_finds_the_detectable_difference_about_as_often_as_stated(
    rows: int, disagreement: float, level: float
) -> None:
    gain = detectable_difference(rows, disagreement, level)
    shares = [(disagreement + gain) / 2, (disagreement - gain) / 2, 1 - disagreement]
    wins, losses, _ = np.random.default_rng(1).multinomial(rows, shares, size=4000).T
    assert is_superior(wins, losses, rows, level, 0.0).mean() == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(
    ("rows", "disagreement", "level", "margin"),
    [(1000, 0.1, 0.025, 0.03), (2500, 0.08, 0.0146, 0.01), (25_000, 0.2, 0.001, 0.03), (2500, 0.0, 0.025, 0.03)],
)
def test_a_model_may_be_so_much_worse_about_as_often_as_stated(
    rows: int, disagreement: float, level: float, margin: float
) -> None:
    worse = detectable_difference(rows, disagreement, level, margin)
    assert -margin < worse < detectable_difference(rows, disagreement, level)
    share = max(disagreement, abs(worse))
    shares = [(share + worse) / 2, (share - worse) / 2, 1 - share]
    wins, losses, _ = np.random.default_rng(1).multinomial(rows, shares, size=4000).T
    assert is_non_inferior(wins, losses, rows, level, margin).mean() == pytest.approx(0.8, abs=0.06)


def test_a_gain_that_has_to_be_seen_is_part_of_what_can_be_detected() -> None:
    rows, level, minimum = 25_000, 0.025, 0.01
    gain = detectable_difference(rows, 0.1, level, minimum=minimum)
    wins, losses, _ = np.random.default_rng(1).multinomial(rows, [(0.1 + gain) / 2, (0.1 - gain) / 2, 0.9], size=4000).T
    assert is_superior(wins, losses, rows, level, 0.0).mean() > 0.99, "which is significant, but below the minimum"
    assert is_superior(wins, losses, rows, level, minimum).mean() == pytest.approx(0.8, abs=0.04)
    assert detectable_difference(rows, 0.1, level, minimum=0.001) == detectable_difference(rows, 0.1, level)


# Spending.


def test_the_levels_are_those_worked_by_hand() -> None:
    """H_2 is 3/2, and of 2 planned looks the k-th gets 2 / (k (k + 2)) of it; H_50 is 4.499205."""
    assert [significance(number, 0.09, planned=2) for number in (1, 2, 3)] == pytest.approx([0.04, 0.015, 0.008])
    assert significance(4, 0.05, planned=1) == pytest.approx(0.05 / 20)
    assert significance(1, 0.05) == pytest.approx(0.05 * 50 / 51 / 4.499205)
    assert significance(50, 0.05) == pytest.approx(0.05 / 100 / 4.499205)


@settings(max_examples=50)
@given(st.floats(0.001, 0.5), st.integers(1, 100))
def test_all_looks_together_spend_the_budget_and_each_a_part(budget: float, planned: int) -> None:
    levels = [significance(number, budget, planned) for number in range(1, 5001)]
    assert 0.9 * budget < sum(levels) < budget
    assert all(0 < later < earlier for earlier, later in pairwise(levels))


def test_the_page_about_the_gate_names_these_levels(repository: Path) -> None:
    text = " ".join((repository / "docs" / "concepts" / "gate.md").read_text(encoding="utf-8").split())
    first, tenth, last = (significance(number, 0.05) for number in (1, 10, 50))
    assert f"tested at {first:.4f}, the 10th at {tenth:.5f} and the 50th at {last:.5f}" in text
    assert f"tested at 2.5%, the second at {first_promotion_significance(2, 0.05):.2%}" in text


def test_first_promotions_spend_half_the_budget_on_the_first_look_and_the_rest_as_other_looks_do() -> None:
    levels = [first_promotion_significance(number, 0.05) for number in range(1, 5001)]
    assert levels[:2] == pytest.approx([0.025, 0.025 * 50 / 51 / 4.499205])
    assert 0.045 < sum(levels) < 0.05
    assert all(0 < later < earlier for earlier, later in pairwise(levels))


# Models that seldom differ.


def test_the_score_test_is_the_difference_in_standard_errors_of_the_hypothesis() -> None:
    """No row won or lost of 400, margin 1%: then 1% are lost under the hypothesis, and z = √(400 · .01 / .99)."""
    assert score_test(0, 0, 400, 0.01) == pytest.approx(norm.sf((400 * 0.01 / 0.99) ** 0.5))
    assert score_test(0, 4, 400, 0.01) == pytest.approx(0.5)  # worse by just the margin
    assert score_test(3, 3, 400, 0.0) == pytest.approx(0.5)
    assert score_test(0, 0, 400, 0.0) == 1


@pytest.mark.parametrize("number", [1, 10, 50])
@pytest.mark.parametrize(("rows", "margin"), [(100, 0.01), (300, 0.01), (1000, 0.01), (100, 0.03), (2500, 0.01)])
def test_a_model_that_only_loses_rows_by_the_margin_rarely_passes(rows: int, margin: float, number: int) -> None:
    """Exactly, over all numbers of lost rows: the bootstrap alone lets 37% of them pass at 100 rows and 1%."""
    level = significance(number, 0.05)
    losses = np.arange(rows + 1)
    passed = is_non_inferior(np.zeros_like(losses), losses, rows, level, margin)
    assert binom.pmf(losses, rows, margin)[passed].sum() <= level
