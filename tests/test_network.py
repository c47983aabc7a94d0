"""Reachability checks against real servers on this machine."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tenacity

from headway import network
from headway.errors import Unreachable
from headway.network import check_reachable, retried


class RequiresAuthorization(BaseHTTPRequestHandler):
    """Answers 401 to requests without an Authorization header, and records the header of every request."""

    received: list[str | None]

    def do_GET(self) -> None:
        header = self.headers["Authorization"]
        self.received.append(header)
        self.send_response(200 if header else 401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[str | None]]]:
    """A server's host and port, and the Authorization header of each request it received."""
    received: list[str | None] = []
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (RequiresAuthorization,), {"received": received}))
    thread = threading.Thread(target=http_server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{http_server.server_port}", received
    http_server.shutdown()
    thread.join()
    http_server.server_close()


@pytest.mark.parametrize(("written", "sent"), [("user:secret", "user:secret"), ("user:p%40ss%2Fword", "user:p@ss/word")])
def test_credentials_in_a_url_are_sent_as_authorization(
    server: tuple[str, list[str | None]], written: str, sent: str
) -> None:
    address, received = server
    check_reachable(f"http://{written}@{address}/health", "the server", "start it")
    assert received == ["Basic " + base64.b64encode(sent.encode()).decode()]


def test_a_server_that_rejects_the_request_is_reachable(server: tuple[str, list[str | None]]) -> None:
    address, received = server
    check_reachable(f"http://{address}/health", "the server", "start it")
    assert received == [None]


@pytest.mark.parametrize("url", ["http://user:secret@127.0.0.1:9/health", "http://[/health", "http://no host/health"])
def test_an_unreachable_server_is_one_line_without_credentials(url: str) -> None:
    with pytest.raises(Unreachable, match=r"^the server does not answer \(.+\); start it$") as error:
        check_reachable(url, "the server", "start it")
    assert "secret" not in str(error.value)


class Flaky:
    """Fails with the same error a number of times before it succeeds."""

    def __init__(self, failures: int) -> None:
        self.failures, self.calls = failures, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError("reset\nby the server")
        return "done"


@pytest.mark.parametrize(("failures", "attempts"), [(0, None), (2, None), (1, 2)])
def test_an_action_is_retried_and_each_further_attempt_is_one_line(
    monkeypatch: pytest.MonkeyPatch, failures: int, attempts: int | None
) -> None:
    monkeypatch.setattr(network, "WAIT", tenacity.wait_none())
    notes: list[str] = []
    assert retried(action := Flaky(failures), lambda error: True, "file.csv", notes.append, attempts=attempts) == "done"
    assert action.calls == failures + 1
    most = attempts or network.ATTEMPTS
    expected = [f"file.csv: reset; attempt {number} of {most} in 0 s" for number in range(2, failures + 2)]
    assert notes == expected


@pytest.mark.parametrize(("is_transient", "calls"), [(True, network.ATTEMPTS), (False, 1)])
def test_the_last_error_is_raised(monkeypatch: pytest.MonkeyPatch, is_transient: bool, calls: int) -> None:
    monkeypatch.setattr(network, "WAIT", tenacity.wait_none())
    action = Flaky(100)
    with pytest.raises(ConnectionError):
        retried(action, lambda error: is_transient, "file.csv", lambda line: None)
    assert action.calls == calls
