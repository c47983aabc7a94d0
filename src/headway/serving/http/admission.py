"""The inner middleware: which requests are let in, and their bodies, which are read within limits of size and time.

A request is checked in this order: Host, token, rate, Origin, type of the body, size of the body. If it is refused before its
body has arrived, the rest of the body is dropped for a moment: otherwise the client would see a broken connection instead of the
answer.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headway.errors import HeadwayError
from headway.serving.http.envelope import CLIENT_GONE
from headway.serving.http.metrics import Metrics
from headway.serving.http.refusals import Refusal, busy
from headway.serving.http.settings import ServeSettings
from headway.serving.http.status import PATH as STATUS
from headway.serving.http.status import prefers_page
from headway.serving.http.tokens import RateLimit, host_allowed, origin_allowed, read_token_file

#: Paths that can be read without a token: pages and probes, which say nothing about texts.
OPEN = frozenset({"/", "/docs", "/openapi.json", "/livez", "/readyz"})
#: An orchestrator's probes name an address in Host that cannot be listed in advance.
PROBES = frozenset({"/livez", "/readyz"})
#: Other requests for these paths are treated like those for any path, so that nobody can send a body without a token.
READING = frozenset({"GET", "HEAD"})
#: The holder of requests without a token, where none is needed.
ANYONE = "-"
LINGER_SECONDS = 2.0

log = logging.getLogger(__name__)


class Access:
    """The tokens that are accepted now, and their rates."""

    def __init__(self, settings: ServeSettings) -> None:
        self._tokens, self._file = settings.tokens, settings.token_file
        self._rate = RateLimit(settings.rate / settings.workers)
        self.reload()  # a process that is started later must not accept tokens that have been removed since

    def reload(self) -> None:
        """Read the token file again. If it cannot be used, the tokens stay as they are."""
        if self._file:
            try:
                self._tokens = read_token_file(Path(self._file))
            except HeadwayError as error:
                log.error("the tokens stay as they are: %s", error)

    def holder(self, authorization: str) -> str | None:
        """A name for the token of a request; None if a token is needed and this one is not accepted."""
        return self._tokens.holder(authorization) if self._tokens else ANYONE

    def admit(self, authorization: str) -> str:
        """The same, counted towards the token's rate.

        Raises:
            Refusal: the token is not accepted, or has sent too many requests.
        """
        holder = self.holder(authorization)
        if holder is None:
            raise Refusal(
                401,
                "token_needed",
                "this service needs a valid token; send it in the header Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        if seconds := self._rate.wait(holder):
            raise busy("this token has sent too many requests; wait for the seconds in Retry-After", seconds, "rate_limited")
        return holder


@dataclass
class _Body:
    """What has arrived of a request's body."""

    data: bytearray = field(default_factory=bytearray)
    complete: bool = False


class Admission:
    """Lets requests in, with their bodies read, or refuses them. ``scope["state"]["holder"]`` names a request's token."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, access: Access, metrics: Metrics) -> None:
        self.app, self.settings, self.access, self.metrics = app, settings, access, metrics
        self._bytes = 0  # of the bodies of all requests in progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        body = _Body(complete="transfer-encoding" not in headers and headers.get("content-length", "0") == "0")
        try:
            self._check(scope, headers, body)
            if not body.complete and not await self._read(receive, body):
                await Response(status_code=CLIENT_GONE)(scope, receive, send)  # for the log and the metrics
                return
        except Refusal as refusal:
            self.metrics.rejected.labels(refusal.code).inc()
            await _refuse(refusal, body.complete, scope, receive, send)
        else:
            await self.app(scope, _replayed(bytes(body.data), receive), send)
        finally:
            self._bytes -= len(body.data)

    def _check(self, scope: Scope, headers: Headers, body: _Body) -> None:
        """Raise a Refusal for a request that is not let in, as far as its headers say."""
        path = scope["path"] if scope["method"] in READING else None
        host = headers.get("host", "")
        if path not in PROBES and not host_allowed(host, self.settings.allowed_hosts):
            raise Refusal(
                403, "host_not_allowed", "the Host header names a host that this service does not have; see --allowed-host"
            )
        # The page itself holds no data; its script asks `/status` with a token.
        is_page = path == STATUS and prefers_page(headers.get("accept", ""))
        if path not in OPEN and not is_page:
            scope["state"]["holder"] = self.access.admit(headers.get("authorization", ""))
        if scope["method"] != "POST":
            if not body.complete:
                raise Refusal(400, "body_not_expected", "only POST requests have a body")
            return
        origin = headers.get("origin")
        if origin is not None and not origin_allowed(origin, host, self.settings.cors_origins):
            raise Refusal(403, "origin_not_allowed", "pages of this origin may not ask this service; see --cors-origin")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "not_json", "send JSON, with the header Content-Type: application/json")
        if int(headers.get("content-length", "0")) > self.settings.max_body_bytes:
            raise self._too_large()

    async def _read(self, receive: Receive, body: _Body) -> bool:
        """Read a body, as it arrives; returns whether the client is still there.

        Raises:
            Refusal: it is too large, takes too long, or there are too many bodies at the moment.
        """
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                while not body.complete:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    body.complete = not message.get("more_body", False)
                    chunk = message.get("body", b"")
                    if len(body.data) + len(chunk) > self.settings.max_body_bytes:
                        raise self._too_large()
                    if self._bytes + len(chunk) > self.settings.max_waiting_bytes:
                        raise busy("the service is answering other large requests; send this one again later")
                    body.data += chunk
                    self._bytes += len(chunk)
        except TimeoutError:
            raise Refusal(
                408, "body_timeout", f"the body did not arrive within {self.settings.body_seconds:g} seconds"
            ) from None
        return True

    def _too_large(self) -> Refusal:
        most = self.settings.max_body_bytes
        return Refusal(413, "body_too_large", f"the body has more than {most:,} bytes; send the texts in several requests")


async def _refuse(refusal: Refusal, complete: bool, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a refusal. Unless the request is complete, read on for a moment and then have the connection closed."""
    response = refusal.response()
    if complete:
        await response(scope, receive, send)
        return
    response.headers["Connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            more = True
            while more:
                more = (await receive()).get("more_body", False)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the whole body first, and then what comes after it: that the client has gone."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
