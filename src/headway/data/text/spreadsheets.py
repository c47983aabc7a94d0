"""Text that others wrote, made harmless for a spreadsheet."""

from __future__ import annotations

import re

#: A cell that begins so is calculated by a spreadsheet. After apostrophes too, so that the apostrophe below can be undone.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def spreadsheet_cell(text: str) -> str:
    """A cell of a CSV file that a person may open in a spreadsheet: a formula gets an apostrophe before it.

    To undo it, remove the first apostrophe of a cell that begins with apostrophes and then ``=``, ``+``, ``-``, ``@``, their
    full-width forms, a tab or a line break.
    """
    return f"'{text}" if _FORMULA.match(text) else text
