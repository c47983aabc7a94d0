"""The service in processes of its own: its end in order, slow and endless clients, clients that leave, and several workers."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import psutil
import pytest
import uvicorn

from headway.errors import HeadwayError
from headway.serving.http.connections import MOST_CONNECTIONS, OTHER_FILES, Reading
from headway.serving.http.listener import bind
from headway.serving.http.server import DrainingServer
from headway.serving.http.settings import SECONDS_TO_FLUSH, SECONDS_TO_STOP, ServeSettings
from headway.serving.live.live_model import LONGEST_STOP
from tests.conftest import REPOSITORY
from tests.serving.conftest import CLASSES, TEXTS

if TYPE_CHECKING:
    from headway.serving.http.service import Service

SECONDS = 120


@dataclass
class Server:
    """A running service."""

    process: subprocess.Popen[str]
    address: str
    errors: Path

    def ask(self, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        """Status and content of an answer; JSON is parsed."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        request = urllib.request.Request(self.address + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        return status, json.loads(text) if text.startswith("{") else text

    def connect(self) -> socket.socket:
        host, port = self.address.rpartition("/")[2].split(":")
        return socket.create_connection((host, int(port)), SECONDS)

    def end(self) -> tuple[int, str]:
        """Send SIGTERM; exit status and what was written to standard error."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS), self.errors.read_text()


Start = Callable[..., Server]


@pytest.fixture
def start(saved: Path, tmp_path: Path) -> Iterator[Start]:
    """Start a service with some settings and wait until it is ready. It is killed with the test."""
    with ExitStack() as stack:

        def started(**settings: Any) -> Server:
            errors = tmp_path / "errors"
            process = stack.enter_context(launch(saved, errors, settings))
            stack.callback(process.kill)
            assert process.stdout
            line = process.stdout.readline()
            assert line.startswith("version 7 at "), errors.read_text()
            return Server(process, line.split()[-1], errors)

        yield started


def launch(package: Path, errors: Path, settings: dict[str, Any], **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.serving.http.program", str(package), json.dumps(settings)]
    with errors.open("w") as file:
        return subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=file, stdin=subprocess.DEVNULL, text=True, **options
        )


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            if found := condition():
                return found
        time.sleep(0.05)
    raise AssertionError(f"not within {SECONDS} s: {what}")


def received(connection: socket.socket) -> bytes:
    """All that arrives until the server closes the connection."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


# The end.


def test_sigterm_answers_what_was_accepted_and_ends_with_status_0(start: Start) -> None:
    server = start(slow=1.0, drain_seconds=5.0)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(server.ask, "/predict", {"text": text}) for text in TEXTS[:4]]
        wait_until(lambda: "headway_batch_texts_count 0.0" not in server.ask("/metrics")[1], "the first batch")
        server.process.send_signal(signal.SIGTERM)
        assert wait_until(lambda: server.ask("/readyz")[0] == 503, "not ready")
        late = server.ask("/predict", {"text": TEXTS[4]})  # still accepted, because a proxy may not have noticed
        assert [answer.result(SECONDS)[0] for answer in answers] == [200] * 4
        assert late[0] == 200
    assert server.process.wait(SECONDS) == 0
    assert server.process.stdout
    assert server.process.stdout.read() == "closing\nclosed\n"
    assert "Traceback" not in server.errors.read_text()


def test_a_second_sigterm_neither_shortens_the_drain_nor_interrupts_the_end(start: Start) -> None:
    server = start(drain_seconds=1_000.0, close=1.0)
    assert server.process.stdout
    for _ in range(2):
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.ask("/readyz")[0] == 503, "the drain")
    time.sleep(0.5)  # several ticks of the server, one of which would see the end of the drain
    assert server.ask("/predict", {"text": TEXTS[0]})[0] == 200
    server.process.send_signal(signal.SIGINT)
    assert server.process.stdout.readline() == "closing\n"
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(SECONDS) == 0
    assert server.process.stdout.read() == "closed\n"


