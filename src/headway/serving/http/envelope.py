"""The outer middleware: every response gets an id and security headers, every request a line in the access log and its metrics.

An error that nobody foresaw becomes a JSON error with that id. Neither the answer nor the log has a stack trace, a query
string, or a path that the service does not know.
"""

from __future__ import annotations

import logging
import os
import time
import uuid

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headway import environment
from headway.serving.http.metrics import Metrics
from headway.serving.http.refusals import Refusal

PATHS = frozenset(
    {
        "/",
        "/predict",
        "/explain",
        "/feedback",
        "/model",
        "/status",
        "/livez",
        "/readyz",
        "/metrics",
        "/docs",
        "/openapi.json",
    }
)
OTHER = "(other)"
#: Status of a request whose client has gone; it is only seen in the log and the metrics.
CLIENT_GONE = 499
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

access = logging.getLogger("headway.access")
log = logging.getLogger(__name__)


class Envelope:
    """Wraps the whole application. ``scope["state"]["request_id"]`` is the id of a request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            with_trace = environment.DEBUG in os.environ
            log.error("request %s failed: %s", request_id, type(error).__name__, exc_info=error if with_trace else None)
            if not status:  # otherwise a part of an answer was sent, and the server closes the connection
                failure = Refusal(500, "internal", "the service failed; its log has a line with this X-Request-ID")
                await failure.response()(scope, receive, send_with_headers)
        finally:
            self._note(scope, status, time.perf_counter() - started, request_id)

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        path = scope["path"] if scope["path"] in PATHS else OTHER
        self.metrics.requests.labels(path, status).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        if path in ("/livez", "/readyz") and status == 200:
            return  # asked every few seconds
        client = (scope.get("client") or ("-",))[0]
        holder = scope["state"].get("holder", "-")
        access.info("%s %s %s %s %d %.1f ms %s", client, holder, scope["method"], path, status, seconds * 1000, request_id)
