"""A second model in the shadow of the first: it scores the same texts after they were answered, for the log and the metrics."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch

from headway.serving.http.batcher import BATCH_TEXTS
from headway.serving.http.interfaces import LiveModel, PredictionLog
from headway.serving.http.settings import SECONDS_TO_STOP

#: Characters that may wait.
QUEUE_CHARACTERS = 1 << 24

log = logging.getLogger(__name__)


class Shadow:
    """The shadow's queue and thread.

    Args:
        queue_texts: number of texts that may wait; further ones are dropped, also beyond :data:`QUEUE_CHARACTERS`.
        on_scored: called with the numbers of texts that both models give the same label, and another one.
    """

    def __init__(
        self,
        live: LiveModel,
        log: PredictionLog | None,
        queue_texts: int,
        threads: int,
        on_scored: Callable[[int, int], None],
        on_dropped: Callable[[int], None],
    ) -> None:
        self._live, self._log, self._queue_texts, self._threads = live, log, queue_texts, threads
        self._on_scored, self._on_dropped = on_scored, on_dropped
        self._rows: deque[tuple[str, str, str]] = deque()  # id, text, the champion's label
        self._characters = 0  # of the texts that wait
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Drop what waits, and end the thread after the batch in progress."""
        with self._changed:
            self._stopping = True
            dropped = len(self._rows)
            self._rows.clear()
            self._changed.notify()
        self._on_dropped(dropped)
        self._thread.join(SECONDS_TO_STOP)

    def add(self, ids: Sequence[str], texts: Sequence[str], labels: Sequence[str]) -> None:
        """Have texts scored that were answered with labels. Returns at once; texts beyond the queue's bound are dropped."""
        dropped = 0
        with self._changed:
            for row in zip(ids, texts, labels, strict=True):
                if len(self._rows) < self._queue_texts and self._characters + len(row[1]) <= QUEUE_CHARACTERS:
                    self._rows.append(row)
                    self._characters += len(row[1])
                else:
                    dropped += 1
            self._changed.notify()
        self._on_dropped(dropped)

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        while self._score_batch():
            pass

    def _score_batch(self) -> bool:
        """Score the next batch; whether there was one."""
        rows = self._take()
        try:
            if rows:
                self._score(rows)
        except Exception as error:  # noqa: BLE001 - the shadow must not end, whatever is wrong with its model
            log.error("the shadow failed on %d texts: %s", len(rows), type(error).__name__)
            self._on_dropped(len(rows))
        return bool(rows)

    def _take(self) -> list[tuple[str, str, str]]:
        with self._changed:
            self._changed.wait_for(lambda: self._rows or self._stopping)
            taken = [self._rows.popleft() for _ in range(min(BATCH_TEXTS, len(self._rows)))]
            self._characters -= sum(len(text) for _, text, _ in taken)
            return taken

    def _score(self, rows: Sequence[tuple[str, str, str]]) -> None:
        model = self._live.current
        ids, texts, labels = (list(column) for column in zip(*rows, strict=True))
        probabilities: np.ndarray = model.package.predict_proba(texts)
        classes = model.package.classes
        same = sum(classes[best] == label for best, label in zip(probabilities.argmax(axis=1), labels, strict=True))
        self._on_scored(same, len(rows) - same)
        if self._log:
            self._log.add(model, ids, texts, probabilities, role="shadow")
