"""The input and output of a worker, as plain values that any executor can send, and the interface for showing progress.

Nothing heavy is imported here.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from headway.ranges import Value

if TYPE_CHECKING:
    import numpy as np
    from pytorch_lightning.callbacks import Callback

    from headway.search.objective import TrialData
    from headway.search.results import TrialResult

#: Rows whose scores are kept. They give the noise of a difference closely enough, and a study's storage stays small.
MAX_ROWS = 4_000


@dataclass(frozen=True)
class Task:
    """A trial to run.

    Attributes:
        number: position in the study, from 0.
        point: hyperparameters, by dotted path.
        limits: objective value that the trial must reach to continue, by share of its steps. The limits come from trials of
            earlier batches, so that a worker needs no access to the study.
        data: rows encoded for this point with their n-grams, if it changes these; None for those that most trials share.
        problem: why they could not be encoded, as the reason of the failed trial; else "".
        repeat: number of the repetition with another seed, 0 for the trial itself.
    """

    number: int
    point: dict[str, Value]
    limits: dict[float, float] = field(default_factory=dict)
    data: TrialData | None = None
    problem: str = ""
    repeat: int = 0

    def seed(self, first: int) -> int:
        """The seed of its training, given the seed in params.yaml."""
        return first + 1_000_003 * self.repeat


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        values: of the objective and of the second objective, if there is one. A pruned trial has the objective's last
            value, a failed trial none.
        curve: all metrics of each evaluation, of the attention part (``validation_…``) and of the joint model
            (``joint_validation_…``), with its ``step``, its ``epoch`` (passes over the training texts, not whole) and its
            ``progress``, the share of the trial's steps.
        reason: why the trial failed, in one line; else "".
        tokens: number of training tokens, times epochs.
        row_scores: the objective of each validation row with the kept weights, see :func:`encode_rows`; "" unless the trial is
            complete.
    """

    state: Literal["complete", "pruned", "failed"]
    values: tuple[float, ...] = ()
    curve: tuple[dict[str, float], ...] = ()
    reason: str = ""
    seconds: float = 0.0
    tokens: int = 0
    row_scores: str = ""


def encode_rows(values: np.ndarray) -> str:
    """Scores of validation rows as text: their number, and in half precision; of more than MAX_ROWS, evenly spaced ones."""
    import numpy as np

    kept = values[np.linspace(0, len(values) - 1, min(len(values), MAX_ROWS)).round().astype(int)]
    return f"{len(values)}:{base64.b64encode(kept.astype('<f2').tobytes()).decode('ascii')}"


def decode_rows(text: str) -> tuple[np.ndarray, int]:
    """The scores that :func:`encode_rows` kept, float64, and the number of all rows."""
    import numpy as np

    rows, _, kept = text.partition(":")
    return np.frombuffer(base64.b64decode(kept), dtype="<f2").astype(np.float64), int(rows)


#: Called with the metrics of an evaluation as soon as they are known.
EvaluationCallback = Callable[[dict[str, float]], None]


class Progress:
    """Receives the events of a search. Subclasses show them; this class shows nothing."""

    def resumed(self, trials: Sequence[TrialResult]) -> None: ...
    def began(self, task: Task) -> None: ...
    def evaluated(self, number: int, entry: Mapping[str, float]) -> None: ...
    def ended(self, trial: TrialResult) -> None: ...
    def message(self, line: str) -> None: ...
    def batches(self, number: int) -> Callback | None:
        """A Lightning callback that shows the batches of a trial."""
