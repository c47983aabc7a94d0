"""Micro-batching: the texts of concurrent requests are classified together, by one thread, in the order in which they came.

The thread takes whatever waits and never waits for more: while it classifies, the next batch gathers. So one request alone is
answered at once, and many share the cost of a batch.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import torch

from headway.errors import HeadwayError
from headway.serving.http.interfaces import LiveModel
from headway.serving.http.refusals import Refusal, busy
from headway.serving.http.settings import SECONDS_TO_STOP
from headway.serving.live.model import ServedModel

#: Texts and characters from which a batch is full. A request is never divided, so that one model answers all of it.
BATCH_TEXTS, BATCH_CHARACTERS = 256, 1_000_000
#: Characters of a batch for each thread of PyTorch. For fewer, waiting for each other takes threads longer than they save, above
#: all where the event loop needs a core too.
CHARACTERS_PER_THREAD = 10_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """Probabilities of a request's texts, float32, (texts, classes), NaN where a text cannot be classified, and the reasons."""

    model: ServedModel
    probabilities: np.ndarray
    reasons: Sequence[str]

    def __getitem__(self, rows: slice) -> Answer:
        return Answer(self.model, self.probabilities[rows], self.reasons[rows])


@dataclass(eq=False)
class Job:
    """The texts of one request, and where the answer goes."""

    texts: Sequence[object]
    future: Future[Answer] = field(default_factory=Future)

    @property
    def characters(self) -> int:
        return sum(len(text) for text in self.texts if isinstance(text, str))


class Batcher:
    """The queue of the requests and the thread that classifies them.

    Args:
        queue_texts: number of texts that may wait.
        threads: of PyTorch, at most.
        on_batch: called with the number of texts of each batch, in the thread.
    """

    def __init__(self, live: LiveModel, queue_texts: int, threads: int, on_batch: Callable[[int], None]) -> None:
        self._live, self._queue_texts, self._threads, self._on_batch = live, queue_texts, threads, on_batch
        self._jobs: deque[Job] = deque()
        self._waiting = 0  # texts
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Classify what waits, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(SECONDS_TO_STOP)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Number of texts in the queue."""
        return self._waiting

    def submit(self, texts: Sequence[object]) -> Future[Answer]:
        """Put the texts of a request into the queue. Cancelling the future takes them out again.

        Raises:
            Refusal: the queue is full.
        """
        job = Job(texts)
        with self._changed:
            if self._waiting + len(texts) > self._queue_texts:
                raise busy("the queue is full; send the request again after the seconds in Retry-After", code="queue_full")
            self._jobs.append(job)
            self._waiting += len(texts)
            self._changed.notify()
        job.future.add_done_callback(self._forget_cancelled)
        return job.future

    def _forget_cancelled(self, future: Future[Answer]) -> None:
        """Take a request out of the queue. It is found by its future, which must not refer to it: it has the answer's model."""
        if not future.cancelled():
            return
        with self._changed:
            for job in [job for job in self._jobs if job.future is future]:
                self._jobs.remove(job)
                self._waiting -= len(job.texts)

    def _run(self) -> None:
        while self._answer_batch():
            pass

    def _answer_batch(self) -> bool:
        """Classify the next batch; whether there was one. Nothing is kept of it, so that a model that was replaced is freed."""
        jobs = self._take()
        self._classify(jobs)
        return bool(jobs)

    def _take(self) -> list[Job]:
        """The next batch, as soon as anything waits; empty at the end."""
        taken: list[Job] = []
        texts = characters = 0
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._stopping)
            while self._jobs:
                job = self._jobs[0]
                texts, characters = texts + len(job.texts), characters + job.characters
                if taken and (texts > BATCH_TEXTS or characters > BATCH_CHARACTERS):
                    break
                self._jobs.popleft()
                self._waiting -= len(job.texts)
                taken.append(job)
        return taken

    def _classify(self, jobs: list[Job]) -> None:
        jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return
        self._on_batch(sum(len(job.texts) for job in jobs))
        torch.set_num_threads(threads_for(sum(job.characters for job in jobs), self._threads))
        try:
            whole = _answer(self._live.current, [text for job in jobs for text in job.texts])
        except Exception as error:  # noqa: BLE001 - it goes to those who wait for it
            self._failed(jobs, error)
            return
        start = 0
        for job in jobs:
            job.future.set_result(whole[start : start + len(job.texts)])
            start += len(job.texts)

    def _failed(self, jobs: list[Job], error: Exception) -> None:
        """Classify the requests of a failed batch one by one, so that the fault of one is not that of the others."""
        if len(jobs) > 1:
            for job in jobs:
                try:
                    job.future.set_result(_answer(self._live.current, job.texts))
                except Exception as own:  # noqa: BLE001 - it goes to the one who waits for it
                    job.future.set_exception(_refusal(own))
        else:
            jobs[0].future.set_exception(_refusal(error))


def threads_for(characters: int, most: int) -> int:
    """Threads of PyTorch for a batch with this number of characters."""
    return min(most, 1 + characters // CHARACTERS_PER_THREAD)


def _answer(model: ServedModel, texts: Sequence[object]) -> Answer:
    return Answer(model, *model.package.classify(texts))


def _refusal(error: Exception) -> Exception:
    if isinstance(error, HeadwayError):
        return Refusal(500, "model_failed", str(error))
    log.error("a batch failed: %s", type(error).__name__)
    return error
