"""What the service says of itself: probes, the model, metrics, pages; and feedback, explanations and the shadow."""

from __future__ import annotations

import re
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from headway.errors import HeadwayError
from headway.serving.explain import explain
from headway.serving.http import explanations, shadow
from headway.serving.http.calls import CallThread
from headway.serving.http.refusals import Refusal
from headway.serving.http.service import MOST_FEEDBACK
from headway.serving.http.shadow import Shadow
from headway.serving.package import ModelPackage
from tests.serving.conftest import CLASSES, TEXTS
from tests.serving.http.conftest import Ask, code
from tests.serving.http.fakes import FakeCounters, FakeLive, FakeLog, HeldPackage, fake_model


def metrics(client: TestClient) -> dict[str, float]:
    """Values by name and labels."""
    lines = client.get("/metrics").text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def wait_until(condition: Any) -> None:
    """Look until something has happened in another thread."""
    waiting = threading.Event()
    for _ in range(600):
        if condition():
            return
        waiting.wait(0.1)
    raise AssertionError("it has not happened within a minute")


# Probes and the model.


def test_a_working_service_is_alive_and_ready(client: TestClient) -> None:
    assert client.get("/livez").json() == {"alive": True}
    found = client.get("/readyz")
    assert found.status_code == 200
    assert found.json()["ready"]
    assert found.json()["version"] == "7"
    assert found.json()["checked_at"].startswith("2026-12-01T04:00:00")


def test_a_service_that_drains_is_alive_but_not_ready_and_still_answers(client: Any) -> None:
    client.app.state.service.draining = True
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").json()["ready"] is False
    assert client.post("/predict", json={"text": TEXTS[0]}).status_code == 200


def test_a_service_without_its_inference_thread_is_not_alive(client: Any) -> None:
    client.app.state.service.batcher.stop()
    assert client.get("/livez").status_code == 503
    assert client.get("/readyz").status_code == 503


def test_the_model_that_answers_is_described(client: TestClient) -> None:
    assert client.get("/model").json() == {
        "name": "sentiment",
        "version": "7",
        "fingerprint": "f" * 64,
        "classes": CLASSES,
        "data": {"rows": 600},
    }


# Metrics.


def test_metrics_count_requests_texts_batches_and_refusals(client: TestClient) -> None:
    client.post("/predict", json={"texts": [*TEXTS, ""]})
    client.post("/predict", json={"texts": []})
    client.get("/secret/path")
    found = metrics(client)
    assert found['headway_requests_total{path="/predict",status="200"}'] == 1
    assert found['headway_requests_total{path="/predict",status="422"}'] == 1
    assert found['headway_requests_total{path="(other)",status="404"}'] == 1
    assert found['headway_texts_total{classified="yes"}'] == len(TEXTS)
    assert found['headway_texts_total{classified="no"}'] == 1
    assert found["headway_batch_texts_sum"] == len(TEXTS) + 1
    assert found['headway_rejected_total{reason="invalid"}'] == 1
    assert found['headway_request_seconds_count{path="/predict"}'] == 2
    assert found["headway_queue_texts"] == 0


def test_metrics_follow_the_live_model_and_the_log(start: Ask, package: ModelPackage) -> None:
    live = FakeLive(fake_model(package), swaps=2, failures=3, problem="the registry does not answer")
    client = start(live, log=FakeLog())
    found = metrics(client)
    assert found['headway_model_info{name="sentiment",role="champion",version="7"}'] == 1
    assert found['headway_model_swaps_total{role="champion"}'] == 2
    assert found['headway_model_failures_total{role="champion"}'] == 3
    assert found['headway_model_problem{role="champion"}'] == 1
    assert found["headway_log_rows_written_total"] == 5
    assert found["headway_log_rows_dropped_total"] == 2
    assert found["headway_log_failed_writes_total"] == 1
    live.current = fake_model(package, "8")
    found = metrics(client)
    assert found['headway_model_info{name="sentiment",role="champion",version="7"}'] == 0
    assert found['headway_model_info{name="sentiment",role="champion",version="8"}'] == 1
    assert found["headway_log_rows_written_total"] == 5  # not added twice


def test_a_problem_of_the_log_is_reported_once_and_so_is_its_end(start: Ask, caplog: pytest.LogCaptureFixture) -> None:
    log: Any = FakeLog()
    app: Any = start(log=log).app
    for problem in (None, "the disk is full", "the disk is full", None, None):
        log.counters = FakeCounters(problem=problem)
        app.state.service.refresh_metrics()
    lines = [record.getMessage() for record in caplog.records if "prediction log" in record.getMessage()]
    assert len(lines) == 2
    assert "the disk is full" in lines[0]


