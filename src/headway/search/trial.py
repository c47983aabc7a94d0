"""The input and output of a worker, as plain values that any executor can send, and the interface for showing progress.

Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from headway.ranges import Value

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

    from headway.search.objective import TrialData
    from headway.search.results import TrialResult


@dataclass(frozen=True)
class Task:
    """A trial to run.

    Attributes:
        number: position in the study, from 0.
        point: hyperparameters, by dotted path.
        limits: objective value that the trial must reach to continue, by epoch. The limits come from trials of earlier
            batches, so that a worker needs no access to the study.
        data: rows encoded for this point, if it changes the tokenizer; None for the rows that all trials share.
        problem: why they could not be encoded, as the reason of the failed trial; else "".
    """

    number: int
    point: dict[str, Value]
    limits: dict[float, float] = field(default_factory=dict)
    data: TrialData | None = None
    problem: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        values: of the objective and of the second objective, if there is one. A pruned trial has the objective's last
            value, a failed trial none.
        curve: all metrics after each epoch and in the middle of the first, with their ``epoch``: 0.5, 1, 2 and so on.
        reason: why the trial failed, in one line; else "".
        tokens: number of training tokens, times epochs.
    """

    state: Literal["complete", "pruned", "failed"]
    values: tuple[float, ...] = ()
    curve: tuple[dict[str, float], ...] = ()
    reason: str = ""
    seconds: float = 0.0
    tokens: int = 0


#: Called with the metrics of an epoch as soon as they are known.
EpochCallback = Callable[[dict[str, float]], None]


class Progress:
    """Receives the events of a search. Subclasses show them; this class shows nothing."""

    def resumed(self, trials: Sequence[TrialResult]) -> None: ...
    def began(self, task: Task) -> None: ...
    def epoch(self, number: int, entry: Mapping[str, float]) -> None: ...
    def ended(self, trial: TrialResult) -> None: ...
    def message(self, line: str) -> None: ...
    def batches(self, number: int) -> Callback | None:
        """A Lightning callback that shows the batches of a trial."""