def test_sigint_ends_at_once_with_status_0(start: Start) -> None:
    server = start(drain_seconds=1_000.0)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(SECONDS) == 0


def test_a_store_that_hangs_does_not_delay_the_end(start: Start) -> None:
    server = start(hang=True, request_seconds=0.5, drain_seconds=0.0)
    assert server.ask("/feedback", {"labels": [{"text": "a", "label": "b"}]})[0] == 503
    assert server.end()[0] == 0


def test_a_process_is_killed_only_after_each_of_its_parts_has_had_its_time() -> None:
    settings = ServeSettings(drain_seconds=1.0, body_seconds=2.0, request_seconds=3.0)
    threads = 2 * SECONDS_TO_STOP + 2 * LONGEST_STOP  # the queue, the shadow and their models
    assert settings.graceful_seconds > 2.0 + 3.0
    assert settings.end_seconds > 1.0 + settings.graceful_seconds + threads + SECONDS_TO_FLUSH


def test_an_idle_connection_does_not_delay_the_end(start: Start) -> None:
    server = start(drain_seconds=0.0)
    with server.connect() as idle, server.connect() as asked:
        asked.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in asked.recv(1_000)
        assert server.end()[0] == 0
        assert received(idle) == b""


# Clients.


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_too_large_is_refused_while_it_arrives(start: Start, chunked: bool) -> None:
    server = start(max_body_bytes=10_000)
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 1000000000"
    piece = b"a" * 4_096
    with server.connect() as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + length + b"\r\n\r\n"
        )
        with suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(20):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"body_too_large"' in answer
    assert server.ask("/predict", {"text": TEXTS[0]})[0] == 200


def test_a_client_that_sends_its_body_too_slowly_gets_an_error_and_holds_nothing(start: Start) -> None:
    server = start(body_seconds=0.5)
    with server.connect() as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        assert server.ask("/predict", {"text": TEXTS[0]})[0] == 200
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"body_timeout"' in answer


@pytest.mark.parametrize("sent", [b"", b"POST /predict HTTP/1.1\r\nHost: local"])
def test_a_client_that_does_not_send_its_headers_is_dropped(start: Start, sent: bytes) -> None:
    server = start()
    with server.connect() as connection:
        connection.sendall(sent)
        assert server.ask("/predict", {"text": TEXTS[0]})[0] == 200
        assert received(connection) == b""


def test_a_client_that_leaves_while_it_sends_its_body_is_counted_as_gone(start: Start) -> None:
    server = start()
    with server.connect() as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
    gone = 'headway_requests_total{path="/predict",status="499"} 1.0'
    wait_until(lambda: gone in server.ask("/metrics")[1], "the count of a client that has gone")


def test_nonsense_after_a_refusal_closes_the_connection_quietly(start: Start) -> None:
    server = start()
    with server.connect() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert b"415" in connection.recv(1_000)
        connection.sendall(b"no chunk\r\n")
        received(connection)
    status, errors = server.end()
    assert status == 0
    assert "Traceback" not in errors
    assert "Error" not in errors


class Transport:
    """A transport with as many bytes to send as a test says."""

    waiting, aborted = 0, False

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.aborted = True


def test_a_client_that_reads_slowly_is_dropped_only_if_it_reads_nothing() -> None:
    transport, calls = Transport(), []

    def call_later(_: float, function: Callable[[int], None], before: int) -> SimpleNamespace:
        handle = SimpleNamespace(cancelled=False)
        handle.cancel = lambda: setattr(handle, "cancelled", True)
        calls.append((handle, lambda: handle.cancelled or function(before)))
        return handle

    reading = Reading(SimpleNamespace(call_later=call_later), transport)  # type: ignore[arg-type]
    transport.waiting = 100
    reading.begin()
    transport.waiting = 200  # the answer before was read, and the next one waits
    reading.begin()
    calls[0][1]()
    assert not transport.aborted
    transport.waiting = 150
    calls[1][1]()
    assert not transport.aborted
    calls[2][1]()
    assert transport.aborted


