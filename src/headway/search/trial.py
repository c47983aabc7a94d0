"""What goes to a worker and what comes back: plain values, which any engine can carry. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from headway.ranges import Value


@dataclass(frozen=True)
class Task:
    """A trial to run.

    Attributes:
        number: position in the study, from 0.
        point: value by knob, dotted path.
        limits: by epoch, the objective's value without which the trial is not worth going on with. They come from trials of
            earlier batches, so a worker needs to ask nobody.
        rows: encoded for this point, where it turns a knob of the tokenizer; None where those that all trials share will do.
    """

    number: int
    point: dict[str, Value]
    limits: dict[float, float] = field(default_factory=dict)
    rows: Any = None


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: ``complete``, ``pruned`` or ``failed``.
        values: of the objective, and of the second where the study has one; of a pruned trial the objective's last; empty
            of a failed one.
        curve: all metrics after each epoch and in the middle of the first, with that ``epoch``: 0.5, 1, 2 and so on.
        reason: why it failed, in one line; else "".
        seconds: the trial took, on its worker.
        tokens: that were trained on: of the rows, times the epochs.
    """

    state: Literal["complete", "pruned", "failed"]
    values: tuple[float, ...] = ()
    curve: tuple[dict[str, float], ...] = ()
    reason: str = ""
    seconds: float = 0.0
    tokens: int = 0


#: Told an epoch's metrics as soon as they are known.
Watch = Callable[[dict[str, float]], None]
#: ``work(shared, task, watch)``: a function of a module's top level; a worker without a way to report live gives None. It
#: returns an outcome whatever a person's choice of values may cause; what it raises is a mistake in the code.
Work = Callable[[Any, Task, Watch | None], Outcome]
