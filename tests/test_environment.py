"""The environment that Headway sets up: with a proxy, loopback is still reached directly, by every client that we use."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headway import environment

# Asks a server on loopback through each client: requests (MLflow and our own checks), httpx (Prefect), urllib (DVC and others),
# botocore's rules, and what websockets (Prefect's events) would use.
CLIENTS = """
import http.server, threading, urllib.request
from headway import environment
environment.configure()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("H", (http.server.BaseHTTPRequestHandler,), {
    "do_GET": lambda self: (self.send_response(200), self.end_headers()), "log_message": lambda *_: None}))
threading.Thread(target=server.serve_forever, daemon=True).start()
import httpx, requests
from botocore.utils import get_environ_proxies
from websockets.proxy import get_proxy
from websockets.uri import parse_uri
for host in ("127.0.0.1", "localhost"):
    url = f"http://{host}:{server.server_port}/"
    assert requests.get(url, timeout=5).status_code == 200
    assert httpx.get(url, timeout=5).status_code == 200
    assert urllib.request.urlopen(url, timeout=5).status == 200
    assert get_environ_proxies(url) == {}
    assert get_proxy(parse_uri(url.replace("http", "ws"))) is None
"""


@pytest.fixture
def black_hole() -> Iterator[tuple[str, list[object]]]:
    """The URL of a proxy that accepts connections and never answers, and the connections that it got."""
    listening, connections = socket.create_server(("127.0.0.1", 0)), []

    def accept() -> None:
        while True:
            try:
                connections.append(listening.accept())
            except OSError:
                return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}", connections
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
def test_loopback_is_reached_directly_by_every_client(black_hole: tuple[str, list[object]], name: str) -> None:
    url, connections = black_hole
    clean = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", CLIENTS], env={**clean, name: url}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not connections


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_the_users_own_exceptions_are_kept_in_both_spellings(no_proxies: pytest.MonkeyPatch, name: str) -> None:
    no_proxies.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    no_proxies.setenv(name, ".corp.example, 10.0.0.0/8,localhost")
    # Set here, so that monkeypatch removes them afterwards.
    other = "NO_PROXY" if name == "no_proxy" else "no_proxy"
    no_proxies.setenv(other, "")
    for _ in range(2):  # a child process configures again
        environment.configure()
        for spelling in ("no_proxy", "NO_PROXY"):
            assert os.environ[spelling] == ".corp.example,10.0.0.0/8,localhost,127.0.0.1,::1"


def test_an_exception_for_everything_stays_one(no_proxies: pytest.MonkeyPatch) -> None:
    no_proxies.setenv("HTTP_PROXY", "http://proxy.example:3128")
    no_proxies.setenv("NO_PROXY", "*")
    no_proxies.setenv("no_proxy", "")
    environment.configure()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "*"


def test_without_a_proxy_no_exception_is_set(no_proxies: pytest.MonkeyPatch) -> None:
    environment.configure()
    assert "no_proxy" not in os.environ
    assert "NO_PROXY" not in os.environ


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process in which nothing is set yet, and PyTorch is not imported."""
    for name in (*environment.WAITING, environment.CHOSEN):
        monkeypatch.setenv(name, "")  # so that it is restored afterwards
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    return monkeypatch


def test_threads_sleep_if_the_machine_is_busy_and_a_child_process_decides_again(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(environment, "is_busy", lambda: True)
    environment.limit_spinning()
    assert os.environ[environment.SPINNING] == "0"
    fresh.setattr(environment, "is_busy", lambda: False)
    environment.limit_spinning()
    assert environment.SPINNING not in os.environ


@pytest.mark.parametrize("name", environment.WAITING)
def test_the_users_own_way_to_wait_is_kept(fresh: pytest.MonkeyPatch, name: str) -> None:
    fresh.setattr(environment, "is_busy", lambda: True)
    fresh.setenv(name, "7")
    environment.limit_spinning()
    assert {key: os.environ.get(key) for key in environment.WAITING} == dict.fromkeys(environment.WAITING) | {name: "7"}


def test_nothing_is_set_once_pytorch_is_imported(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(environment, "is_busy", lambda: True)
    fresh.setitem(sys.modules, "torch", sys)
    environment.limit_spinning()
    assert environment.SPINNING not in os.environ


@pytest.mark.parametrize(("running", "busy"), [(1, False), (2, False), (3, True), (6, True)])
def test_a_machine_is_busy_if_fewer_than_two_cores_are_free(
    fresh: pytest.MonkeyPatch, tmp_path: Path, running: int, busy: bool
) -> None:
    fresh.setattr(os, "cpu_count", lambda: 3)
    fresh.setattr(environment, "RUNNING", tmp_path / "loadavg")
    (tmp_path / "loadavg").write_text(f"0.10 0.20 0.30 {running}/512 4711\n")
    assert environment.is_busy() is busy


@pytest.mark.parametrize("content", [None, "", "0.1 0.2 0.3 many/512 1\n"])
def test_a_system_that_does_not_tell_its_load_is_taken_for_quiet(
    fresh: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    fresh.setattr(environment, "RUNNING", tmp_path / "loadavg")
    if content is not None:
        (tmp_path / "loadavg").write_text(content)
    assert not environment.is_busy()
