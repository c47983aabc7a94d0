"""Servers that hang, lie, or send too much: each is one line in a bounded time, and leaves nothing on the disk."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
import pytest
import tenacity

from headway import network, progress
from headway.data.sources import remote, streams, transfer, web
from headway.data.sources.transfer import Transfer

TABLE = b"text,label\nfine,1\ndull,0\n"
Answer = Callable[[socket.socket, str], None]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between attempts, and short time-outs."""
    monkeypatch.setattr(network, "WAIT", tenacity.wait_none())
    monkeypatch.setattr(network, "ATTEMPTS", 2)
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(transfer, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(transfer, "LISTING_SECONDS", 0.6)


class Server:
    """A server that answers each request as a function pleases, which gets the socket and the request."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.answer, self.context = answer, context
        self.requests: list[str] = []
        self.closed = threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while not self.closed.is_set():
            with suppress(OSError):
                connection, _ = self.socket.accept()
                threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            request = connection.recv(65536).decode(errors="replace")
            self.requests.append(request)
            self.answer(connection, request)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(65536)

    def drip(self, connection: socket.socket, piece: bytes = b"x") -> None:
        """One piece now and then, without an end."""
        while not self.closed.wait(0.05):
            connection.sendall(piece)


@contextmanager
def serving(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(answer, context)
    try:
        yield server
    finally:
        server.closed.set()
        server.socket.close()


def answer(status: str = "200 OK", body: bytes = b"", **headers: Any) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        "Connection: close",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def fixed(content: bytes) -> Answer:
    return lambda connection, _: connection.sendall(content)


@pytest.fixture
def refused(refusal: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """The line with which a file of a server is refused, which has left nothing on the disk."""

    def check(server: Server, name: str = "reviews.csv", **knobs: Any) -> str:
        started = time.monotonic()
        message = refusal(f"{server.url}/{name}", **knobs)
        assert time.monotonic() - started < 10
        assert message.startswith(f"{server.url}/{name}: ")
        assert [path for path in (tmp_path / ".scratch").rglob("*") if path.is_file()] == []
        return message

    return check


# Silence and slowness


def silent(server: Server, connection: socket.socket) -> None:
    server.closed.wait()


def dripping_headers(server: Server, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    server.drip(connection)


def silent_body(server: Server, connection: socket.socket) -> None:
    connection.sendall(answer(Content_Length=10_000) + b"text,label\n")
    server.closed.wait()


def dripping_body(server: Server, connection: socket.socket) -> None:
    connection.sendall(answer(Content_Length=10**9))
    server.drip(connection)


def dripping_chunks(server: Server, connection: socket.socket) -> None:
    connection.sendall(answer(Transfer_Encoding="chunked"))
    server.drip(connection, b"1\r\nx\r\n")


@pytest.mark.parametrize("behave", [silent, dripping_headers, silent_body, dripping_body, dripping_chunks])
def test_a_server_that_stalls_is_given_up(refused: Callable[..., str], behave: Callable[..., None]) -> None:
    with serving(lambda connection, _: behave(server, connection)) as server:
        message = refused(server)
    assert re.search(r"cannot be downloaded: \d+ bytes arrived in 0\.3 seconds, 2 attempts; check the network", message)
    assert len(server.requests) == 2


@pytest.mark.parametrize(("call", "seconds"), [("info", "0.5"), ("find", "0.6")])
def test_a_store_that_does_not_answer_is_given_up(
    refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch, call: str, seconds: str
) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/headway-slow/a.csv", TABLE)
    stop = threading.Event()
    monkeypatch.setattr(store, call, lambda path: stop.wait())
    try:
        message = refusal("memory://headway-slow")
    finally:
        stop.set()
        monkeypatch.undo()
        store.rm("/headway-slow", recursive=True)
    assert f"cannot be downloaded: 0 bytes arrived in {seconds} seconds, 2 attempts" in message


def test_a_server_that_stalls_when_it_is_asked_for_the_version_is_given_up(
    read_file: Callable[..., Any], refusal: Callable[..., str]
) -> None:
    def behave(connection: socket.socket, request: str) -> None:
        if request.startswith("HEAD"):
            dripping_headers(server, connection)
        connection.sendall(answer(body=TABLE, Content_Length=len(TABLE), ETag='"1"'))

    with serving(behave) as server:
        assert len(read_file(f"{server.url}/reviews.csv").rows) == 2
        assert "0 bytes arrived in 0.5 seconds, 2 attempts" in refusal(f"{server.url}/reviews.csv")


def test_a_store_that_stalls_is_given_up(
    refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/headway-slow.csv", TABLE)
    stop = threading.Event()

    def stall(path: str, target: str, callback: Any) -> None:
        Path(target).write_bytes(TABLE[:5])
        callback.relative_update(5)
        stop.wait()

    monkeypatch.setattr(store, "get_file", stall)
    try:
        # On a busy machine the second attempt may not get as far.
        assert re.search("[05] bytes arrived in 0.3 seconds, 2 attempts", refusal("memory://headway-slow.csv"))
    finally:
        stop.set()
        store.rm("/headway-slow.csv")
    assert list((tmp_path / ".scratch").rglob("*.partial")) == []


# Too much


def endless(connection: socket.socket, _: str) -> None:
    connection.sendall(answer(Transfer_Encoding="chunked"))
    while True:
        connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


def test_a_file_above_the_limit_is_refused_before_it_is_read(refused: Callable[..., str]) -> None:
    with serving(fixed(answer(Content_Length=3_000_000_000))) as server:
        message = refused(server, max_download_mb=2000.0)
    assert message.endswith(": 3,000 MB, data.max_download_mb allows 2,000; raise it if the file is meant to be this large")
    assert len(server.requests) == 1


def test_a_file_of_unknown_size_is_stopped_at_the_limit(refused: Callable[..., str]) -> None:
    with serving(endless) as server:
        message = refused(server, max_download_mb=5.0)
    assert "more than 5 MB, data.max_download_mb allows 5;" in message
    assert len(server.requests) == 1


def test_content_that_grows_when_it_is_decoded_is_stopped_at_the_limit(refused: Callable[..., str]) -> None:
    bomb = gzip.compress(b"x" * 50_000_000)
    with serving(fixed(answer(body=bomb, Content_Encoding="gzip", Content_Length=len(bomb)))) as server:
        assert "more than 5 MB, data.max_download_mb allows 5;" in refused(server, max_download_mb=5.0)


def test_a_large_file_in_a_store_is_refused_before_it_is_read(refusal: Callable[..., str]) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/headway-large.csv", b"x" * 2_000_000)
    try:
        assert "2 MB, data.max_download_mb allows 1;" in refusal("memory://headway-large.csv", max_download_mb=1.0)
    finally:
        store.rm("/headway-large.csv")


Usage = namedtuple("Usage", "total used free")


def test_a_file_larger_than_the_free_disk_is_refused_before_it_is_read(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 400_000_000, 400_000_000))
    with serving(fixed(answer(Content_Length=500_000_000))) as server:
        message = refused(server)
    assert "500 MB to download, 400 MB free on the disk of " in message


def test_a_download_ends_before_the_disk_is_full(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([500_000_000, 50_000_000])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, next(free)))
    monkeypatch.setattr(transfer, "BETWEEN_LOOKS", 1_000_000)
    with serving(endless) as server:
        assert "50 MB free on the disk of " in refused(server, max_download_mb=0.0)


@pytest.mark.parametrize(("name", "pack"), [("a.csv.gz", gzip.compress), ("a.jsonl.gz", gzip.compress)])
def test_a_decompression_bomb_is_refused(
    refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch, name: str, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(streams, "ALWAYS_ALLOWED", 1_000_000)
    message = refusal(name, pack(TABLE + b"0" * 40_000_000))
    assert message.startswith(f"{name}: holds more than ")
    assert "over 200 times its size" in message


def test_a_file_that_compresses_well_is_read(read_file: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ALWAYS_ALLOWED", 1000)
    content = b"text,label\n" + b"".join(b"the film number %d is fine,%d\n" % (number, number % 2) for number in range(9000))
    assert len(read_file("a.csv.gz", gzip.compress(content)).rows) == 9000


# Wrong answers


@pytest.mark.parametrize(
    ("status", "says", "remedy"),
    [
        ("401 Unauthorized", "cannot be downloaded: 401 Unauthorized", "~/.netrc"),
        ("403 Forbidden", "cannot be downloaded: 403 Forbidden", "no access to it, or the link has expired"),
        ("404 Not Found", "does not exist (404 Not Found)", "check data.path"),
        ("410 Gone", "does not exist (410 Gone)", "check data.path"),
        ("418 Teapot", "cannot be downloaded: 418 Teapot", "check data.path"),
        ("204 No Content", "cannot be downloaded: 204 No Content", "check data.path"),
        ("206 Partial Content", "cannot be downloaded: 206 Partial Content", "check data.path"),
        ("429 Too Many Requests", "429 Too Many Requests, 2 attempts", "run again later"),
        ("500 Internal Server Error", "500 Internal Server Error, 2 attempts", "run again later"),
        ("503 ", "503, 2 attempts", "run again later"),
    ],
)
def test_a_status_is_reported_with_what_to_do(refused: Callable[..., str], status: str, says: str, remedy: str) -> None:
    with serving(fixed(answer(status, b"<html>", Content_Length=6))) as server:
        message = refused(server)
    assert says in message
    assert remedy in message.rpartition(";")[2]
    assert len(server.requests) == (2 if "attempts" in says else 1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (answer(body=TABLE, Content_Length=10_000), "25 bytes read, 9975 more expected"),
        (answer(body=b"50\r\n" + TABLE, Transfer_Encoding="chunked"), "25 bytes read"),
        (answer(body=b"zz\r\n" + TABLE, Transfer_Encoding="chunked"), "invalid literal"),
        (answer(body=b"no gzip", Content_Encoding="gzip"), "incorrect header check"),
        (b"SSH-2.0-OpenSSH_9\r\n", "SSH-2.0"),
        (b"", "closed connection"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "more than 100 headers"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "header line"),
    ],
    ids=["short", "cut chunk", "no chunk", "no gzip", "another protocol", "nothing", "many headers", "long header"],
)
def test_a_broken_answer_is_retried_and_then_refused(refused: Callable[..., str], content: bytes, says: str) -> None:
    with serving(fixed(content)) as server:
        message = refused(server)
    assert says in message
    assert ", 2 attempts; check the network" in message
    assert len(server.requests) == 2


@pytest.mark.parametrize("length", ["-1", "many"])
def test_a_size_that_is_no_size_is_ignored(read_file: Callable[..., Any], length: str) -> None:
    with serving(fixed(answer(body=TABLE, Content_Length=length))) as server:
        assert read_file(f"{server.url}/reviews.csv").rows == [("fine", "1"), ("dull", "0")]


def test_a_size_beyond_all_measure_is_refused(refused: Callable[..., str]) -> None:
    with serving(fixed(answer(body=TABLE, Content_Length="9" * 30))) as server:
        assert "data.max_download_mb allows" in refused(server)


@pytest.mark.parametrize("start", [b"<!DOCTYPE html><html>", b"\n <HTML lang=en>", b"\xef\xbb\xbf<!doctype HTML>"])
def test_a_web_page_in_place_of_a_file_is_recognised(refused: Callable[..., str], start: bytes) -> None:
    page = start + b"<head><title>Sign in\n to the shop</title></head><body>text,label</body></html>"
    with serving(fixed(answer(body=page, Content_Length=len(page)))) as server:
        assert "a web page (Sign in to the shop) arrived instead of a file" in refused(server)
    assert len(server.requests) == 1


# Redirects


def redirecting(place: Callable[[str], str]) -> Answer:
    """Redirects every path but /end.csv."""

    def behave(connection: socket.socket, request: str) -> None:
        path = request.split()[1]
        if path == "/end.csv":
            connection.sendall(answer(body=TABLE, Content_Length=len(TABLE)))
        else:
            connection.sendall(answer("302 Found", Location=place(path), Content_Length=0))

    return behave


def test_redirects_are_followed(read_file: Callable[..., Any]) -> None:
    with serving(redirecting(lambda path: "next.csv" if path == "/reviews.csv" else "/end.csv")) as server:
        assert read_file(f"{server.url}/reviews.csv").rows == [("fine", "1"), ("dull", "0")]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (lambda path: path, "redirected more than 10 times"),
        (lambda path: path + "x", "redirected more than 10 times"),
        (lambda path: "file:///etc/passwd", "redirected to file: instead of http or https"),
        (lambda path: "ftp://127.0.0.1/end.csv", "redirected to ftp: instead of http or https"),
    ],
    ids=["loop", "endless", "a local file", "another protocol"],
)
def test_a_redirect_that_leads_astray_is_refused(
    refused: Callable[..., str], place: Callable[[str], str], says: str
) -> None:
    with serving(redirecting(place)) as server:
        assert says in refused(server)
    assert len(server.requests) <= web.MAX_REDIRECTS + 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    folder = tmp_path_factory.mktemp("certificate")
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", *names]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return both


def encrypted(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_an_unknown_certificate_is_refused_at_once(refused: Callable[..., str], certificate: Path) -> None:
    with serving(fixed(answer(body=TABLE)), encrypted(certificate)) as server:
        message = refused(server)
    assert "self-signed certificate" in message
    assert "REQUESTS_CA_BUNDLE" in message
    assert "attempts" not in message


def test_a_server_without_encryption_behind_https_is_refused_at_once(refused: Callable[..., str]) -> None:
    with serving(fixed(answer(body=TABLE))) as server:
        server.url = server.url.replace("http:", "https:")
        assert "attempts" not in refused(server)


def test_a_redirect_from_https_to_http_is_refused(
    refused: Callable[..., str], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with (
        serving(fixed(answer(body=TABLE, Content_Length=len(TABLE)))) as plain,
        serving(redirecting(lambda path: f"{plain.url}/end.csv"), encrypted(certificate)) as server,
    ):
        assert "redirected from https to http at 127.0.0.1" in refused(server)
    assert plain.requests == []


# Versions


def test_a_server_that_refuses_to_answer_without_the_file_gives_the_file(read_file: Callable[..., Any]) -> None:
    """As links signed for GET do."""

    def behave(connection: socket.socket, request: str) -> None:
        if request.startswith("HEAD"):
            connection.sendall(answer("403 Forbidden", Content_Length=0))
        else:
            connection.sendall(answer(body=TABLE, Content_Length=len(TABLE), ETag='"1"'))

    with serving(behave) as server:
        for _ in range(2):
            assert read_file(f"{server.url}/reviews.csv").rows == [("fine", "1"), ("dull", "0")]
    assert [request.split()[0] for request in server.requests] == ["GET", "HEAD", "GET"]


def test_a_file_without_a_version_is_downloaded_each_time(read_file: Callable[..., Any]) -> None:
    contents = [TABLE, TABLE.replace(b"fine", b"best")]

    def behave(connection: socket.socket, request: str) -> None:
        body = b"" if request.startswith("HEAD") else contents.pop(0)
        connection.sendall(answer(body=body, Content_Length=len(TABLE)))

    with serving(behave) as server:
        assert [read_file(f"{server.url}/reviews.csv").rows[0][0] for _ in range(2)] == ["fine", "best"]


# People


def test_ctrl_c_ends_a_download_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    with serving(lambda connection, _: dripping_body(server, connection)) as server:
        script = f"""
            import pathlib, signal
            from headway.data.sources.remote import remote_files
            signal.signal(signal.SIGINT, signal.default_int_handler)
            remote_files({server.url + "/a.csv"!r}, pathlib.Path({str(tmp_path)!r}), 0).fetch("a.csv")
        """
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("*.partial")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_killed_download_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "old.partial").write_text("old")
    os.utime(tmp_path / "old.partial", (1, 1))
    (tmp_path / "new.partial").write_text("another process writes it")
    with remote._partial(tmp_path, "http://x/reviews.csv", "reviews.csv", 0) as (own, _):
        own.write_text("own")
    assert [path.name for path in tmp_path.glob("*.partial")] == ["new.partial"]


def test_attempts_are_announced(refused: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    with serving(fixed(answer("503 Busy"))) as server:
        refused(server)
    assert capsys.readouterr().err == f"{server.url}/reviews.csv: 503 Busy; attempt 2 of 2 in 0 s\n"


@pytest.mark.parametrize("on_terminal", [True, False])
def test_the_progress_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_terminal: bool) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return on_terminal

    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    for name in ("ON_TERMINAL", "IN_LOG"):
        monkeypatch.setattr(progress, name, 0.0)
    watched = Transfer("http://x/a.csv", "a.csv", tmp_path, 0)
    watched.expect(4_000_000)
    with watched.line:
        watched.add(1_000_000)
    line = re.sub(r"[\d,.]+ MB/s", "N MB/s", stream.getvalue())
    assert line == ("\r\x1b[Ka.csv: 1.0 of 4.0 MB, N MB/s\r\x1b[K" if on_terminal else "a.csv: 1.0 of 4.0 MB, N MB/s\n")


def test_a_file_name_of_others_moves_no_cursor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "IN_LOG", 0.0)
    watched = Transfer("http://x/a", "a\nforged\x1b[2J", tmp_path, 0)
    watched.add(1)
    watched.line.note(watched.name)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("a\\nforged\\x1b[2J: 0.0 MB")
    assert second == "a\\nforged\\x1b[2J"
