"""Conformal p-values: the fast path is the definition, cuts do not matter, and exchangeable rows give uniform p-values."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from headway.monitoring import conformal
from headway.monitoring.conformal import ConformalStream, uniforms


def slow(reference: list[int], levels: list[int], theta: np.ndarray) -> list[float]:
    """The definition, row by row."""
    earlier, values = list(reference), []
    for level, share in zip(levels, theta, strict=True):
        higher = sum(other > level for other in earlier)
        equal = sum(other == level for other in earlier)
        values.append((higher + share * (equal + 1)) / (len(earlier) + 1))
        earlier.append(level)
    return values


def stream_of(reference: list[int], levels: int = 6, seed: int = 3) -> ConformalStream:
    return ConformalStream(np.bincount(reference, minlength=levels), seed)


LEVELS = st.lists(st.integers(0, 5), max_size=60)


@settings(max_examples=60)
@given(LEVELS, LEVELS, st.integers(1, 20))
def test_p_values_are_those_of_the_definition(reference: list[int], levels: list[int], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformal, "CHUNK", chunk)
        fast = stream_of(reference).p_values(np.array(levels, dtype=int))
    assert fast.tolist() == slow(reference, levels, uniforms(3, 0, len(levels)))


@settings(max_examples=60)
@given(LEVELS, LEVELS, st.lists(st.integers(0, 60), max_size=4))
def test_cuts_and_states_do_not_change_a_bit(reference: list[int], levels: list[int], cuts: list[int]) -> None:
    whole = stream_of(reference).p_values(np.array(levels, dtype=int))
    stream, parts = stream_of(reference), []
    for part in np.split(np.array(levels, dtype=int), sorted(cuts)):
        parts.append(stream.p_values(part))
        stream = ConformalStream.from_state(json.loads(json.dumps(stream.state())))
    assert np.concatenate(parts).tolist() == whole.tolist()


def test_exchangeable_rows_of_few_levels_have_uniform_and_uncorrelated_p_values() -> None:
    """1,000 streams with references of three rows: few levels and a small reference show a wrong formula."""
    random, last, pairs = np.random.default_rng(1), [], []
    for seed in range(1_000):
        levels = random.choice(3, p=[0.6, 0.3, 0.1], size=8)
        values = stream_of(levels[:3].tolist(), 3, seed).p_values(levels[3:])
        last.append(values[0])
        pairs.append(values[-2:])
    assert kstest(last, "uniform").pvalue > 0.001
    assert kstest(np.ravel(pairs), "uniform").pvalue > 0.001
    assert abs(np.corrcoef(np.array(pairs).T)[0, 1]) < 0.1


def test_a_row_above_all_others_has_a_p_value_that_counts_the_reference() -> None:
    value = stream_of([0] * 99).p_values(np.array([5]))[0]
    assert 0 < value < 1 / 100


@settings(max_examples=30)
@given(st.integers(0, 50), st.integers(0, 20))
def test_a_row_has_the_same_uniform_number_wherever_one_starts(start: int, rows: int) -> None:
    assert uniforms(7, start, rows).tolist() == uniforms(7, 0, 100)[start : start + rows].tolist()


def test_uniform_numbers_differ_between_seeds_and_are_inside_the_unit_interval() -> None:
    numbers = np.array([uniforms(seed, 0, 5_000) for seed in (0, 1)])
    assert numbers.min() > 0
    assert numbers.max() < 1
    assert kstest(numbers[0], "uniform").pvalue > 0.001
    assert abs(np.corrcoef(numbers)[0, 1]) < 0.05


def test_a_level_out_of_range_is_refused_and_changes_nothing() -> None:
    stream = stream_of([1, 2])
    for level in (-1, 6):
        with pytest.raises(ValueError, match="expected 0 to 5"):
            stream.p_values(np.array([0, level]))
    assert (stream.rows, stream.counts.sum()) == (0, 2)


@pytest.mark.parametrize("counts", [[], [-1, 2], [[1, 2]]])
def test_reference_counts_must_be_counts(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="number of reference rows"):
        ConformalStream(np.array(counts, dtype=int), 1)