# Pages.


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_and_runs_only_its_own_script(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", answer.text)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    for name in ("script", "style"):
        parts = re.findall(rf"<{name}[^>]*>(.*?)</{name}>", answer.text, re.DOTALL)
        hashes = [f"'sha256-{b64encode(sha256(part.encode()).digest()).decode()}'" for part in parts]
        assert policy[f"{name}-src"] == (" ".join(hashes) or "'none'")
    assert policy["default-src"] == "'none'"


def test_the_description_of_the_api_names_every_path_and_the_page_shows_it(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]
    assert described.keys() == {"/predict", "/explain", "/feedback", "/model", "/status", "/livez", "/readyz", "/metrics"}
    assert {"408", "415", "500"} <= described["/predict"]["post"]["responses"].keys()
    assert "501" in described["/explain"]["post"]["responses"]
    assert "404" in described["/feedback"]["post"]["responses"]
    text = client.get("/docs").text
    assert all(path in text for path in described)
    assert "top_k" in text


# Explanations.


def test_an_explanation_has_the_contributions_that_the_library_finds(client: TestClient, package: ModelPackage) -> None:
    answer = client.post("/explain", json={"text": TEXTS[0]}).json()
    expected = explain(package, TEXTS[0])
    found = answer["explanation"]
    assert answer["model"]["version"] == "7"
    assert answer["prediction"]["label"] == CLASSES[expected.predicted]
    assert found["text"] == TEXTS[0]
    np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-6)
    assert expected.linear is not None
    np.testing.assert_allclose(found["linear"]["tokens"], expected.linear.tokens, atol=1e-6)
    np.testing.assert_array_equal(found["spans"], expected.spans)
    assert "maps" not in found["attention"]


