"""Ranges that the search draws knobs from, and the check that every point of a search space is allowed.

The knobs themselves are defined in :mod:`headway.params`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Annotated, Any, Literal, Self, Union

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from headway import credentials

#: In place of a number: it is derived from the data.
AUTO = "auto"

Value = Union[int, float, str, bool]  # noqa: UP007 - pydantic keeps the order int, float, str, bool


class Section(BaseModel):
    """A frozen section of params.yaml that rejects unknown keys and converts no types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _has_no_credentials(cls, value: Any) -> Any:
        """params.yaml is in git, and its values are shown and logged."""
        texts = value if isinstance(value, list) else [*value, *value.values()] if isinstance(value, dict) else [value]
        for text in texts:
            if isinstance(text, str) and (problem := credentials.refusal(text)):
                raise ValueError(problem)
        return value


class Range(Section):
    """Common to all ranges: with ``when``, the knob is active only where each of these other knobs has one of these values."""

    when: dict[str, Annotated[list[Value], Field(min_length=1)]] = {}


class FloatRange(Range):
    """An interval of real numbers, both ends included; ``log`` draws on a logarithmic scale."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ends_are_ordered(self) -> Self:
        _check_ends(self.low, self.high, self.log)
        return self


class IntRange(Range):
    """The integers low, low + step, …, high; ``log`` draws on a logarithmic scale."""

    type: Literal["int"]
    low: int
    high: int
    step: PositiveInt = 1
    log: bool = False

    @model_validator(mode="after")
    def _ends_are_ordered(self) -> Self:
        _check_ends(self.low, self.high, self.log)
        if self.log and self.step > 1:
            raise ValueError(f"step ({self.step}) must be 1 on a log scale")
        if excess := (self.high - self.low) % self.step:
            raise ValueError(f"step ({self.step}) does not reach high ({self.high}); use high: {self.high - excess}")
        return self


class Choices(Range):
    """A list of values."""

    type: Literal["categorical"]
    choices: Annotated[list[Value], Field(min_length=1)]


def _check_ends(low: float, high: float, log: bool) -> None:
    if low > high:
        raise ValueError(f"low ({low:g}) must not exceed high ({high:g})")
    if log and low <= 0:
        raise ValueError(f"low ({low:g}) must be above 0 on a log scale")


Knob = Annotated[FloatRange | IntRange | Choices, Field(discriminator="type")]
Space = Mapping[str, FloatRange | IntRange | Choices]
Point = Mapping[str, Any]

#: At most this many values of one integer range are checked, and combinations of two ranges' values.
MAX_CHECKED = 5_000


class SpaceError(ValueError):
    """A search space that cannot be used; ``knob`` is the path of the knob at fault."""

    def __init__(self, knob: str, message: str) -> None:
        super().__init__(message)
        self.knob = knob


def boundary_values(knob: FloatRange | IntRange | Choices, limit: int = MAX_CHECKED) -> list[Value]:
    """Values of a range such that the whole range is allowed if they are.

    All choices; both ends of a real interval; all integers, because only some may divide another knob. Of more than ``limit``
    values the first ones, which leave every remainder, and the last.
    """
    if isinstance(knob, FloatRange):
        return [knob.low, knob.high]
    values: Sequence[Value] = knob.choices if isinstance(knob, Choices) else range(knob.low, knob.high + 1, knob.step)
    return list(values) if len(values) <= limit else [*values[: limit - 1], values[-1]]


def contains(knob: FloatRange | IntRange | Choices, value: Any) -> bool:
    """Whether the search could draw a value from a range."""
    if isinstance(knob, Choices):
        return value in knob.choices
    if isinstance(value, str):
        return False
    on_a_step = isinstance(knob, FloatRange) or (value - knob.low) % knob.step == 0
    return bool(knob.low <= value <= knob.high and on_a_step)


def is_derived(knob: FloatRange | IntRange | Choices, value: Any) -> bool:
    """Whether a value in params.yaml is ``auto`` where the range has numbers alone, so that trial 0 uses a derived number."""
    return bool(value == AUTO and not isinstance(knob, Choices))


def nearest_value(knob: FloatRange | IntRange, value: float) -> float:
    """The value of a range that is nearest to a number."""
    if isinstance(knob, FloatRange):
        return min(max(float(value), knob.low), knob.high)
    steps = round((min(max(value, knob.low), knob.high) - knob.low) / knob.step)
    return knob.low + steps * knob.step


def parents_first(space: Space) -> list[str]:
    """The knobs of a space, each after the knobs that its conditions name.

    Raises:
        SpaceError: conditions that form a cycle.
    """
    order: list[str] = []
    while len(order) < len(space):
        ready = [path for path in space if path not in order and all(parent in order for parent in space[path].when)]
        if not ready:
            raise SpaceError(next(path for path in space if path not in order), "its conditions (when) form a cycle")
        order += ready
    return order


def is_active(knob: Range, point: Point) -> bool:
    """Whether a knob's conditions hold at a point that has all active knobs which the conditions name."""
    return all(point.get(parent) in values for parent, values in knob.when.items())


