"""What the service needs of the live model and of the prediction log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from headway.serving.live.live_model import LiveStatus
    from headway.serving.live.model import ServedModel

#: Keeps true labels: rows with "label" and one of "request_id", "text_hash" and "text"; returns counts of what became of them.
AddLabels = Callable[[Sequence[Mapping[str, str]]], Mapping[str, Any]]

#: Reads what monitoring last found: status, reasons, version and the like; None if nothing was found yet.
ReadMonitoring = Callable[[], Mapping[str, Any] | None]


class LiveModel(Protocol):
    """Holds the model that answers now, which may be another one at every look."""

    @property
    def current(self) -> ServedModel: ...
    @property
    def status(self) -> LiveStatus: ...
    def check_now(self) -> None: ...


class LogCounters(Protocol):
    """What became of the rows of the prediction log; ``problem`` is why it cannot be written at the moment, or None."""

    @property
    def rows_written(self) -> int: ...
    @property
    def rows_dropped(self) -> int: ...
    @property
    def failed_writes(self) -> int: ...
    @property
    def rows_waiting(self) -> int: ...
    @property
    def problem(self) -> str | None: ...


class PredictionLog(Protocol):
    """Keeps what was answered; never blocks and never fails."""

    @property
    def counters(self) -> LogCounters: ...

    def add(
        self,
        model: ServedModel,
        ids: Sequence[str],
        texts: Sequence[str],
        probabilities: np.ndarray,
        role: str = "champion",
    ) -> None: ...
