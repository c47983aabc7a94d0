"""The queue and the thread that classifies: bounds, batches of whole requests, cancelled requests, and faults."""

from __future__ import annotations

import copy
import gc
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from headway.errors import HeadwayError
from headway.serving.http.batcher import CHARACTERS_PER_THREAD, Batcher
from headway.serving.http.refusals import Refusal
from headway.serving.package import ModelPackage
from tests.serving.conftest import TEXTS
from tests.serving.http.conftest import Ask
from tests.serving.http.fakes import AlternatingLive, FailingPackage, FakeLive, HeldPackage, fake_model


@pytest.fixture
def held(package: ModelPackage) -> Iterator[HeldPackage]:
    made = HeldPackage(package)
    yield made
    made.go.set()


def batcher(package: Any, queue_texts: int = 10) -> Batcher:
    made = Batcher(FakeLive(fake_model(package)), queue_texts, 1, lambda _: None)
    made.start()
    return made


def test_what_waits_while_a_batch_is_classified_is_the_next_batch(held: HeldPackage) -> None:
    queue = batcher(held)
    first = queue.submit(["a"])
    assert held.begun.wait(60)
    others = [queue.submit([text]) for text in ("b", "c", "d")]
    held.go.set()
    for future in (first, *others):
        future.result(60)
    assert held.batches == [["a"], ["b", "c", "d"]]


class ThreadsPackage:
    """A package that notes the number of threads of each batch."""

    def __init__(self, package: ModelPackage) -> None:
        self._package, self.classes, self.threads = package, package.classes, list[int]()

    def classify(self, texts: Any) -> Any:
        self.threads.append(torch.get_num_threads())
        return self._package.classify(texts)


def test_a_batch_takes_as_many_threads_as_it_has_work_for(package: ModelPackage) -> None:
    noting = ThreadsPackage(package)
    queue = Batcher(FakeLive(fake_model(noting)), 10, 2, lambda _: None)
    queue.start()
    for characters in (1, CHARACTERS_PER_THREAD - 1, CHARACTERS_PER_THREAD, 5 * CHARACTERS_PER_THREAD, 1):
        queue.submit(["a" * characters]).result(60)
    queue.stop()
    assert noting.threads == [1, 1, 2, 2, 1]


def test_a_full_queue_refuses_and_says_when_to_come_back(held: HeldPackage) -> None:
    queue = batcher(held, queue_texts=3)
    queue.submit(["a"])
    assert held.begun.wait(60)
    queue.submit(["b", "c"])
    with pytest.raises(Refusal) as refused:
        queue.submit(["d", "e"])
    assert (refused.value.status, refused.value.code) == (429, "queue_full")
    assert int(refused.value.headers["Retry-After"]) >= 1
    queue.submit(["d"])  # there is room for one
    assert queue.waiting == 3


def test_a_cancelled_request_is_not_classified_and_makes_room(held: HeldPackage) -> None:
    queue = batcher(held, queue_texts=2)
    queue.submit(["a"])
    assert held.begun.wait(60)
    assert queue.submit(["b", "c"]).cancel()
    assert queue.waiting == 0
    last = queue.submit(["d", "e"])
    held.go.set()
    last.result(60)
    assert held.batches == [["a"], ["d", "e"]]


def test_no_answer_mixes_two_versions(package: ModelPackage) -> None:
    live = AlternatingLive(fake_model(package, "1"), fake_model(package, "2"))
    queue = Batcher(live, 100, 1, lambda _: None)
    futures = [queue.submit(TEXTS[:2]) for _ in range(5)]
    queue.start()
    assert {future.result(60).model.version for future in futures} == {"2"}  # one batch, one look at the live model
    assert queue.submit(TEXTS[:2]).result(60).model.version == "1"


@pytest.mark.parametrize(
    ("error", "expected"), [(HeadwayError("not finite"), Refusal), (RuntimeError("out of memory"), RuntimeError)]
)
def test_the_fault_of_one_request_is_not_that_of_the_others_in_its_batch(
    package: ModelPackage, error: Exception, expected: type[Exception]
) -> None:
    queue = Batcher(FakeLive(fake_model(FailingPackage(package, error, "poison"))), 100, 1, lambda _: None)
    before, bad, after = queue.submit([TEXTS[0]]), queue.submit(["poison"]), queue.submit([TEXTS[1]])
    queue.start()
    np.testing.assert_allclose(before.result(60).probabilities, package.predict_proba(TEXTS[:1]), atol=1e-6)
    np.testing.assert_allclose(after.result(60).probabilities, package.predict_proba(TEXTS[1:2]), atol=1e-6)
    with pytest.raises(expected):
        bad.result(60)
    assert queue.alive


def test_a_batch_ends_before_it_has_too_many_texts(held: HeldPackage) -> None:
    queue = batcher(held, queue_texts=1_000)
    queue.submit(["a"])
    assert held.begun.wait(60)
    futures = [queue.submit(["b"] * 150) for _ in range(3)]
    held.go.set()
    for future in futures:
        future.result(60)
    assert [len(batch) for batch in held.batches] == [1, 150, 150, 150]


def test_stopping_classifies_what_waits(held: HeldPackage) -> None:
    queue = batcher(held)
    futures = [queue.submit([text]) for text in ("a", "b")]
    held.go.set()
    queue.stop()
    assert all(future.done() for future in futures)
    assert not queue.alive


def test_an_answered_request_does_not_keep_its_model(start: Ask, package: ModelPackage) -> None:
    live = FakeLive(fake_model(copy.copy(package)))
    client = start(live)
    replaced = weakref.ref(live.current.package)
    client.post("/explain", json={"text": TEXTS[0]})  # imports captum, which leaves frames in a cycle, once
    gc.collect()
    gc.disable()
    try:
        for path in ("/predict", "/explain"):
            assert client.post(path, json={"text": TEXTS[0]}).status_code == 200
        live.current = fake_model(package)
        assert client.post("/predict", json={"text": TEXTS[0]}).status_code == 200  # the thread has begun another batch
        deadline = time.monotonic() + 60
        while replaced() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert replaced() is None
    finally:
        gc.enable()
