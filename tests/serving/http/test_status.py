"""The status of the service: JSON for programs, a page for browsers, and nothing of either without a token."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.testclient import TestClient

from headway.serving.http.calls import CallThread
from headway.serving.http.settings import ServeSettings
from headway.serving.http.status import SECONDS_BETWEEN_LOOKS, LastMonitoring, prefers_page
from headway.serving.http.tokens import read_tokens
from headway.serving.package import ModelPackage
from tests.serving.conftest import TEXTS
from tests.serving.http.conftest import Ask, code
from tests.serving.http.fakes import FakeLive, FakeLog, fake_model

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("text/html;q=0.9, application/json;q=0.5", True),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("application/json, text/html", False),
        ("text/html;q=nonsense, application/json;q=0.5", True),
    ],
)
def test_a_browser_gets_the_page_and_everybody_else_json(accept: str, page: bool) -> None:
    assert prefers_page(accept) is page


def test_the_page_is_html_and_differs_by_the_accept_header(client: TestClient) -> None:
    found = client.get("/status", headers={"Accept": BROWSER})
    assert found.headers["Content-Type"].startswith("text/html")
    assert found.headers["Vary"] == "Accept"
    assert "script-src 'sha256-" in found.headers["Content-Security-Policy"]
    found = client.get("/status")
    assert found.headers["Content-Type"] == "application/json"
    assert found.headers["Vary"] == "Accept"


def test_the_status_says_what_the_service_knows(start: Ask, package: ModelPackage) -> None:
    about = {"registered": {"created_at": "2026-11-30T04:00:00+00:00"}, "decision": {"headline": "version 7 is promoted"}}
    live = FakeLive(fake_model(package, about=about), swaps=2, failures=1, problem="the registry does not answer")
    client = start(live, log=FakeLog(), shadow=FakeLive(fake_model(package, "8")))
    client.post("/predict", json={"texts": [*TEXTS, ""]})
    client.post("/predict", json={"texts": []})
    client.get("/model")
    found = client.get("/status").json()
    assert found["model"] == {
        "name": "sentiment",
        "version": "7",
        "registered_at": "2026-11-30T04:00:00+00:00",
        "decision": "version 7 is promoted",
    }
    serving = found["serving"]
    assert (serving["swaps"], serving["failures"], serving["problem"]) == (2, 1, "the registry does not answer")
    assert serving["answers_since"].startswith("2026-12-01T04:00:00")
    assert serving["ready"]
    assert serving["shadow"] == "8"
    texts = {"texts": len(TEXTS), "texts_not_classified": 1}
    assert found["requests"] == {"answered": 1, "refused": 1, "failed": 0, **texts}
    assert found["log"]["rows_written"] == 5
    assert found["log"]["rows_dropped"] == 2
    assert found["monitoring"] is None


def test_a_plain_service_has_no_log_and_no_shadow(client: TestClient) -> None:
    found = client.get("/status").json()
    assert found["log"] is None
    assert found["serving"]["shadow"] is None
    assert found["model"]["decision"] is None


def test_with_tokens_the_page_is_open_and_what_it_shows_is_not(start: Ask) -> None:
    client = start(settings=ServeSettings(tokens=read_tokens("a-very-long-secret-token-of-32-chars", "test")))
    assert client.get("/status", headers={"Accept": BROWSER}).status_code == 200
    assert code(client.get("/status")) == (401, "token_needed")
    headers = {"Authorization": "Bearer a-very-long-secret-token-of-32-chars"}
    assert client.get("/status", headers=headers).json()["model"]["version"] == "7"


def test_a_foreign_host_gets_neither(client: TestClient) -> None:
    for accept in (BROWSER, "*/*"):
        assert client.get("/status", headers={"Accept": accept, "Host": "elsewhere.example"}).status_code == 403


# Monitoring


def looked(last: LastMonitoring, now: float, done: threading.Event) -> Any:
    """Have it looked at a time, and take over what that finds."""
    done.clear()
    last.refresh(now)
    assert done.wait(60)
    for _ in range(1000):
        last.refresh(now)
        if last._reading is None:
            break
        threading.Event().wait(0.01)
    return last.found


def test_what_monitoring_found_is_read_again_from_time_to_time_and_kept_if_that_fails() -> None:
    done, answers = threading.Event(), iter([{"status": "ok"}, {"status": "alarm"}, OSError("no such bucket")])

    def read() -> Mapping[str, Any] | None:
        found = next(answers)
        done.set()
        if isinstance(found, OSError):
            raise found
        return found

    last = LastMonitoring(read)
    last.start()
    assert looked(last, 100.0, done) == {"status": "ok"}
    last.refresh(100.0 + SECONDS_BETWEEN_LOOKS - 1)
    assert not done.wait(0.1) or last.found == {"status": "ok"}
    assert looked(last, 100.0 + SECONDS_BETWEEN_LOOKS, done) == {"status": "alarm"}
    assert looked(last, 100.0 + 2 * SECONDS_BETWEEN_LOOKS, done) == {"status": "alarm"}
    last.stop()


def test_it_is_read_again_although_the_call_before_has_not_given_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    held, release = threading.Event(), CallThread._release

    def slow(self: CallThread, future: object) -> None:
        held.wait(60)
        release(self, future)

    monkeypatch.setattr(CallThread, "_release", slow)
    last = LastMonitoring(lambda: {"status": "ok"})
    last.start()
    last.refresh(100.0)
    assert last._reading is not None
    last._reading.result(60)
    last.refresh(100.0 + SECONDS_BETWEEN_LOOKS)
    assert last.found == {"status": "ok"}
    held.set()
    last.stop()


def test_a_store_that_hangs_holds_nothing_up(start: Ask) -> None:
    held = threading.Event()
    client = start(read_monitoring=lambda: held.wait(60) and {"status": "ok"})
    assert client.get("/status").json()["monitoring"] is None
    held.set()
