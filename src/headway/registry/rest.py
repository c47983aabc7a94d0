"""Requests to an MLflow server's REST API, with Python's standard library alone.

Credentials come from the same variables as MLflow's: ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``, or
``MLFLOW_TRACKING_TOKEN``, or the user and password in the server's address. ``MLFLOW_TRACKING_SERVER_CERT_PATH`` names the
certificates of a private authority.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from headway.environment import keep_loopback_off_proxies
from headway.errors import HeadwayError, Unreachable, first_line, redact_credentials

API, ARTIFACTS = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts/artifacts"
#: Seconds without a byte before a request fails. A server may first copy an artifact from its store before it passes it on.
SECONDS, ARTIFACT_SECONDS = 10, 300
#: Bytes of a JSON response that are read, and bytes of a file that are read at a time.
MAX_JSON, CHUNK = 10_000_000, 1 << 20
PORTS = {"http": 80, "https": 443}
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
LOGIN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to an account that may read"


class NotFound(HeadwayError):
    """The server answers that there is no such thing."""


class Refused(Unreachable):
    """The server answers that this account may not do that, or that there is no such account."""


class MlflowServer:
    """An MLflow server over HTTP.

    Args:
        uri: its address, with a user and a password or without.
    """

    def __init__(self, uri: str) -> None:
        keep_loopback_off_proxies()
        found = urlsplit(uri)
        self._base = found._replace(netloc=found.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")
        self._authorization = _authorization(found.username, found.password)
        self.name = f"MLflow at {redact_credentials(uri)}"
        certificates = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None
        try:
            secure = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=certificates))
        except OSError as error:
            raise HeadwayError(
                f"MLFLOW_TRACKING_SERVER_CERT_PATH: {certificates}: no certificates can be read from it ({first_line(error)})"
            ) from None
        self._opener = urllib.request.build_opener(secure, _Redirects())

    def get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The JSON object at a path of the API, such as ``/model-versions/get``.

        Raises:
            NotFound: there is no such thing.
            Refused: the account is missing, or may not read it.
            Unreachable: the server does not answer, or answers with something else.
        """
        return self._json(f"{API}{path}?{urlencode(query)}")

    def version(self) -> str:
        """The version of MLflow that the server reports; errors as for :meth:`get`."""
        with self._opened("/version", SECONDS) as response, self._answering():
            return first_line(response.read(100).decode("utf-8", "replace"))

    def list_artifacts(self, path: str) -> list[dict[str, Any]]:
        """Names (``path``) and kinds (``is_dir``) of what is in a folder of the server's artifact store; errors as above."""
        files = self._json(f"{ARTIFACTS}?{urlencode({'path': path})}").get("files", [])
        return [file for file in files if isinstance(file, dict)]

    def download(self, path: str, file: Path, max_bytes: int | None = None) -> None:
        """Write a file of the server's artifact store to the disk, a part at a time.

        Raises:
            NotFound: there is no such file, or it is larger than ``max_bytes``.
            Unreachable: the server does not answer, refuses, or ends the transfer early.
        """
        with self._opened(f"{ARTIFACTS}/{quote(path)}", ARTIFACT_SECONDS) as response, file.open("wb") as written:
            size = 0
            for part in iter(self._reader(response), b""):
                size += len(part)
                if max_bytes is not None and size > max_bytes:
                    raise NotFound(f"{path}: more than {max_bytes:,} bytes, more than any model package needs")
                written.write(part)
            expected = response.headers.get("Content-Length", "")
            if expected.isdigit() and size != int(expected):
                raise Unreachable(f"{self.name} ended the transfer of {path} after {size:,} of {int(expected):,} bytes")

    def _reader(self, response: HTTPResponse) -> Callable[[], bytes]:
        def read() -> bytes:
            with self._answering():
                return response.read(CHUNK)

        return read

    def _json(self, address: str) -> dict[str, Any]:
        with self._opened(address, SECONDS) as response, self._answering():
            value = json.loads(response.read(MAX_JSON))
            if not isinstance(value, dict):
                raise ValueError("expected a JSON object")
        return value

    @contextmanager
    def _opened(self, address: str, seconds: float) -> Iterator[HTTPResponse]:
        headers = {"Authorization": self._authorization} if self._authorization else {}
        request = urllib.request.Request(self._base + address, headers=headers)
        with self._answering():
            response = self._opener.open(request, timeout=seconds)
        with response:
            yield response

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn what goes wrong with a request into one line."""
        try:
            yield
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (OSError, HTTPException) as error:
            reason = first_line(str(error.reason) if isinstance(error, urllib.error.URLError) else error)
            raise Unreachable(
                f"{self.name} does not answer ({reason}); start that server, or correct MLFLOW_TRACKING_URI"
            ) from None
        except (ValueError, RecursionError) as error:
            raise Unreachable(
                f"{self.name} does not answer as an MLflow server does ({first_line(error)}); correct MLFLOW_TRACKING_URI"
            ) from None

    def _refusal(self, error: urllib.error.HTTPError) -> HeadwayError:
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return Refused(f"{self.name} refuses with status {error.code}; {LOGIN}")
        try:
            code = json.loads(error.read(MAX_JSON))["error_code"]
        except (OSError, HTTPException, ValueError, RecursionError, KeyError, TypeError):
            code = ""
        if code in MISSING:
            return NotFound(f"{self.name} has no such thing ({code})")
        return Unreachable(f"{self.name} answers with error {error.code}; see its log")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and sends the credentials to no other server, and not from HTTPS to HTTP."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and not _same_server(req.full_url, newurl):
            new.remove_header("Authorization")
        return new


def _same_server(before: str, after: str) -> bool:
    """Whether two addresses have the same scheme, host and port, or the second one is the HTTPS of the first one's host."""
    old, new = urlsplit(before), urlsplit(after)
    if old.hostname != new.hostname:
        return False
    if (old.scheme, new.scheme) == ("http", "https"):
        return True
    return old.scheme == new.scheme and (old.port or PORTS.get(old.scheme)) == (new.port or PORTS.get(new.scheme))


def _authorization(user: str | None, password: str | None) -> str:
    """The value of the header, "" without credentials; the variables win over the address, as in MLflow."""
    name, secret = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if not (name and secret):
        if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
            return f"Bearer {token}"
        if user is None:
            return ""
        name, secret = unquote(user), unquote(password or "")
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode("ascii")
