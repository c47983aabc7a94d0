"""Metrics for Prometheus. With several processes, each writes its own to a shared folder, and any of them answers the sum."""

from __future__ import annotations

import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from headway.serving.http.interfaces import LiveModel, PredictionLog
from headway.serving.http.settings import METRICS_FOLDER

#: Paths that ask the model something, or tell it what was right.
ASKING = frozenset({"/predict", "/explain", "/feedback"})
CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """All metrics of one process."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self._registry = own
        self.requests = Counter("headway_requests", "Requests by path and status.", ["path", "status"], registry=own)
        self.seconds = Histogram(
            "headway_request_seconds", "From the request's headers to its answer.", ["path"], buckets=SECONDS, registry=own
        )
        self.texts = Counter("headway_texts", "Texts, by whether they could be classified.", ["classified"], registry=own)
        self.batch = Histogram("headway_batch_texts", "Texts classified together.", buckets=TEXTS, registry=own)
        self.rejected = Counter("headway_rejected", "Requests that were refused, by code.", ["reason"], registry=own)
        self.shadow = Counter("headway_shadow_texts", "Texts scored by the shadow, by agreement.", ["agrees"], registry=own)
        self.shadow_dropped = Counter("headway_shadow_dropped_texts", "Texts that the shadow left out.", registry=own)
        self._queue = self._gauge("headway_queue_texts", "Texts that wait to be classified.")
        self._model = self._gauge(
            "headway_model_info", "Number of processes that serve a version.", "name", "version", "role"
        )
        self._stale = self._gauge("headway_model_problem", "Number of processes that cannot load the newest model.", "role")
        self._swaps = Counter("headway_model_swaps", "Models swapped in.", ["role"], registry=own)
        self._failures = Counter("headway_model_failures", "Failures to find or load a model.", ["role"], registry=own)
        self._log_written = Counter("headway_log_rows_written", "Rows written to the prediction log.", registry=own)
        self._log_dropped = Counter("headway_log_rows_dropped", "Rows that the prediction log lost.", registry=own)
        self._log_failed = Counter("headway_log_failed_writes", "Failed writes of the prediction log.", registry=own)
        self._log_waiting = self._gauge("headway_log_rows_waiting", "Rows that wait to be written to the prediction log.")
        self._seen: dict[str, int] = {}
        self._served: dict[str, tuple[str, str]] = {}  # name and version by role

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, registry=self._registry, multiprocess_mode="livesum")

    def update(self, waiting: int, models: dict[str, LiveModel], log: PredictionLog | None) -> None:
        """Take over what others count: the length of the queue, the live models by role, and the prediction log."""
        self._queue.set(waiting)
        for role, live in models.items():
            status, name = live.status, live.current.name
            self._add(self._swaps.labels(role), "swaps" + role, status.swaps)
            self._add(self._failures.labels(role), "failures" + role, status.failures)
            self._stale.labels(role).set(status.problem is not None)
            served = name, status.version
            if (before := self._served.get(role)) and before != served:
                self._model.labels(*before, role).set(0)
            self._model.labels(*served, role).set(1)
            self._served[role] = served
        if log:
            counters = log.counters
            self._add(self._log_written, "written", counters.rows_written)
            self._add(self._log_dropped, "dropped", counters.rows_dropped)
            self._add(self._log_failed, "failed", counters.failed_writes)
            self._log_waiting.set(counters.rows_waiting)

    def _add(self, counter: Counter, key: str, total: int) -> None:
        """Add what a total has grown by since the last time."""
        counter.inc(max(0, total - self._seen.get(key, 0)))
        self._seen[key] = total

    def render(self) -> bytes:
        """All metrics in the text format, of all processes of the service."""
        return generate_latest(self._all())

    def counts(self) -> dict[str, int]:
        """Requests and texts of all processes since the start, by what became of them."""
        found = {"answered": 0, "refused": 0, "failed": 0, "texts": 0, "texts_not_classified": 0}
        for metric in self._all().collect():
            for sample in metric.samples:
                if sample.name == "headway_requests_total" and sample.labels["path"] in ASKING:
                    status = int(sample.labels["status"])
                    kind = "answered" if status < 400 else "refused" if status < 500 else "failed"
                    found[kind] += int(sample.value)
                elif sample.name == "headway_texts_total":
                    found["texts" if sample.labels["classified"] == "yes" else "texts_not_classified"] += int(sample.value)
        return found

    def _all(self) -> CollectorRegistry:
        """The metrics of all processes of the service."""
        folder = os.environ.get(METRICS_FOLDER)
        if not folder:
            return self._registry
        together = CollectorRegistry()
        MultiProcessCollector(together, path=folder)  # type: ignore[no-untyped-call]
        return together
