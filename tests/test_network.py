"""Whether a server answers, asked of real ones on this machine."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headway.errors import Unreachable
from headway.network import require_answer, without_password


class Guarded(BaseHTTPRequestHandler):
    """Turns away whoever does not bring the password, and keeps what was brought."""

    brought: list[str | None]

    def do_GET(self) -> None:
        given = self.headers["Authorization"]
        self.brought.append(given)
        self.send_response(200 if given else 401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen."""


@pytest.fixture
def guarded() -> Iterator[tuple[str, list[str | None]]]:
    """A server's host and port, and the authorisation of each request that it got."""
    brought: list[str | None] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Guarded,), {"brought": brought}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", brought
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("written", "meant"), [("user:secret", "user:secret"), ("user:p%40ss%2Fword", "user:p@ss/word")])
def test_user_and_password_of_a_url_are_sent_as_authorisation(
    guarded: tuple[str, list[str | None]], written: str, meant: str
) -> None:
    address, brought = guarded
    require_answer(f"http://{written}@{address}/health", "the server", "start it")
    assert brought == ["Basic " + base64.b64encode(meant.encode()).decode()]


def test_a_server_that_turns_a_request_away_does_answer(guarded: tuple[str, list[str | None]]) -> None:
    address, brought = guarded
    require_answer(f"http://{address}/health", "the server", "start it")
    assert brought == [None]


@pytest.mark.parametrize("url", ["http://user:secret@127.0.0.1:9/health", "http://[/health", "http://no host/health"])
def test_silence_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(Unreachable, match=r"^the server does not answer \(.+\); start it$") as told:
        require_answer(url, "the server", "start it")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@host:5000/path", "https://host:5000/path"),
        ("postgresql://user:p@ss@host/mlflow", "postgresql://host/mlflow"),
        ("API request to http://user:secret@host/api failed", "API request to http://host/api failed"),
        ("http://host/a@b", "http://host/a@b"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
    ],
)
def test_a_password_is_not_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown
