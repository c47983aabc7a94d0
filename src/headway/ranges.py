"""Ranges that the search may turn a knob in, and the checks that a whole space of them makes sense.

Which knobs there are is said in :mod:`headway.params`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Annotated, Any, Literal, Self, Union

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

Value = Union[int, float, str, bool]  # noqa: UP007 - pydantic keeps the order int, float, str, bool


class Section(BaseModel):
    """Frozen, and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Range(Section):
    """What all ranges have.

    Attributes:
        when: other knobs of the space, and the values of theirs with which this one is asked; without one it always is.
    """

    when: dict[str, Annotated[list[Value], Field(min_length=1)]] = {}


class FloatRange(Range):
    """A real interval to search."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) must not exceed high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low:g}) must be above 0 on a log scale")
        return self


class IntRange(Range):
    """An integer interval to search."""

    type: Literal["int"]
    low: int
    high: int
    step: PositiveInt = 1
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not exceed high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low}) must be above 0 on a log scale")
        if self.log and self.step > 1:
            raise ValueError(f"step ({self.step}) must be 1 on a log scale")
        if over := (self.high - self.low) % self.step:
            raise ValueError(f"step ({self.step}) never comes to high ({self.high}); make it {self.high - over}")
        return self


class Choices(Range):
    """A list of values to search."""

    type: Literal["categorical"]
    choices: Annotated[list[Value], Field(min_length=1)]


Knob = Annotated[FloatRange | IntRange | Choices, Field(discriminator="type")]
Space = Mapping[str, FloatRange | IntRange | Choices]
Point = Mapping[str, Any]

MOST_VALUES = 5_000


class Misfit(ValueError):
    """A knob of the space that does not fit; ``knob`` is its path."""

    def __init__(self, knob: str, message: str) -> None:
        super().__init__(message)
        self.knob = knob


def telling_values(knob: FloatRange | IntRange | Choices) -> list[Value]:
    """Values of a knob's range that are all allowed if the whole range is.

    Every choice; the two ends of an interval; and of integers, among which divisors may be asked for, all of them.
    """
    if isinstance(knob, Choices):
        return list(knob.choices)
    if isinstance(knob, FloatRange):
        return [knob.low, knob.high]
    return _some(range(knob.low, knob.high + 1, knob.step), MOST_VALUES)


def _some(values: Sequence[Value], most: int) -> list[Value]:
    """All of the values or, of too many, as many from the beginning on, which leave every remainder; and the last."""
    return list(values) if len(values) <= most else [*values[: most - 1], values[-1]]


def contains(knob: FloatRange | IntRange | Choices, value: Any) -> bool:
    """Whether a value lies in a knob's range; a word lies in none of numbers."""
    if isinstance(knob, Choices):
        return value in knob.choices
    if isinstance(value, str):
        return False
    on_a_step = isinstance(knob, FloatRange) or (value - knob.low) % knob.step == 0
    return bool(knob.low <= value <= knob.high and on_a_step)


def in_order(space: Space) -> list[str]:
    """The knobs, each after those that its conditions name.

    Raises:
        Misfit: conditions that lead in a circle.
    """
    order: list[str] = []
    while len(order) < len(space):
        ready = [path for path in space if path not in order and all(other in order for other in space[path].when)]
        if not ready:
            raise Misfit(next(path for path in space if path not in order), "its conditions (when) lead back to itself")
        order += ready
    return order


def is_asked(knob: Range, point: Point) -> bool:
    """Whether a knob's conditions hold at a point, which has the knobs that they name if these are asked."""
    return all(point.get(other) in values for other, values in knob.when.items())


def restrict(space: Space, values: Point) -> dict[str, Any]:
    """Of values for every knob of the space those that are asked."""
    point: dict[str, Any] = {}
    for path in in_order(space):
        if is_asked(space[path], point):
            point[path] = values[path]
    return {path: point[path] for path in space if path in point}


