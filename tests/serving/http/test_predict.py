"""``POST /predict``: the answers are those of the package, whatever is asked at the same time; mistakes are JSON errors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from headway.serving.http import service
from headway.serving.http.batcher import Batcher
from headway.serving.package import ModelPackage
from tests.serving.conftest import CLASSES, TEXTS
from tests.serving.http.conftest import Ask, code
from tests.serving.http.fakes import FakeLive, FakeLog, fake_model


def ask(client: TestClient, **body: Any) -> Any:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def probabilities(answer: Any) -> np.ndarray:
    """Of all classes, in their order, (texts, C)."""
    rows = [{one["label"]: one["probability"] for one in found["top"]} for found in answer["predictions"]]
    return np.array([[row[name] for name in CLASSES] for row in rows])


def test_many_texts_get_the_probabilities_of_the_package(client: TestClient, package: ModelPackage) -> None:
    answer = ask(client, texts=TEXTS)
    expected = package.predict_proba(TEXTS)
    np.testing.assert_allclose(probabilities(answer), expected, atol=1e-6)
    assert [found["label"] for found in answer["predictions"]] == [CLASSES[best] for best in expected.argmax(axis=1)]
    assert all(found["probability"] == found["top"][0]["probability"] for found in answer["predictions"])
    assert answer["model"] == {"name": "sentiment", "version": "7"}


def test_one_text_is_asked_by_its_own_key_and_its_id_is_that_of_the_request(client: TestClient) -> None:
    answer = client.post("/predict", json={"text": TEXTS[0]})
    (found,) = answer.json()["predictions"]
    assert found["id"] == answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert found["problem"] is None


def test_texts_have_the_ids_that_were_given_or_ids_of_their_own(client: TestClient) -> None:
    given_ids = ask(client, texts=TEXTS[:2], ids=["a", "b"])
    assert [found["id"] for found in given_ids["predictions"]] == ["a", "b"]
    made = [found["id"] for found in ask(client, texts=TEXTS)["predictions"]]
    assert len(set(made)) == len(TEXTS)


@pytest.mark.parametrize(("top_k", "expected"), [(1, 1), (2, 2), (3, 3), (50, 3)])
def test_the_most_probable_labels_come_first_and_no_more_than_there_are(
    client: TestClient, top_k: int, expected: int
) -> None:
    (found,) = ask(client, text=TEXTS[0], top_k=top_k)["predictions"]
    values = [one["probability"] for one in found["top"]]
    assert len(values) == expected
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("text", ["", " \t", "<br/>", None, 5, ["a"], "\ud800 half"])
def test_a_text_that_cannot_be_classified_has_a_reason_and_the_others_a_label(
    client: TestClient, package: ModelPackage, text: object
) -> None:
    import json

    body = json.dumps({"texts": [TEXTS[0], text, TEXTS[1]]})  # ASCII, so that half of a surrogate pair can be sent
    answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    first, middle, last = answer.json()["predictions"]
    assert middle == {
        "id": middle["id"],
        "label": None,
        "probability": None,
        "top": [],
        "problem": package.classify([text])[1][0],
    }
    assert middle["problem"]
    assert first["label"]
    assert last["label"]


@given(data=st.data())
@settings(max_examples=15)
def test_a_texts_probabilities_do_not_depend_on_the_batch_it_is_in(package: ModelPackage, data: st.DataObject) -> None:
    words = [word for text in TEXTS for word in text.split()]
    text = st.lists(st.sampled_from(words), max_size=80).map(" ".join)
    requests = data.draw(st.lists(st.lists(text, min_size=1, max_size=6), min_size=1, max_size=8))
    batcher = Batcher(FakeLive(fake_model(package)), 1_000, 1, lambda _: None)
    futures = [batcher.submit(texts) for texts in requests]  # all wait when the thread starts, so that they share a batch
    batcher.start()
    for texts, future in zip(requests, futures, strict=True):
        answer = future.result(60)
        for row, alone in enumerate(texts):
            expected, reasons = package.classify([alone])
            np.testing.assert_allclose(answer.probabilities[row], expected[0], atol=1e-6)
            assert answer.reasons[row] == reasons[0]
    batcher.stop()


def test_concurrent_requests_each_get_their_own_answers(client: TestClient, package: ModelPackage) -> None:
    texts = [f"{text} {number}" for number in range(8) for text in TEXTS]
    expected = package.predict_proba(texts)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: ask(client, text=text), texts))
    np.testing.assert_allclose(np.concatenate([probabilities(answer) for answer in answers]), expected, atol=1e-6)


BAD = [
    pytest.param({}, (422, "invalid"), id="nothing"),
    pytest.param({"texts": []}, (422, "invalid"), id="no texts"),
    pytest.param({"texts": "a text"}, (422, "invalid"), id="a text for a list"),
    pytest.param({"texts": ["a"], "text": "b"}, (422, "invalid"), id="both keys"),
    pytest.param({"text": "a", "top": 3}, (422, "invalid"), id="an unknown key"),
    pytest.param({"text": "a", "top_k": 0}, (422, "invalid"), id="no label"),
    pytest.param({"texts": ["a", "b"], "ids": ["1"]}, (422, "invalid"), id="too few ids"),
    pytest.param({"text": "a", "ids": [""]}, (422, "invalid"), id="an empty id"),
    pytest.param(["a"], (422, "invalid"), id="a list"),
    pytest.param({"texts": ["a"] * 5}, (422, "too_many_texts"), id="too many texts"),
    pytest.param({"texts": ["a", "b" * 51]}, (422, "text_too_long"), id="a text that is too long"),
    pytest.param({"text": "a" * 2_000}, (413, "body_too_large"), id="a body that is too large"),
]


@pytest.mark.parametrize(("body", "expected"), BAD)
def test_a_wrong_body_is_a_json_error(start: Ask, body: object, expected: tuple[int, str]) -> None:
    client = start(max_texts=4, max_characters=50, max_body_bytes=1_000)
    assert code(client.post("/predict", json=body)) == expected


def test_an_answer_with_too_many_labels_is_refused_and_a_large_top_k_alone_is_not(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_LABELS", 6)
    assert len(CLASSES) == 3
    assert code(client.post("/predict", json={"texts": TEXTS[:3], "top_k": 3})) == (422, "too_many_labels")
    assert client.post("/predict", json={"texts": TEXTS[:2], "top_k": 1_000_000}).status_code == 200


@pytest.mark.parametrize(("body", "name"), [({"text": "a" * 51}, "text "), ({"texts": ["a", "b" * 51]}, "texts[1] ")])
def test_a_text_that_is_too_long_is_named_as_it_was_sent(start: Ask, body: dict[str, Any], name: str) -> None:
    message = start(max_characters=50).post("/predict", json=body).json()["error"]["message"]
    assert message.startswith(name)


@pytest.mark.parametrize("body", [b"{", b"", b'{"text": "a"', b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_not_json_is_a_json_error(client: TestClient, body: bytes) -> None:
    answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert code(answer)[0] in (400, 422)


def test_an_error_repeats_neither_the_text_nor_a_key_that_the_client_made_up(client: TestClient) -> None:
    answer = client.post("/predict", json={"text": "secret words", "secret key": 1, "ids": ["secret id", "b"]})
    assert answer.status_code == 422
    assert "secret" not in answer.text


def test_another_type_of_body_is_refused(client: TestClient) -> None:
    assert code(client.post("/predict", data={"text": "a"})) == (415, "not_json")


def test_the_log_gets_what_was_classified(start: Ask, package: ModelPackage) -> None:
    log = FakeLog()
    ask(start(log=log), texts=[TEXTS[0], "", TEXTS[1]], ids=["a", "b", "c"])
    assert log.rows == [("champion", "7", "a", TEXTS[0]), ("champion", "7", "c", TEXTS[1])]
    np.testing.assert_allclose(log.probabilities, package.predict_proba(TEXTS[:2]), atol=1e-6)
