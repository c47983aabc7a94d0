"""A mail server and a web server on this machine, for tests of what Headway sends: they keep everything that arrives."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler
from typing import Any


@dataclass
class Inbox:
    """The port that a server listens on, and what has arrived."""

    port: int = 0
    arrived: list[Any] = field(default_factory=list)


@contextmanager
def mail_server() -> Iterator[Inbox]:
    """An SMTP server that accepts every password and mail, and keeps each mail as an ``EmailMessage``."""
    inbox = Inbox()

    class Session(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

        def handle(self) -> None:
            self.say("220 test")
            for line in self.rfile:
                verb = line.split()[0].upper()
                if verb == b"DATA":
                    self.say("354 go ahead")
                    inbox.arrived.append(self._mail())
                if verb == b"QUIT":
                    self.say("221 bye")
                    return
                self.say({b"EHLO": "250-test\r\n250 AUTH PLAIN", b"AUTH": "235 welcome"}.get(verb, "250 ok"))

        def _mail(self) -> EmailMessage:
            lines = []
            while (line := self.rfile.readline()) != b".\r\n":
                lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
            return message_from_bytes(b"".join(lines), policy=policy.default)  # type: ignore[return-value]

    with _serving(inbox, Session):
        yield inbox


@contextmanager
def web_server(status: int = 200) -> Iterator[Inbox]:
    """A webhook that answers every request with one status and keeps (path, body parsed from JSON)."""
    inbox = Inbox()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inbox.arrived.append((self.path, json.loads(body)))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with _serving(inbox, Hook):
        yield inbox


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def refused_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


@contextmanager
def _serving(inbox: Inbox, handler: type[socketserver.BaseRequestHandler]) -> Iterator[None]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        inbox.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