def check_space(space: Space, values: Mapping[str, Mapping[str, Any]], sections: Mapping[str, type[Section]]) -> None:
    """Hold every value that the search could draw, alone and beside any one other, against the knob's own section.

    Args:
        space: its knobs stand in these sections.
        values: of the sections, as params.yaml gives them: trial 0.
        sections: by name.

    Raises:
        Misfit: what a condition names is not in the space, a value that is not allowed, or a range without trial 0's.
    """
    for path, knob in space.items():
        _check_conditions(path, knob, space)
    own = {path: values[_section(path)][_name(path)] for path in in_order(space)}
    defaults = restrict(space, own)
    for path in space:
        if any(not allowed for allowed in _needed(space, path).values()):
            raise Misfit(path, "is never asked: its conditions (when) exclude one another; change them, or take it out")
        for drawn, needed in _drawn(space, path, MOST_VALUES):
            reason = _refusal(path, _completed({**needed, path: drawn}, space, own), values, sections)
            if reason:
                raise Misfit(path, f"{drawn!r} is not allowed there: {reason}")
        if path in defaults and not contains(space[path], defaults[path]):
            raise Misfit(path, f"leaves out {defaults[path]!r}, the value of {path} and trial 0; widen it")
    for one, other in combinations(space, 2):
        if _section(one) == _section(other):
            _check_pair(one, other, space, own, values, sections)


def _check_conditions(path: str, knob: Range, space: Space) -> None:
    for other, values in knob.when.items():
        if other not in space:
            raise Misfit(path, f"its condition (when) names {other}, which is not searched; add it to the space")
        if isinstance(space[other], FloatRange):
            raise Misfit(
                path, f"its condition (when) names {other}, a real interval; it has to be of type int or categorical"
            )
        for value in values:
            if not contains(space[other], value):
                raise Misfit(path, f"its condition (when) asks for {value!r}, which {other} never is")


def _needed(space: Space, path: str) -> dict[str, list[Value]]:
    """What the knobs have to be, directly or through other conditions, for a knob to be asked: the values by their path."""
    needed: dict[str, list[Value]] = {}
    for other, values in space[path].when.items():
        for knob, allowed in [(other, values), *_needed(space, other).items()]:
            needed[knob] = [value for value in needed.get(knob, allowed) if value in allowed]
    return needed


def _drawn(space: Space, path: str, most: int) -> Iterator[tuple[Value, dict[str, Any]]]:
    """The telling values of a knob, each beside the values of other knobs without which it is not asked."""
    needed = _needed(space, path)
    for value in _some(telling_values(space[path]), most):
        for parents in product(*needed.values()):
            yield value, dict(zip(needed, parents, strict=True))


def _completed(chosen: Point, space: Space, own: Point) -> Point:
    """A point that the search could draw with these values in it.

    The other knobs that it asks are as in params.yaml, or, where that lies outside a range which trial 0 does not ask for, at
    some value within; each of those has its turn beside the chosen ones.
    """
    point: dict[str, Any] = {}
    for path in in_order(space):
        knob = space[path]
        if path in chosen:
            point[path] = chosen[path]
        elif is_asked(knob, point):
            point[path] = telling_values(knob)[0] if knob.when and not contains(knob, own[path]) else own[path]
    return point


def _check_pair(
    one: str,
    other: str,
    space: Space,
    own: Point,
    values: Mapping[str, Mapping[str, Any]],
    sections: Mapping[str, type[Section]],
) -> None:
    each = round(MOST_VALUES**0.5)
    for first, first_needed in _drawn(space, one, each):
        for second, second_needed in _drawn(space, other, each):
            needed = [*first_needed.items(), *second_needed.items(), (one, first), (other, second)]
            chosen = dict(needed)
            if any(chosen[path] != value for path, value in needed):
                continue  # the two are never asked together so
            reason = _refusal(other, _completed(chosen, space, own), values, sections)
            if reason:
                raise Misfit(other, f"{second!r} is not allowed beside {one} {first!r}: {reason}")


def _refusal(path: str, point: Point, values: Mapping[str, Mapping[str, Any]], sections: Mapping[str, type[Section]]) -> str:
    """Why a knob's section does not take a point; "" when it does."""
    section = _section(path)
    chosen = {_name(knob): value for knob, value in point.items() if _section(knob) == section}
    try:
        sections[section].model_validate({**values[section], **chosen})
    except ValidationError as error:
        return in_words(error.errors()[0])
    return ""


def in_words(problem: Any) -> str:
    """What a pydantic problem says, as part of a sentence."""
    message: str = problem["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _section(path: str) -> str:
    return path.split(".")[0]


def _name(path: str) -> str:
    return path.split(".")[1]
