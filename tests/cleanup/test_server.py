"""A cleanup through an MLflow server over HTTP, whose artifacts the server keeps: versions and files go, the rest is marked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from headway.cleanup import models
from headway.files import bytes_of
from headway.layout import Layout
from headway.promotion import history
from headway.promotion.champion import commit, reconcile
from headway.promotion.decision import PROMOTION, REFUSAL
from headway.promotion.project import Project
from headway.registry import packages, removal
from headway.registry.registry import MODEL_TAG, Registry, ref_of
from headway.serving import package
from headway.tracking import URI_VARIABLE, Tracker
from tests.mlflow_server import mlflow_server
from tests.promotion.conftest import Stock, decision_content


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which a server that MLFLOW_TRACKING_URI names keeps its artifacts."""
    with mlflow_server(tmp_path / "server") as url:
        monkeypatch.setenv(URI_VARIABLE, url)
        yield tmp_path / "server" / "artifacts"


@pytest.mark.e2e
def test_through_a_server_versions_and_files_go_and_runs_are_marked_as_deleted(
    stock: Stock, files: Path, tmp_path: Path
) -> None:
    layout = Layout(Path(shutil.copytree(stock.layout.root, tmp_path / "project")))
    sizes = []
    for number, folder in enumerate(stock.folders):
        tracker = Tracker(stock.params.override({"seed": number}), layout)
        registry = Registry(tracker)
        registry.log.create()
        with tracker.nested("training", "train", f"training {number}") as run:
            pass
        with packages.module_functions_use(tracker.uri):
            tags = {MODEL_TAG: package.fingerprint(folder)}
            version = registry.new_version(packages.log(folder, run.id, tags), run.id, tags)
        state = reconcile(registry)
        kind = REFUSAL if number == 1 else PROMOTION
        commit(registry, state, **decision_content(ref_of(version), state.champion_ref, kind))
        sizes.append(bytes_of(files))
    project = Project(tracker.params, layout, registry)

    before, groups = bytes_of(files), models.plan(project, keep=0)
    for group in groups:
        for step in group.steps:
            step()
    freed = before - bytes_of(files)
    assert freed == sum(group.size for group in groups if group.goes)
    assert freed > 0.8 * (sizes[1] - sizes[0])
    assert [str(version.version) for version in registry.versions()] == ["1", "3"]
    assert all(registry.loads(version) for version in registry.versions())
    assert history.examine(Registry(tracker))[1] == ""
    assert not removal.purges(tracker)
    assert not [step for group in models.plan(project, keep=0) for step in group.steps], "a second cleanup found something"
    with pytest.raises(MlflowException):
        registry.client.get_model_version(registry.name, "2")