def test_what_is_not_http_gets_a_json_error(start: Start) -> None:
    server = start()
    with server.connect() as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_request"


def test_the_texts_of_a_client_that_has_left_are_not_classified(start: Start) -> None:
    server = start(slow=5.0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(server.ask, "/predict", {"text": TEXTS[0]})
        wait_until(lambda: "headway_batch_texts_count 0.0" not in server.ask("/metrics")[1], "the first batch")
        body = json.dumps({"texts": TEXTS}).encode()
        with server.connect() as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            wait_until(lambda: f"headway_queue_texts {len(TEXTS):.1f}" in server.ask("/metrics")[1], "waiting texts")
        wait_until(lambda: "headway_queue_texts 0.0" in server.ask("/metrics")[1], "an empty queue")
        assert first.result(SECONDS)[0] == 200
    metrics = server.ask("/metrics")[1]
    assert "headway_batch_texts_sum 1.0" in metrics
    assert 'headway_requests_total{path="/predict",status="499"} 1.0' in metrics


# Addresses and TLS.


def test_a_port_in_use_is_one_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(HeadwayError, match="in use"):
        bind(ServeSettings(port=other.getsockname()[1]))


def test_a_second_service_at_the_same_port_is_one_error_before_either_has_a_model() -> None:
    with bind(ServeSettings(port=0)) as first, pytest.raises(HeadwayError, match="in use"):
        bind(ServeSettings(port=first.getsockname()[1]))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.7"])
def test_an_address_that_this_machine_does_not_have_is_one_error(host: str) -> None:
    with pytest.raises(HeadwayError, match="--host"):
        bind(ServeSettings(host=host, port=0))


def test_tls_files_that_are_missing_or_no_certificate_are_one_error(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    for content in (None, "not a certificate"):
        if content:
            file.write_text(content)
        with pytest.raises(HeadwayError, match="--tls-certificate"):
            bind(ServeSettings(port=0, tls_certificate=str(file), tls_key=str(file)))


def test_with_a_certificate_the_service_speaks_https(start: Start, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-keyout"]
    subprocess.run([*made, str(key), "-out", str(certificate)], check=True, capture_output=True)
    server = start(tls_certificate=str(certificate), tls_key=str(key))
    assert server.address.startswith("https://")
    trusting = ssl.create_default_context(cafile=str(certificate))
    trusting.check_hostname = False
    with urllib.request.urlopen(server.address + "/livez", context=trusting, timeout=SECONDS) as answer:
        assert json.load(answer) == {"alive": True}


# Workers.


def runs(process: int) -> bool:
    """Whether a process has not ended; one whose parent has not asked for its status has."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def processes(server: Server, most: int, token: str = "") -> set[int]:
    """The ids of the workers that answer; each connection may reach another one."""
    with ThreadPoolExecutor(8) as pool:
        return {found[1]["process"] for found in pool.map(lambda _: server.ask("/model", token=token), range(most))}


def test_a_worker_that_is_killed_is_replaced_while_the_other_answers_and_metrics_add_up(start: Start) -> None:
    server = start(workers=2, drain_seconds=0.0)
    both = wait_until(lambda: len(found := processes(server, 40)) == 2 and found, "two processes")
    killed = min(both)
    answered = sum(server.ask("/predict", {"texts": TEXTS})[0] == 200 for _ in range(10))
    os.kill(killed, signal.SIGKILL)
    with suppress(OSError):  # the one connection that the killed process had accepted
        server.ask("/predict", {"texts": TEXTS})
    now = wait_until(lambda: len(found := processes(server, 40)) == 2 and killed not in found and found, "a new process")
    assert len(now & both) == 1
    found = server.ask("/metrics")[1]
    assert answered == 10
    (texts,) = (line for line in found.splitlines() if line.startswith('headway_texts_total{classified="yes"}'))
    assert float(texts.split()[-1]) >= 10 * len(TEXTS)  # those of the killed process too
    assert 'headway_model_info{name="sentiment",role="champion",version="7"} 2.0' in found
    status, errors = server.end()
    assert status == 0
    assert f"process {killed} ended: killed by SIGKILL" in errors
    assert not any(map(runs, now))


def test_workers_end_when_their_parent_is_killed(start: Start) -> None:
    server = start(workers=2)
    (one, *_) = processes(server, 20)
    server.process.kill()
    wait_until(lambda: not runs(one), "the end of a worker")


def test_a_service_whose_workers_cannot_start_is_one_error(saved: Path, tmp_path: Path) -> None:
    with launch(saved, tmp_path / "errors", {"workers": 2, "fail": True}) as process:
        assert process.wait(SECONDS) == 2
    assert (tmp_path / "errors").read_text() == "headway: there is no champion yet\n"


def test_sighup_reaches_each_worker_and_those_that_are_started_later(start: Start, tmp_path: Path) -> None:
    old, new = "first-token-0123456789", "other-token-0123456789"
    tokens = tmp_path / "tokens"
    tokens.write_text(old)
    server = start(workers=2, token_file=str(tokens), drain_seconds=0.0)

    def statuses(token: str) -> set[int]:
        return {server.ask("/model", token=token)[0] for _ in range(20)}

    assert statuses(old) == {200}
    process = server.ask("/model", token=old)[1]["process"]
    tokens.write_text(new)
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: statuses(old) == {401}, "the new token in both processes")
    assert statuses(new) == {200}
    os.kill(process, signal.SIGKILL)
    wait_until(lambda: not runs(process), "the end of a process")
    wait_until(lambda: len(processes(server, 40, new)) == 2, "another process")
    assert statuses(old) == {401}
    assert server.end()[0] == 0


def test_ctrl_c_while_the_workers_load_ends_them_quietly(saved: Path, tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    with launch(saved, errors, {"workers": 2, "load": 600.0}, start_new_session=True) as process:
        assert process.stdout
        loading = [int(process.stdout.readline().split()[-1]) for _ in range(2)]
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(SECONDS) == 0
    assert errors.read_text() == ""
    assert not any(map(runs, loading))


def test_concurrent_clients_of_one_connection_pool_all_get_answers(start: Start) -> None:
    server = start()
    done = threading.Barrier(8)

    def ask(_: int) -> set[int]:
        done.wait(SECONDS)
        return {server.ask("/predict", {"texts": TEXTS})[0] for _ in range(5)}

    with ThreadPoolExecutor(8) as pool:
        assert set().union(*pool.map(ask, range(8))) == {200}


# The page of the documentation.


def test_the_python_in_the_documentation_works_as_written(start: Start) -> None:
    text = (REPOSITORY / "docs" / "howto" / "serve.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```py\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    address = start().address
    assert "http://127.0.0.1:8000" in script
    run = [sys.executable, "-c", script.replace("http://127.0.0.1:8000", address)]
    lines = subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] in CLASSES for line in lines] == [True, True]


def test_a_process_may_open_as_many_connections_as_may_wait() -> None:
    program = (
        "import resource; from headway.serving.http.connections import allow_connections; "
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)); "
        "most = allow_connections(); print(*resource.getrlimit(resource.RLIMIT_NOFILE), most); "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300)); most = allow_connections(); "
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE), most)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, check=True)
    (soft, hard, most), limited = (line.split() for line in done.stdout.splitlines())
    assert int(soft) == min(MOST_CONNECTIONS + OTHER_FILES, int(hard))
    assert int(most) == int(soft) - OTHER_FILES
    assert limited == ["300", "300", "100"]  # of connections that get a file, the rest is closed
    assert ServeSettings().queue_texts < MOST_CONNECTIONS  # a full queue is answered with 429, and comes first


def test_garbage_is_not_looked_for_among_the_objects_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def startup(*_: Any) -> None:
        pass

    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    frozen: list[int] = []
    server = DrainingServer(
        uvicorn.Config(lambda: None), cast("Service", None), lambda: frozen.append(gc.get_freeze_count())
    )
    try:
        asyncio.run(server.startup())
    finally:
        gc.unfreeze()
    assert frozen[0] > 10_000
