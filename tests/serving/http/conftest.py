"""The application around a small package, asked in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from headway.serving.http.app import create_app
from headway.serving.http.settings import ServeSettings
from headway.serving.package import ModelPackage
from tests.serving.http.fakes import FakeLive, fake_model

Ask = Callable[..., TestClient]


@pytest.fixture(scope="package")
def package(saved: Path) -> ModelPackage:
    return ModelPackage.load(saved)


@pytest.fixture
def live(package: ModelPackage) -> FakeLive:
    return FakeLive(fake_model(package))


@pytest.fixture
def start(live: FakeLive) -> Iterator[Ask]:
    """Start the application with some settings; returns a client. It ends with the test."""
    with ExitStack() as stack:

        def started(model: Any = live, settings: ServeSettings | None = None, **parts: Any) -> TestClient:
            chosen = settings or ServeSettings(**{key: parts.pop(key) for key in list(parts) if key not in PARTS})
            app = create_app(model, chosen, **parts)
            return stack.enter_context(TestClient(app, base_url="http://localhost:8000", raise_server_exceptions=False))

        yield started


PARTS = ("log", "shadow", "add_labels", "read_monitoring")


@pytest.fixture
def client(start: Ask) -> TestClient:
    """A client of a service with default settings."""
    return start()


def code(answer: Any) -> tuple[int, str]:
    """Status and code of an error, whose body has nothing else than the error."""
    content = answer.json()
    assert content.keys() == {"error"}
    assert content["error"].keys() == {"code", "message"}
    assert "\n" not in content["error"]["message"]
    return answer.status_code, content["error"]["code"]
