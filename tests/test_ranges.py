"""A search space is refused exactly if some point of it is not allowed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import model_validator

from headway.ranges import (
    Choices,
    FloatRange,
    IntRange,
    Section,
    Space,
    SpaceError,
    active_point,
    check_space,
    contains,
    is_active,
    nearest_value,
    parents_first,
)

KNOBS = ("k.a", "k.b", "k.c", "k.d")
FEW = st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True)
Pair = frozenset[tuple[str, int]]


def section(refused: set[Pair]) -> type[Section]:
    """Four integers, some pairs of whose values are not allowed."""

    class Knobs(Section):
        a: int
        b: int
        c: int
        d: int

        @model_validator(mode="after")
        def _fit(self) -> Self:
            if any(pair <= set(self.model_dump().items()) for pair in refused):
                raise ValueError("they do not go together")
            return self

    return Knobs


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Choices]:
    """Knobs that may depend on earlier ones; every range contains 0, the value in the file, unless its condition excludes it."""
    space: dict[str, Choices] = {}
    for knob in KNOBS:
        choices = sorted({0, *draw(FEW)})
        asked = draw(st.lists(st.sampled_from(list(space)), max_size=2, unique=True)) if space else []
        when = {other: draw(st.lists(st.sampled_from(space[other].choices), min_size=1, unique=True)) for other in asked}
        if when and draw(st.booleans()):
            choices = [value for value in choices if value] or choices  # the file's is then in no range that asks
        space[knob] = Choices(type="categorical", choices=list(choices), when=when)
    return space


def drawable(space: Space) -> Iterator[dict[str, Any]]:
    """Every point of a space of choices, by enumeration."""
    for values in product(*(space[path].choices for path in space)):  # type: ignore[union-attr]
        every, point = dict(zip(space, values, strict=True)), {}
        for path in parents_first(space):
            if is_active(space[path], point):
                point[path] = every[path]
        yield point


def whole(point: dict[str, Any]) -> set[tuple[str, int]]:
    return {(path.split(".")[1], point.get(path, 0)) for path in KNOBS}


@settings(max_examples=150)
@given(
    spaces(),
    st.sets(st.frozensets(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), min_size=2, max_size=2), max_size=2),
)
def test_a_space_is_refused_exactly_if_it_has_a_point_that_is_not_allowed(space: Space, refused: set[Pair]) -> None:
    points = list(drawable(space))
    never = [path for path in space if not any(path in point for point in points)]
    first = active_point(space, lambda _: 0)
    missing = [path for path in first if not contains(space[path], 0)]
    file = {(name, 0) for name in "abcd"}
    if any(pair <= file for pair in refused) or missing:
        return  # params.yaml itself is refused before, or trial 0 is outside the range, which another test covers
    bad = never or any(pair <= whole(point) for point in points for pair in refused)
    try:
        check_space(space, {"k": dict.fromkeys("abcd", 0)}, {"k": section(refused)})
    except SpaceError:
        assert bad
    else:
        assert not bad


def test_a_knob_is_checked_with_the_values_that_make_its_parents_active() -> None:
    space = {
        "k.a": Choices(type="categorical", choices=[0, 1]),
        "k.b": Choices(type="categorical", choices=[0, 2], when={"k.a": [1]}),
        "k.c": Choices(type="categorical", choices=[1, 2], when={"k.b": [2]}),
    }
    values = {"k": dict.fromkeys("abcd", 0)}
    check_space(space, values, {"k": section({frozenset({("a", 0), ("c", 2)})})})  # c is never asked beside an a of 0
    with pytest.raises(SpaceError, match=r"^2 is not allowed: they do not go together$") as caught:
        check_space(space, values, {"k": section({frozenset({("a", 1), ("c", 2)})})})
    assert caught.value.knob == "k.c"


def test_conditions_that_exclude_one_another_are_refused() -> None:
    space = {
        "k.a": Choices(type="categorical", choices=[0, 1]),
        "k.b": Choices(type="categorical", choices=[0, 2], when={"k.a": [1]}),
        "k.c": Choices(type="categorical", choices=[0, 1], when={"k.b": [2], "k.a": [0]}),
    }
    with pytest.raises(SpaceError, match=r"^is never active: its conditions \(when\) exclude one another") as caught:
        check_space(space, {"k": dict.fromkeys("abcd", 0)}, {"k": section(set())})
    assert caught.value.knob == "k.c"


def test_two_long_ranges_are_checked_together_at_every_remainder() -> None:
    """Too many integers to check in all combinations: the first ones leave every remainder that the others leave."""

    class Knobs(Section):
        a: int
        b: int

        @model_validator(mode="after")
        def _fit(self) -> Self:
            if self.b % self.a:
                raise ValueError(f"{self.a} does not divide {self.b}")
            return self

    def space(step: int) -> Space:
        wide = IntRange(type="int", low=48, high=48 + 300 * step, step=step)
        return {"k.a": Choices(type="categorical", choices=[1, 3]), "k.b": wide}

    check_space(space(3), {"k": {"a": 1, "b": 48}}, {"k": Knobs})
    with pytest.raises(SpaceError, match="3 does not divide 49"):
        check_space(space(1), {"k": {"a": 1, "b": 48}}, {"k": Knobs})


@pytest.mark.parametrize(
    ("knob", "value", "nearest"),
    [
        (IntRange(type="int", low=512, high=4096), 700, 700),
        (IntRange(type="int", low=512, high=4096), 8192, 4096),
        (IntRange(type="int", low=512, high=4096), 3, 512),
        (IntRange(type="int", low=1, high=9, step=4), 4, 5),
        (FloatRange(type="float", low=0.0, high=0.5), 0.1, 0.1),
        (FloatRange(type="float", low=0.2, high=0.5), 0.1, 0.2),
    ],
)
def test_the_nearest_value_of_a_range_could_be_drawn_from_it(knob: Any, value: float, nearest: float) -> None:
    assert nearest_value(knob, value) == nearest
    assert contains(knob, nearest)
