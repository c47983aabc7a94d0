"""The load generator and the table generator of the serving benchmark count what really happens."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from benchmarks.serve.load import closed_loop, open_loop, requests_of
from benchmarks.serve.rows import write_rows

TEXTS = ["a charming, funny film", "ennuyeux – “tedious”", "busy", "gone", "slow"]


class Handler(BaseHTTPRequestHandler):
    """Answers with the version of a model; some texts have it refuse, close the connection or take its time."""

    protocol_version = "HTTP/1.1"
    texts: ClassVar[list[str]] = []
    connections: ClassVar[set[tuple[str, int]]] = set()

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        self.texts.append(text)
        self.connections.add(self.client_address)
        if text == "gone":
            self.close_connection = True
            return
        if text == "slow":
            time.sleep(0.2)
        content = json.dumps({"model": {"name": "sentiment", "version": "7"}, "predictions": []}).encode()
        self.send_response(429 if text == "busy" else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: the tests' output stays readable."""


@pytest.fixture
def port() -> Iterator[int]:
    Handler.texts.clear()
    Handler.connections.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def requests(port: int, *texts: str) -> list[bytes]:
    return requests_of("/predict", [{"text": text} for text in texts], port)


def test_every_client_keeps_its_connection_and_all_texts_are_asked(port: int) -> None:
    found = closed_loop(port, requests(port, *TEXTS[:2]), clients=3, seconds=0.5)
    assert set(Handler.texts) == set(TEXTS[:2])
    assert len(Handler.connections) == 3
    assert found.statuses == {200: len(Handler.texts)}
    assert len(found.latencies) == found.models["7"] == len(Handler.texts)
    assert found.failures == 0


def test_refusals_and_closed_connections_are_failures_without_a_latency(port: int) -> None:
    found = closed_loop(port, requests(port, *TEXTS[:4]), clients=1, seconds=0.5)
    assert found.statuses[429] == Handler.texts.count("busy") > 0
    assert len(found.lost) == Handler.texts.count("gone") > 0
    assert len(found.latencies) == len(Handler.texts) - found.failures
    assert found.failures == found.statuses[429] + len(found.lost)


def test_a_port_without_a_server_loses_every_request(port: int) -> None:
    found = open_loop(1, requests(port, TEXTS[0]), rate=50, seconds=0.3)
    assert found.lost
    assert found.failures == len(found.lost)


def test_an_open_loop_sends_at_its_rate_while_requests_wait(port: int) -> None:
    """With one connection after the other, requests that take 0.2 s each would be five a second."""
    found = open_loop(port, requests(port, "slow"), rate=100, seconds=0.5)
    assert len(Handler.texts) > 20
    assert len(found.latencies) == len(Handler.texts)
    assert np.min(found.latencies) >= 0.2


def test_something_else_can_happen_during_an_open_loop(port: int) -> None:
    seen: list[int] = []

    async def meanwhile() -> None:
        seen.append(len(Handler.texts))

    open_loop(port, requests(port, TEXTS[0]), rate=100, seconds=0.2, meanwhile=meanwhile)
    assert len(seen) == 1


def test_a_table_has_every_text_in_turn_however_many_rows_are_asked_for(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", TEXTS, 12)
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [str(number) for number in range(12)]
    found = [row["text"] for row in rows]
    assert found[:5] == TEXTS
    assert sorted(found[5:10]) == sorted(TEXTS)
