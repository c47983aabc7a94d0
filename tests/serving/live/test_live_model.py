"""The live model: another one takes over while requests are answered, and whatever fails, the current one stays."""

from __future__ import annotations

import json
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from headway.errors import HeadwayError, Unreachable
from headway.files import sha256_of_json
from headway.serving.live import live_model
from headway.serving.live.live_model import LiveModel
from headway.serving.live.model import ServedModel
from headway.serving.package import CONFIG, WEIGHTS, ModelPackage
from tests.serving.conftest import TEXTS
from tests.serving.live.conftest import Shelf, until

OFTEN, NEVER = 0.01, 3600.0


@contextmanager
def started(source: Shelf, seconds: float = OFTEN) -> Iterator[LiveModel]:
    live = LiveModel(source, seconds)
    live.start()
    try:
        yield live
    finally:
        live.stop()


def serves(live: LiveModel, version: str) -> None:
    """Wait until a version answers."""
    until(lambda: live.status.version == version)


def swapped(live: LiveModel, number: int) -> None:
    """Wait until another model has taken over so many times."""
    until(lambda: live.status.swaps == number)


class Memory(Shelf):
    """A shelf whose packages are in memory already; each fetch makes a new one of the same weights."""

    def __init__(self, folders: dict[str, Path], key: str) -> None:
        super().__init__(folders, key)
        self.loaded = {version: ModelPackage.load(folder) for version, folder in folders.items()}

    def fetch(self, key: str) -> ServedModel:
        one = self.loaded[key]
        return ServedModel(ModelPackage(one.classifier, one.encoder, one.classes), "reviews", key, "", {})


def test_during_a_hundred_swaps_each_answer_comes_from_exactly_one_version(versions: dict[str, Path]) -> None:
    source = Memory(versions, "1")
    expected = {version: one.predict_proba(TEXTS[:2]) for version, one in source.loaded.items()}
    assert not np.allclose(expected["1"], expected["2"], atol=0.01)
    done = threading.Event()

    def ask(live: LiveModel) -> set[str]:
        seen = set()
        while not done.is_set():
            served = live.current
            np.testing.assert_allclose(served.package.predict_proba(TEXTS[:2]), expected[served.version], atol=1e-5)
            seen.add(served.version)
        return seen

    with started(source, NEVER) as live, ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, live) for _ in range(4)]
        try:
            for swap in range(1, 101):
                source.key = "123"[swap % 3]
                live.check_now()
                swapped(live, swap)
                assert live.current.version == live.status.version == source.key
        finally:
            done.set()
        assert set().union(*(one.result() for one in asking)) == set("123")
    assert (live.status.swaps, live.status.failures, live.status.problem) == (100, 0, None)


