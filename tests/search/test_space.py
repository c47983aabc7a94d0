"""Proposals stay in their ranges, depend on nothing but the arguments, and never repeat."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from headway.ranges import Choices, FloatRange, IntRange, contains
from headway.search.space import frozen_trial, propose


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.floats(1e-6, 10))
    high = low * draw(st.floats(1, 1000))
    step, first = draw(st.integers(1, 4)), draw(st.integers(-5, 5))
    names = draw(st.lists(st.text(max_size=3), min_size=1, max_size=3, unique=True))
    return {
        "real": FloatRange(type="float", low=low, high=high),
        "log": FloatRange(type="float", low=low, high=high, log=True),
        "int": IntRange(type="int", low=first, high=first + step * draw(st.integers(0, 6)), step=step),
        "count": IntRange(type="int", low=1, high=draw(st.integers(1, 1000)), log=True),
        "word": Choices(type="categorical", choices=names),
        "switch": Choices(type="categorical", choices=[True, False]),
        "sometimes": FloatRange(type="float", low=0.0, high=1.0, when={"switch": [True]}),
    }


@settings(max_examples=15)
@given(spaces(), st.integers(0, 99))
def test_every_kind_of_range_is_respected(space: dict[str, Any], seed: int) -> None:
    history: list[Any] = []
    points: list[dict[str, Any]] = []
    for number in range(7):
        point = propose(space, ["maximize"], seed + number, history, [], points)
        assert point is not None
        assert all(contains(space[name], value) for name, value in point.items())
        assert isinstance(point["int"], int)
        assert isinstance(point["count"], int)
        assert point.keys() | {"sometimes"} == space.keys()
        assert ("sometimes" in point) == point["switch"]
        points.append(point)
        history.append(frozen_trial(space, point, TrialState.COMPLETE, value=float(number % 3)))
    assert points[-1] == propose(space, ["maximize"], seed + 6, history[:-1], [], points[:-1])


def test_pending_points_change_the_next_draw() -> None:
    space: dict[str, Any] = {"x": FloatRange(type="float", low=0.0, high=1.0)}
    history = [frozen_trial(space, {"x": at / 10}, TrialState.COMPLETE, value=-((at / 10 - 0.3) ** 2)) for at in range(10)]
    first = propose(space, ["maximize"], 1, history, [], [])
    assert first is not None
    second = propose(space, ["maximize"], 1, history, [first] * 3, [])
    assert second != first


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
@settings(max_examples=20)
def test_every_point_of_a_finite_space_is_proposed_exactly_once(high: int, words: int, seed: int) -> None:
    space: dict[str, Any] = {
        "int": IntRange(type="int", low=1, high=high),
        "word": Choices(type="categorical", choices=["a", "b", "c"][:words]),
    }
    tried: list[dict[str, Any]] = []
    while (point := propose(space, ["minimize"], seed + len(tried), [], [], tried)) is not None:
        assert point not in tried
        tried.append(point)
    assert len(tried) == high * words
