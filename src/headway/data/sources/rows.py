"""One row of a source, and how the values that a parser returns become its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

LONGEST_RAW = 2_000  # characters kept of a row that cannot be read


class Row(NamedTuple):
    """One row of a source."""

    text: str | None  # the text as written, None if missing. For an unreadable row, the beginning of that row
    label: str | None  # the label as written, None if missing
    problem: str = ""  # why the row cannot be read, "" if it can
    extra: tuple[str | None, ...] = ()  # cells in the order of ``Columns.extra``; empty for an unreadable row
    test: bool = False  # whether the row is part of the test split


def make_row(text: Any, label: Any, extra: Sequence[Any] = (), encoding: str = "utf-8") -> Row:
    """A row from parsed values. A list, an object or invalid characters as text or label make it an unreadable row.

    A label in a list of its own, as annotation tools write it, is that label, and an empty list a missing one. In an extra
    column, a list or object counts as missing.
    """
    label = only_element(label)
    if isinstance(label, list | tuple):
        if label:
            problem = f"the label is a list of {len(label)}; several labels per row (multi-label) are not supported"
            return unreadable_row(cell_text(text) or str(text), problem)
        label = None
    cells = cell_text(text), cell_text(label)
    for name, value, cell in zip(("text", "label"), (text, label), cells, strict=True):
        if cell is None and isinstance(value, list | tuple | dict):
            return unreadable_row(cells[0] or str(text), f"the {name} is a {type(value).__name__}, expected a string")
        if cell is not None and replace_surrogates(cell) != cell:
            return unreadable_row(cells[0] or "", f"the {name} is not valid {encoding}")
    return Row(*cells, extra=tuple(replace_surrogates(cell_text(value) or "") or None for value in extra))


def unreadable_row(raw: str, problem: str) -> Row:
    """A row that cannot be read: its beginning as text, and the reason."""
    return Row(replace_surrogates(raw[:LONGEST_RAW].rstrip("\r\n")), None, problem)


def only_element(value: Any) -> Any:
    """The element of a list of one, which may itself be such a list; any other value as it is."""
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return value


def replace_surrogates(text: str) -> str:
    """Replace each lone surrogate, which our decoders leave in place of invalid bytes, with U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def cell_text(value: Any) -> str | None:
    """A parsed value as a string; None for a missing value, NaN, a list or an object.

    A float that is a whole number loses its ``.0``: parsers read a column of integers with gaps as floats.
    """
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case float():
            return None if value != value else str(int(value)) if value.is_integer() else str(value)
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case None | list() | tuple() | dict():
            return None
        case _:
            return str(value)
