"""What one process of the service holds besides its routes: queue, shadow, explanations, metrics, and whether it is ready."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import numpy as np
from starlette.requests import Request

from headway.errors import HeadwayError
from headway.serving.http.admission import Access
from headway.serving.http.batcher import Answer, Batcher
from headway.serving.http.calls import CallThread
from headway.serving.http.explanations import Explainer
from headway.serving.http.interfaces import AddLabels, LiveModel, PredictionLog, ReadMonitoring
from headway.serving.http.metrics import Metrics
from headway.serving.http.refusals import Refusal
from headway.serving.http.settings import ServeSettings
from headway.serving.http.shadow import Shadow
from headway.serving.http.status import LastMonitoring
from headway.serving.http.tokens import host_allowed

Result = TypeVar("Result")
SECONDS_BETWEEN_UPDATES = 1.0
#: Requests with labels that wait or are being kept.
MOST_FEEDBACK = 8
#: Labels with probabilities in one answer. The event loop builds it.
MOST_LABELS = 100_000

logger = logging.getLogger(__name__)


class ClientGone(Exception):
    """The client has closed the connection, so that nobody waits for the answer."""


class Service:
    """The parts of the service. Within :meth:`running` it classifies.

    Attributes:
        draining: whether the process is about to end, so that nothing new should be sent to it.
    """

    def __init__(
        self,
        live: LiveModel,
        settings: ServeSettings,
        log: PredictionLog | None,
        shadow: LiveModel | None,
        add_labels: AddLabels | None,
        read_monitoring: ReadMonitoring | None = None,
    ) -> None:
        self.live, self.settings, self.log = live, settings, log
        self.draining = False
        self._log_problem: str | None = None  # as the last look found it
        self.access, self.metrics = Access(settings), Metrics()
        threads = settings.torch_threads
        self.batcher = Batcher(live, settings.queue_texts, threads, self.metrics.batch.observe)
        self.explainer = Explainer(threads)
        self._add_labels, self._feedback = add_labels, CallThread("feedback", MOST_FEEDBACK)
        self.shadow = shadow and Shadow(
            shadow, log, settings.queue_texts, threads, self._shadow_scored, self.metrics.shadow_dropped.inc
        )
        self.monitoring = LastMonitoring(read_monitoring)
        self._models = {"champion": live, **({"shadow": shadow} if shadow else {})}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the threads. At the end what waits is still classified."""
        self.batcher.start()
        self.explainer.start()
        self._feedback.start()
        self.monitoring.start()
        if self.shadow:
            self.shadow.start()
        updates = asyncio.create_task(self._update())
        try:
            yield
        finally:
            updates.cancel()
            self.explainer.stop()
            self._feedback.stop()
            self.monitoring.stop()
            await asyncio.to_thread(self.batcher.stop)
            if self.shadow:
                await asyncio.to_thread(self.shadow.stop)

    @property
    def alive(self) -> bool:
        """Whether the process can classify at all."""
        return self.batcher.alive

    @property
    def shadow_version(self) -> str | None:
        """The version that scores the same texts, None without one."""
        return self._models["shadow"].status.version if self.shadow else None

    def state(self, authorization: str, host: str) -> dict[str, Any]:
        """The answer to a readiness probe.

        Why the newest model is not served may name a server. So it is left out for a request without a token, and for one with
        a Host header that is not allowed, which a page of another site may have sent (DNS rebinding).
        """
        status = self.live.status
        known = self.access.holder(authorization) is not None and host_allowed(host, self.settings.allowed_hosts)
        return {
            "ready": self.alive and not self.draining,
            "version": status.version,
            "loaded_at": status.loaded_at.isoformat(),
            "checked_at": status.checked_at.isoformat(),
            "problem": status.problem if known else None,
        }

    def reload(self) -> None:
        """Look for other models now, and read the tokens again."""
        for live in self._models.values():
            live.check_now()
        self.access.reload()

    def check(self, texts: Sequence[object], names: str = "texts[{}]", top_k: int = 1) -> None:
        """Raise a Refusal if there are too many texts, or one is too long, or the answer would have too many labels.

        Args:
            names: of the texts in the request, by their numbers.
            top_k: number of labels for each.
        """
        if len(texts) > self.settings.max_texts:
            raise Refusal(
                422, "too_many_texts", f"{len(texts):,} texts; send at most {self.settings.max_texts:,} in one request"
            )
        labels = len(texts) * min(top_k, len(self.live.current.package.classes))
        if labels > MOST_LABELS:
            raise Refusal(
                422,
                "too_many_labels",
                f"{len(texts):,} texts with top_k {top_k:,} have {labels:,} labels; expected at most {MOST_LABELS:,}",
            )
        for number, text in enumerate(texts):
            if isinstance(text, str) and len(text) > self.settings.max_characters:
                raise Refusal(
                    422,
                    "text_too_long",
                    f"{names.format(number)} has {len(text):,} characters; expected at most {self.settings.max_characters:,}",
                )

    async def wait(self, request: Request, future: Future[Result]) -> Result:
        """What a thread computes for a request. Work that nobody waits for any more is taken out of its queue.

        Raises:
            Refusal: it takes longer than a request may.
            ClientGone: the client has closed the connection.
        """
        done, gone = asyncio.create_task(_done(future)), asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait((done, gone), timeout=self.settings.request_seconds, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            if gone.done():
                raise ClientGone
            raise Refusal(
                503,
                "timeout",
                f"no answer within {self.settings.request_seconds:g} seconds; send the request again later",
                {"Retry-After": "5"},
            )
        finally:
            gone.cancel()
            done.cancel()
            future.cancel()  # and with it, if it has not begun, the thread's work
            del future  # an exception that it holds refers to this frame

    def keep(self, answer: Answer, ids: Sequence[str], texts: Sequence[object]) -> None:
        """Count an answer, log it, and give its texts to the shadow. Texts that cannot be classified are only counted."""
        rows = [row for row, reason in enumerate(answer.reasons) if not reason]
        self.metrics.texts.labels("yes").inc(len(rows))
        self.metrics.texts.labels("no").inc(len(texts) - len(rows))
        if not rows:
            return
        kept_ids, kept = [ids[row] for row in rows], [str(texts[row]) for row in rows]
        probabilities = answer.probabilities[rows]
        if self.log:
            self.log.add(answer.model, kept_ids, kept, probabilities)
        if self.shadow:
            self.shadow.add(kept_ids, kept, _labels(answer.model.package.classes, probabilities))

    def submit_labels(self, rows: Sequence[Mapping[str, str]]) -> Future[Mapping[str, Any]]:
        """Have true labels kept.

        Raises:
            Refusal: there is no log, or too many labels wait; as the future's exception: the log cannot be written.
        """
        if self._add_labels is None:
            raise Refusal(
                404, "no_log", "this service keeps no prediction log, so that labels cannot be joined; see serving.log"
            )
        return self._feedback.submit(partial(_keep_labels, self._add_labels, rows))

    def refresh_metrics(self) -> None:
        """Take over what other parts count."""
        self.metrics.update(self.batcher.waiting, self._models, self.log)
        problem = self.log.counters.problem if self.log else None
        if problem and problem != self._log_problem:
            logger.warning("the prediction log has a problem: %s", problem)
        elif self._log_problem and not problem:
            logger.warning("the prediction log is written again")
        self._log_problem = problem

    async def _update(self) -> None:
        while True:
            self.refresh_metrics()
            self.monitoring.refresh(time.monotonic())
            await asyncio.sleep(SECONDS_BETWEEN_UPDATES)

    def _shadow_scored(self, same: int, different: int) -> None:
        self.metrics.shadow.labels("yes").inc(same)
        self.metrics.shadow.labels("no").inc(different)


def _labels(classes: Sequence[str], probabilities: np.ndarray) -> list[str]:
    return [classes[best] for best in probabilities.argmax(axis=1)]


def _keep_labels(add_labels: AddLabels, rows: Sequence[Mapping[str, str]]) -> Mapping[str, Any]:
    try:
        return add_labels(rows)
    except HeadwayError as error:
        logger.error("labels were not kept: %s", error)
        raise Refusal(
            503, "log_unavailable", "the labels could not be kept; send them again later", {"Retry-After": "60"}
        ) from None


async def _done(future: Future[Any]) -> None:
    """Wait until a thread has set a future.

    ``asyncio.wrap_future`` would have the future refer to itself, and so keep a result's model until a garbage collection.
    """
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: object) -> None:
        with suppress(RuntimeError):  # the loop was closed, so that nobody waits any more
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(wake)
    await done.wait()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
