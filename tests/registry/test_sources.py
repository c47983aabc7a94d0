"""The model that a service answers with, from a real MLflow: a database through its client, a server with and without it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from headway.errors import HeadwayError, Unreachable
from headway.registry.client_source import ClientSource
from headway.registry.registry import CHAMPION, MODEL_TAG, Registry
from headway.registry.rest_source import RestSource
from headway.registry.sources import open_source
from headway.serving.live.live_model import LiveModel
from headway.serving.live.source import FolderSource
from headway.serving.package import ModelPackage
from tests.promotion.conftest import Stock
from tests.registry.test_over_http import Remote, named, remote
from tests.serving.live.conftest import until
from tests.serving.test_package import REFUSE_ABSENT, modules_beyond

__all__ = ["remote"]

TEXTS = ["a fine film", "dull"]
SOURCES = pytest.mark.parametrize("kind", [RestSource, ClientSource])


@pytest.fixture
def registry(remote: Remote, request: pytest.FixtureRequest) -> Registry:
    """A registered model of the test's own on the server, with two versions, the first of which is champion."""
    made = named(remote, re.sub(r"\W", "-", request.node.name))
    first = made.register(
        remote.stock.folders[0], remote.run, {"headway.git_commit": "abc", "headway.data_fingerprint": "def"}
    )
    made.register(remote.stock.folders[1], remote.run, {})
    made.set_champion(first)
    return made


def answers(folder: Path) -> np.ndarray:
    return ModelPackage.load(folder).predict_proba(TEXTS)


def stored(remote: Remote, registry: Registry, number: str) -> Path:
    """The folder of a version's package in the server's artifact store."""
    version = registry.version(number)
    assert version
    (folder,) = (remote.stored(str(version.source).split("/")[-1]) / "data").iterdir()
    return folder


# Names.


def test_a_folder_an_alias_and_a_number_are_distinguished_as_by_load(stock: Stock) -> None:
    folder = open_source(str(stock.folders[0]))
    assert isinstance(folder, FolderSource)
    assert open_source("champion", model_name="m", tracking_uri="http://127.0.0.1:9").moves
    assert not open_source("7", model_name="m", tracking_uri="http://127.0.0.1:9").moves
    assert not folder.moves
    for wrong in ("champoin", "", "x" * 5000):
        with pytest.raises(HeadwayError):
            open_source(wrong)


def test_outside_of_a_project_the_error_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(HeadwayError, match="MLFLOW_TRACKING_URI"):
        open_source("champion")


def test_without_mlflow_a_server_is_read_by_its_api_and_a_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "headway.registry.client_source", None)
    assert isinstance(open_source("champion", model_name="m", tracking_uri="https://127.0.0.1:9"), RestSource)
    with pytest.raises(HeadwayError, match="install MLflow"):
        open_source("champion", model_name="m", tracking_uri="sqlite:////srv/mlflow.db")


# A project's own database.


