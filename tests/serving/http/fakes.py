"""Stand-ins for the parts that the service is given: a live model, a log, and a model that takes its time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from headway.serving.live.live_model import LiveStatus
from headway.serving.live.model import ServedModel
from headway.serving.package import ModelPackage

NOW = datetime(2026, 12, 1, 4, 0, tzinfo=UTC)


def fake_model(package: Any, version: str = "7", **facts: Any) -> ServedModel:
    """A served model around a package, which may be a stand-in."""
    return ServedModel(package, "sentiment", version, "f" * 64, facts.get("about", {"data": {"rows": 600}}))


class FakeLive:
    """Holds whatever model the test sets."""

    def __init__(self, model: ServedModel, **status: Any) -> None:
        self.current, self._status, self.checks = model, status, 0

    @property
    def status(self) -> LiveStatus:
        return LiveStatus(self.current.version, NOW, NOW, **self._status)

    def check_now(self) -> None:
        self.checks += 1


class AlternatingLive(FakeLive):
    """Another version at every look."""

    def __init__(self, *models: ServedModel) -> None:
        self._models, self._looks = models, 0

    @property  # type: ignore[override]
    def current(self) -> ServedModel:
        self._looks += 1
        return self._models[self._looks % len(self._models)]


@dataclass(frozen=True)
class FakeCounters:
    rows_written: int = 5
    rows_dropped: int = 2
    failed_writes: int = 1
    rows_waiting: int = 3
    problem: str | None = None


class FakeLog:
    """Remembers what it is given."""

    counters = FakeCounters()

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str]] = []  # role, version, id, text
        self.probabilities: list[np.ndarray] = []

    def add(
        self, model: Any, ids: Sequence[str], texts: Sequence[str], probabilities: np.ndarray, role: str = "champion"
    ) -> None:
        self.rows += [(role, model.version, identity, text) for identity, text in zip(ids, texts, strict=True)]
        self.probabilities += list(probabilities)


class HeldPackage:
    """A package that classifies only when the test lets it, and remembers its batches."""

    def __init__(self, package: ModelPackage) -> None:
        self._package, self.classes = package, package.classes
        self.begun, self.go = threading.Event(), threading.Event()
        self.batches: list[list[object]] = []

    def classify(self, texts: Sequence[object]) -> tuple[np.ndarray, list[str]]:
        self.batches.append(list(texts))
        self.begun.set()
        assert self.go.wait(60)
        return self._package.classify(texts)

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        return self.classify(texts)[0]


class FailingPackage:
    """A package that fails on the texts that a test names."""

    def __init__(self, package: ModelPackage, error: Exception, text: str) -> None:
        self._package, self.classes, self._error, self._text = package, package.classes, error, text

    def classify(self, texts: Sequence[object]) -> tuple[np.ndarray, list[str]]:
        if self._text in texts:
            raise self._error
        return self._package.classify(texts)