def test_another_version_takes_over_and_one_that_is_named_again_comes_back(shelf: Shelf) -> None:
    with started(shelf) as live:
        first = live.current.package.predict_proba(TEXTS)
        began = live.status
        for version in ("2", "1"):
            shelf.key = version
            serves(live, version)
        np.testing.assert_array_equal(live.current.package.predict_proba(TEXTS), first)
        assert live.status.loaded_at > began.loaded_at
    assert shelf.fetched == ["1", "2", "1"]


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-10] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def change_a_golden_prediction(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    hashes = config.pop("sha256")
    config["golden"][0]["probabilities"][0] = abs(config["golden"][0]["probabilities"][0] - 0.2)
    hashes[CONFIG] = sha256_of_json(config)
    (folder / CONFIG).write_text(json.dumps({**config, "sha256": hashes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (flip_a_byte, "SHA-256 differs"),
        (change_a_golden_prediction, "does not give the probabilities"),
        (lambda folder: (folder / WEIGHTS).unlink(), f"{WEIGHTS}: missing"),
        (shutil.rmtree, "not a model package"),
    ],
)
def test_a_model_that_is_not_as_it_was_saved_does_not_take_over(
    shelf: Shelf, damage: Callable[[Path], None], problem: str
) -> None:
    damage(shelf.folders["2"])
    with started(shelf) as live:
        before = live.current
        shelf.key = "2"
        until(lambda: live.status.failures > 0)
        until(lambda: live.status.problem)
        assert live.current is before
        assert problem in str(live.status.problem)
        assert (live.status.version, live.status.swaps) == ("1", 0)
        shelf.key = "3"
        until(lambda: live.status.version == "3")
        assert live.status.problem is None


def test_naming_the_current_version_again_clears_the_problem(shelf: Shelf) -> None:
    flip_a_byte(shelf.folders["2"])
    with started(shelf) as live:
        shelf.key = "2"
        until(lambda: live.status.problem)
        shelf.key = "1"
        until(lambda: live.status.problem is None)
    assert shelf.fetched.count("1") == 1


def test_a_model_that_fails_is_fetched_again_after_growing_pauses(shelf: Shelf) -> None:
    shelf.fetch_problem = None
    with started(shelf) as live:
        shelf.fetch_problem = HeadwayError("damaged")
        shelf.key = "2"
        until(lambda: live.status.failures >= 3)
        began = shelf.asked
        until(lambda: shelf.asked >= began + 60)
        assert shelf.fetched.count("2") < 30
        shelf.fetch_problem = None
        until(lambda: live.status.version == "2")


def test_a_hint_fetches_a_model_that_failed_again_at_once(shelf: Shelf) -> None:
    with started(shelf, NEVER) as live:
        shelf.fetch_problem = HeadwayError("damaged")
        shelf.key = "2"
        live.check_now()
        until(lambda: live.status.problem == "damaged")
        shelf.fetch_problem = None
        live.check_now()
        until(lambda: live.status.version == "2")


@pytest.mark.parametrize("where", ["problem", "fetch_problem"])
def test_a_registry_that_does_not_answer_is_no_failure_of_the_model(shelf: Shelf, where: str) -> None:
    with started(shelf) as live:
        before = live.current
        setattr(shelf, where, Unreachable("MLflow does not answer"))
        shelf.key = "2"
        until(lambda: live.status.problem == "MLflow does not answer")
        assert live.current is before
        assert live.status.failures == 0
        setattr(shelf, where, None)
        until(lambda: live.status.version == "2")
        assert live.status.problem is None


def test_an_alias_that_was_removed_leaves_the_model_in_place(shelf: Shelf) -> None:
    with started(shelf) as live:
        checked = live.status.checked_at
        shelf.problem = HeadwayError("model reviews has no champion")
        until(lambda: live.status.problem)
        assert live.current.version == "1"
        shelf.problem = None
        until(lambda: live.status.problem is None and live.status.checked_at > checked)


def test_an_unexpected_error_does_not_end_the_checks(shelf: Shelf) -> None:
    with started(shelf) as live:
        shelf.fetch_problem = RuntimeError("a defect\nwith two lines")
        shelf.key = "2"
        until(lambda: live.status.problem == "a defect")
        shelf.fetch_problem, shelf.problem = None, RuntimeError("another")
        until(lambda: live.status.problem == "another")
        shelf.problem = None
        until(lambda: live.status.version == "2")


def test_a_model_is_freed_when_its_last_request_ends_and_only_then_a_third_one_is_loaded(shelf: Shelf) -> None:
    with started(shelf) as live:
        request = live.current
        weights = weakref.ref(request.package.classifier.attention.output.weight)
        shelf.key = "2"
        until(lambda: live.status.version == "2")
        shelf.key = "3"
        asked = shelf.asked
        until(lambda: shelf.asked > asked)
        assert request.package.predict_proba(TEXTS).shape == (len(TEXTS), 3)
        assert shelf.fetched == ["1", "2"]
        assert weights() is not None
        del request
        until(lambda: live.status.version == "3")
        until(lambda: weights() is None)


def test_a_request_that_hangs_does_not_hold_up_the_third_model_for_good(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_model, "LONGEST_WAIT", 0.1)
    with started(shelf) as live:
        request = live.current
        for version in ("2", "3"):
            shelf.key = version
            serves(live, version)
        assert request.version == "1"


def test_stopping_does_not_wait_for_a_download_whose_model_then_does_not_take_over(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_model, "LONGEST_STOP", 0.1)
    downloading, go_on = threading.Event(), threading.Event()
    fetch = shelf.fetch

    def slow(key: str) -> ServedModel:
        downloading.set()
        go_on.wait(60)
        return fetch(key)

    with started(shelf) as live:
        shelf.fetch = slow  # type: ignore[method-assign]
        shelf.key = "2"
        assert downloading.wait(60)
        live.stop()
        assert not go_on.is_set()
        go_on.set()
        until(lambda: not live._thread.is_alive())
        assert live.current.version == "1"


def test_stopping_ends_the_checks(shelf: Shelf) -> None:
    with started(shelf, NEVER) as live:
        live.stop()
        assert not live._thread.is_alive()
        assert live.current.package.predict_proba(TEXTS[:1]).shape == (1, 3)


def test_a_source_that_does_not_move_is_asked_after_a_hint_alone(shelf: Shelf) -> None:
    shelf.moves = False
    with started(shelf) as live:
        shelf.key = "2"
        assert not live._stopping.wait(20 * OFTEN)
        assert shelf.asked == 1
        live.check_now()
        until(lambda: live.status.version == "2")


@pytest.mark.parametrize("where", ["problem", "fetch_problem"])
def test_without_a_first_model_it_does_not_start(shelf: Shelf, where: str) -> None:
    setattr(shelf, where, HeadwayError("there is none"))
    with pytest.raises(HeadwayError, match="there is none"):
        LiveModel(shelf, OFTEN).start()