def test_without_captum_an_explanation_is_one_clear_error(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    answer = client.post("/explain", json={"text": TEXTS[0]})
    assert code(answer) == (501, "explanations_unavailable")
    assert "captum" in answer.json()["error"]["message"]


@pytest.mark.parametrize("text", ["", None, 3])
def test_a_text_that_cannot_be_classified_cannot_be_explained(client: TestClient, text: object) -> None:
    assert code(client.post("/explain", json={"text": text})) == (422, "not_explainable")


def test_too_many_explanations_at_once_are_refused(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr(explanations, "_explain", lambda *_: held.wait(60))
    explainer, model = client.app.state.service.explainer, client.app.state.service.live.current
    for _ in range(explanations.MOST_WAITING):
        explainer.explain(model, TEXTS[0])
    answer = client.post("/explain", json={"text": TEXTS[0]})
    held.set()
    assert code(answer) == (429, "queue_full")
    assert "Retry-After" in answer.headers


# Feedback.


def test_labels_are_given_to_the_log_and_counted(start: Ask) -> None:
    kept: list[Mapping[str, str]] = []

    def add_labels(rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
        kept.extend(rows)
        return {"added": len(rows)}

    rows = [{"request_id": "a", "label": "positive"}, {"text": "good", "label": "negative"}]
    assert start(add_labels=add_labels).post("/feedback", json={"labels": rows}).json() == {"added": 2}
    assert kept == rows


@pytest.mark.parametrize(
    "labels",
    [
        [],
        [{"label": "positive"}],
        [{"request_id": "a"}],
        [{"request_id": "a", "text": "b", "label": "c"}],
        [{"text_hash": "short", "label": "c"}],
    ],
)
def test_a_label_names_exactly_one_text(start: Ask, labels: list[Any]) -> None:
    assert code(start(add_labels=lambda _: {}).post("/feedback", json={"labels": labels})) == (422, "invalid")


def test_without_a_log_labels_are_refused(client: TestClient) -> None:
    body = {"labels": [{"request_id": "a", "label": "positive"}]}
    assert code(client.post("/feedback", json=body)) == (404, "no_log")


def test_labels_that_a_hanging_store_holds_up_are_refused_in_time_and_do_not_pile_up(start: Ask) -> None:
    held = threading.Event()
    body = {"labels": [{"request_id": "a", "label": "positive"}]}
    client = start(add_labels=lambda _: held.wait(60) and {"added": 1}, request_seconds=0.2)
    with ThreadPoolExecutor(MOST_FEEDBACK) as pool:
        answers = list(pool.map(lambda _: client.post("/feedback", json=body), range(MOST_FEEDBACK)))
    assert {code(answer) for answer in answers} == {(503, "timeout")}
    assert client.post("/predict", json={"text": TEXTS[0]}).status_code == 200
    held.set()


def test_more_labels_at_once_than_may_wait_are_refused() -> None:
    held = threading.Event()
    thread = CallThread("test", 2)
    thread.start()
    begun = [thread.submit(held.wait) for _ in range(2)]
    with pytest.raises(Refusal) as refused:
        thread.submit(held.wait)
    assert (refused.value.status, refused.value.code) == (429, "queue_full")
    assert begun[1].cancel()
    last = thread.submit(held.wait)  # in the place of the one that was cancelled
    held.set()
    assert last.result(60)


def test_a_log_that_cannot_be_written_refuses_labels(start: Ask) -> None:
    def add_labels(_: Sequence[Mapping[str, str]]) -> dict[str, int]:
        raise HeadwayError("the disk is full")

    answer = start(add_labels=add_labels).post("/feedback", json={"labels": [{"text": "a", "label": "b"}]})
    assert code(answer) == (503, "log_unavailable")


# Time and the shadow.


def test_a_request_that_takes_too_long_is_refused_and_leaves_the_queue(start: Ask, package: ModelPackage) -> None:
    held = HeldPackage(package)
    client: Any = start(FakeLive(fake_model(held)), request_seconds=0.3)
    first = client.post("/predict", json={"text": "a"})
    second = client.post("/predict", json={"text": "b"})
    waiting = client.app.state.service.batcher.waiting
    held.go.set()
    assert code(first) == code(second) == (503, "timeout")
    assert "Retry-After" in first.headers
    assert waiting == 0
    assert client.post("/predict", json={"text": "c"}).status_code == 200
    assert held.batches == [["a"], ["c"]]


def test_the_shadow_scores_the_same_texts_and_only_the_log_has_its_answers(start: Ask, package: ModelPackage) -> None:
    log = FakeLog()
    client = start(log=log, shadow=FakeLive(fake_model(package, "8")))
    answer = client.post("/predict", json={"texts": [*TEXTS, ""]}).json()
    assert answer["model"]["version"] == "7"
    wait_until(lambda: len(log.rows) == 2 * len(TEXTS))
    ids = [found["id"] for found in answer["predictions"]][: len(TEXTS)]
    for role, version in (("champion", "7"), ("shadow", "8")):
        assert [row for row in log.rows if row[0] == role] == [
            (role, version, identity, text) for identity, text in zip(ids, TEXTS, strict=True)
        ]
    wait_until(lambda: metrics(client).get('headway_shadow_texts_total{agrees="yes"}') == len(TEXTS))


def test_a_shadow_that_is_behind_drops_texts_and_counts_them_while_requests_are_answered(
    start: Ask, package: ModelPackage
) -> None:
    held = HeldPackage(package)
    client = start(shadow=FakeLive(fake_model(held, "8")), queue_texts=4, max_texts=4)
    for _ in range(4):
        assert client.post("/predict", json={"texts": TEXTS[:3]}).status_code == 200
    found = metrics(client)
    held.go.set()
    assert 1 <= found["headway_shadow_dropped_texts_total"] <= 12 - 4


@pytest.fixture
def held(package: ModelPackage) -> Iterator[HeldPackage]:
    made = HeldPackage(package)
    yield made
    made.go.set()


def test_a_shadow_that_is_stopped_drops_what_waits_and_counts_it(held: HeldPackage) -> None:
    dropped: list[int] = []

    def drop(texts: int) -> None:
        dropped.append(texts)
        held.go.set()  # the batch in progress ends only after the rest was dropped

    queue = Shadow(FakeLive(fake_model(held)), None, 100, 1, lambda *_: None, lambda texts: drop(texts) if texts else None)
    queue.start()
    queue.add(["1"], TEXTS[:1], CLASSES[:1])
    assert held.begun.wait(60)
    queue.add(["2", "3"], TEXTS[1:3], CLASSES[:2])
    queue.stop()
    assert dropped == [2]
    assert held.batches == [TEXTS[:1]]


def test_the_texts_that_wait_for_the_shadow_are_bounded_in_characters(
    held: HeldPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "QUEUE_CHARACTERS", 10)
    dropped: list[int] = []
    queue = Shadow(FakeLive(fake_model(held)), None, 100, 1, lambda *_: None, dropped.append)
    queue.add(["1", "2", "3"], ["a" * 8, "b" * 8, "c"], ["positive"] * 3)
    assert sum(dropped) == 1
    queue.start()
    assert held.begun.wait(60)
    assert held.batches == [["a" * 8, "c"]]
    queue.add(["4"], ["d" * 10], ["positive"])  # there is room again
    assert sum(dropped) == 1
