"""What a check returns, and how checks that fail are reported like those that find something."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from headway.environment import DEBUG
from headway.errors import HeadwayError, first_line

State = Literal["ok", "warning", "fault"]
OK: Literal["ok"] = "ok"
WARNING: Literal["warning"] = "warning"
FAULT: Literal["fault"] = "fault"
#: What to do if packages are missing or others than the locked ones.
INSTALL = "run `.venv/bin/python -m pip install --requirement requirements.lock`"


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was looked at, such as ``disk``.
        state: ``fault`` if a command of Headway fails because of it, ``warning`` if something works less well because
            of it, else ``ok``.
        found: what was found, in one line.
        remedy: what to do, in one line; "" if there is nothing to do.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


def of_error(name: str, error: HeadwayError, remedy: str, state: State = FAULT) -> Check:
    """An error of Headway as a check. Its message ends with what to do, after a semicolon; otherwise ``remedy`` is taken."""
    found, _, end = str(error).rpartition("; ")
    return Check(name, state, found, end) if found else Check(name, state, end, remedy)


def guarded(name: str, examine: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """The checks of a group. Whatever error ends it is a fault, so that the other groups are still examined."""
    try:
        yield from examine()
    except ModuleNotFoundError as error:
        yield Check(name, FAULT, f"cannot be checked without the package {error.name}, which is not installed", INSTALL)
    except HeadwayError as error:
        yield of_error(name, error, "run `headway --debug doctor` for the whole error")
    except Exception as error:
        if DEBUG in os.environ:
            raise
        found = f"cannot be checked ({type(error).__name__}: {first_line(error)})"
        yield Check(name, FAULT, found, "run `headway --debug doctor` for the whole error")