def test_a_projects_own_database_is_read_through_the_client(
    stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    registry = Registry(stock.tracker(tmp_path / "project"))
    registry.set_champion(registry.register(stock.folders[2], stock.run, {}))
    source = open_source("champion", project=tmp_path / "project")
    assert isinstance(source, ClientSource)
    served = source.fetch(source.newest())
    assert (served.name, served.version) == (registry.name, "1")
    np.testing.assert_array_equal(served.package.predict_proba(TEXTS), answers(stock.folders[2]))


# A server.


@pytest.mark.e2e
@SOURCES
def test_a_server_gives_the_champion_with_what_is_known_about_it(
    remote: Remote, registry: Registry, kind: Callable[..., RestSource | ClientSource]
) -> None:
    first = registry.version("1")
    assert first
    tags = {"headway.decision_kind": "promotion", "headway.decision": "runs:/x/y.json"}
    registry.annotate(first, tags, "Promoted: better by 1 point\n\nDetails.", {})
    model_id = str(first.source).removeprefix("models:/")
    run = registry.client.create_run(registry.tracker.experiment_id).info.run_id
    registry.client.log_metric(run, "test_accuracy", 0.875, model_id=model_id)
    source = kind(remote.url, registry.name, CHAMPION)
    served = source.fetch(source.newest())
    np.testing.assert_array_equal(served.package.predict_proba(TEXTS), answers(remote.stock.folders[0]))
    assert (served.name, served.version, served.fingerprint) == (registry.name, "1", first.tags[MODEL_TAG])
    about = json.loads(json.dumps(served.about))
    assert about["decision"] == {"kind": "promotion", "headline": "Promoted: better by 1 point", "record": "runs:/x/y.json"}
    assert about["data"] == {"fingerprint": "def"}
    assert about["code"] == {"git_commit": "abc"}
    assert about["metrics"] == {"test_accuracy": 0.875}
    assert about["registered"]["created_at"].endswith("+00:00")
    assert about["registered"]["run"] == remote.run
    assert about["classes"] == ["negative", "positive"]


@pytest.mark.e2e
@SOURCES
def test_a_promotion_and_a_rollback_are_followed_and_damaged_versions_are_not(
    remote: Remote, registry: Registry, kind: Callable[..., RestSource | ClientSource]
) -> None:
    first, second = registry.version("1"), registry.version("2")
    assert first
    assert second
    live = LiveModel(kind(remote.url, registry.name, CHAMPION), 0.2)
    live.start()
    try:
        registry.set_champion(second)
        until(lambda: live.status.version == "2")
        np.testing.assert_array_equal(live.current.package.predict_proba(TEXTS), answers(remote.stock.folders[1]))
        registry.set_champion(first)
        until(lambda: live.status.version == "1")
        registry.client.set_model_version_tag(registry.name, "2", MODEL_TAG, "0" * 64)
        registry.set_champion(second)
        until(lambda: live.status.problem)
        assert "SHA-256 differs from that of the registered model" in str(live.status.problem)
        registry.set_champion(first)
        until(lambda: live.status.problem is None)
        registry.client.set_model_version_tag(registry.name, "2", MODEL_TAG, second.tags[MODEL_TAG])
        weights = stored(remote, registry, "2") / "weights.safetensors"
        content = weights.read_bytes()
        weights.unlink()
        registry.set_champion(second)
        until(lambda: live.status.problem)
        assert "restore its files" in str(live.status.problem)
        assert live.status.version == "1"
        weights.write_bytes(content)
        live.check_now()
        until(lambda: live.status.version == "2")
        registry.set_champion(None)
        until(lambda: live.status.problem)
        assert "has no champion" in str(live.status.problem)
        assert live.status.version == "2"
    finally:
        live.stop()


@pytest.mark.e2e
@SOURCES
def test_a_server_that_vanishes_leaves_the_model_in_place(
    remote: Remote, registry: Registry, kind: Callable[..., RestSource | ClientSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = kind(remote.url, registry.name, CHAMPION)
    live = LiveModel(source, 0.1)
    live.start()
    try:
        elsewhere = kind("http://127.0.0.1:9", registry.name, CHAMPION)
        monkeypatch.setattr(source, "newest", elsewhere.newest)
        until(lambda: live.status.problem)
        assert "127.0.0.1:9" in str(live.status.problem)
        assert (live.status.version, live.status.failures) == ("1", 0)
    finally:
        live.stop()
    with pytest.raises(Unreachable):
        elsewhere.fetch("1/x")


SERVE = (
    REFUSE_ABSENT
    + """
from headway.registry.sources import open_source
from headway.serving.live.live_model import LiveModel

live = LiveModel(open_source("champion", model_name=sys.argv[2], tracking_uri=sys.argv[1]), 60)
live.start()
print(live.current.version, *live.current.package.predict_proba(sys.argv[4:])[:, 0])
live.stop()
"""
)


@pytest.mark.e2e
def test_a_process_with_only_the_serving_extra_serves_the_champion_of_a_server(remote: Remote, registry: Registry) -> None:
    absent = modules_beyond("serving")
    assert absent > {"mlflow", "requests", "sqlalchemy"}
    command = [sys.executable, "-c", SERVE, remote.url, registry.name, ",".join(sorted(absent)), *TEXTS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    version, *probabilities = done.stdout.split()
    assert version == "1"
    np.testing.assert_allclose([float(one) for one in probabilities], answers(remote.stock.folders[0])[:, 0], atol=1e-6)
