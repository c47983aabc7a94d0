"""The service's errors: a status, a code for programs, and one sentence for people, always as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        code: for programs; it does not change.
        message: for people; it quotes nothing of the request's texts.
        headers: of the response.
    """

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})

    def response(self) -> Response:
        """The refusal as a response."""
        return json_response({"error": {"code": self.code, "message": self.message}}, self.status, self.headers)


def busy(message: str, seconds: float = 1.0, code: str = "busy") -> Refusal:
    """A refusal of a request that may be sent again after some seconds."""
    return Refusal(429, code, message, {"Retry-After": str(max(1, round(seconds + 0.5)))})


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with JSON."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )
    return Response(body, status, dict(headers or {}), "application/json")