def active_point(space: Space, value_of: Callable[[str], Any]) -> dict[str, Any]:
    """Values of the active knobs, in the space's order; ``value_of`` is called for each, parents first."""
    point: dict[str, Any] = {}
    for path in parents_first(space):
        if is_active(space[path], point):
            point[path] = value_of(path)
    return {path: point[path] for path in space if path in point}


def check_space(space: Space, values: Mapping[str, Mapping[str, Any]], sections: Mapping[str, type[Section]]) -> None:
    """Check that every value the search could draw is allowed, alone and together with any value of one other knob.

    Args:
        values: of the sections, as in params.yaml; the search's trial 0.
        sections: types of the sections, by name.

    Raises:
        SpaceError: a condition on a knob that is not searched or on a value that it cannot have, a value that is not allowed,
            or a range without trial 0's value.
    """
    for path, knob in space.items():
        _check_conditions(path, knob, space)
    at = {path: path.split(".") for path in parents_first(space)}
    in_file = {path: values[section][name] for path, (section, name) in at.items()}
    # Trial 0 may leave a conditional knob inactive, so that its range need not have the value in the file.
    usual = {
        path: boundary_values(space[path])[0]
        if (space[path].when or is_derived(space[path], value)) and not contains(space[path], value)
        else value
        for path, value in in_file.items()
    }

    def refusal(path: str, chosen: Point) -> str:
        """Why the section of a knob rejects a point with the chosen values; "" if it does not."""
        section = at[path][0]
        point = active_point(space, lambda knob: chosen[knob] if knob in chosen else usual[knob])
        own = {at[knob][1]: value for knob, value in point.items() if at[knob][0] == section}
        try:
            sections[section].model_validate({**values[section], **own})
        except ValidationError as error:
            return describe(error.errors()[0])
        return ""

    # A derived number may be any value of its range, so any condition on it may hold.
    derived = {path for path, value in in_file.items() if is_derived(space[path], value)}
    trial_0 = active_point(space, in_file.__getitem__)
    for path in space:
        if not all(_parents(space, path).values()):
            raise SpaceError(path, "is never active: its conditions (when) exclude one another; change or remove them")
        for chosen in _combinations(space, [path], MAX_CHECKED):
            if reason := refusal(path, chosen):
                raise SpaceError(path, f"{chosen[path]!r} is not allowed: {reason}")
        may_start = path in trial_0 or derived & set(_parents(space, path))
        if may_start and path not in derived and not contains(space[path], in_file[path]):
            raise SpaceError(path, f"the range lacks {in_file[path]!r}, the value of {path}, which trial 0 uses; widen it")
    for one, other in combinations(space, 2):
        if at[one][0] == at[other][0]:
            for chosen in _combinations(space, [one, other], round(MAX_CHECKED**0.5)):
                if reason := refusal(other, chosen):
                    message = f"{chosen[other]!r} is not allowed together with {one}: {chosen[one]!r}: {reason}"
                    raise SpaceError(other, message)


def _check_conditions(path: str, knob: Range, space: Space) -> None:
    for parent, values in knob.when.items():
        if parent not in space:
            raise SpaceError(path, f"its condition (when) names {parent}, which is not searched; add it to the space")
        if isinstance(space[parent], FloatRange):
            raise SpaceError(
                path, f"its condition (when) names {parent}, a real interval; expected an int or categorical range"
            )
        for value in values:
            if not contains(space[parent], value):
                raise SpaceError(path, f"its condition (when) requires {value!r}, which the range of {parent} lacks")


def _parents(space: Space, path: str) -> dict[str, list[Value]]:
    """The values with which other knobs make this one active, directly or through their own conditions, by path."""
    parents: dict[str, list[Value]] = {}
    for parent, values in space[path].when.items():
        for knob, allowed in [(parent, values), *_parents(space, parent).items()]:
            parents[knob] = [value for value in parents.get(knob, allowed) if value in allowed]
    return parents


def _combinations(space: Space, paths: Sequence[str], limit: int) -> Iterator[dict[str, Value]]:
    """Boundary values of some knobs in all combinations, with all values of other knobs that make these active."""
    options = {path: boundary_values(space[path], limit) for path in paths}
    for path in paths:
        for parent, allowed in _parents(space, path).items():
            options[parent] = [value for value in options.get(parent, allowed) if value in allowed]
    for values in product(*options.values()):
        yield dict(zip(options, values, strict=True))


def describe(problem: Any) -> str:
    """A pydantic problem's message, as the end of a sentence."""
    message: str = problem["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]
