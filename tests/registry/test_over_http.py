"""Every kind of call that Headway makes to MLflow, against a real server over HTTP with artifacts through its proxy."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mlflow.server.security_utils import is_allowed_host_header

import headway
from headway.errors import HeadwayError, Unreachable
from headway.promotion import history
from headway.promotion.champion import commit, reconcile
from headway.promotion.rollback import roll_back
from headway.registry import record_log
from headway.registry.record_log import LogConflict
from headway.registry.registry import CHALLENGER, CHAMPION, Registry, ref_of
from headway.serving.package import ModelPackage
from headway.tracking import URI_VARIABLE, Tracker
from tests.mlflow_server import PAGE, documented_command, mlflow_server
from tests.promotion.conftest import REQUESTER, Stock, decision_content

pytestmark = pytest.mark.e2e


@dataclass
class Remote:
    """A project that uses a server; the server's folder, and a training run."""

    stock: Stock
    folder: Path
    url: str
    root: Path
    registry: Registry
    run: str

    def stored(self, model_id: str) -> Path:
        (found,) = (self.folder / "artifacts").rglob(f"{model_id}/artifacts")
        return found


@pytest.fixture(scope="module")
def remote(stock: Stock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    """One server for the tests of this file, each with a registered model of its own."""
    root, folder = tmp_path_factory.mktemp("remote") / "project", tmp_path_factory.mktemp("server")
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(stock.layout.root / name, root / name)
    with mlflow_server(folder) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv(URI_VARIABLE, url)
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        tracker = Tracker(stock.params, type(stock.layout)(root))
        with tracker.nested("training", "train", "a key") as run:
            run.log_params({"learning_rate": 0.1})
            run.log_metrics({"loss": 0.5}, step=1)
            run.log_artifacts([root / "params.yaml"], "training")
        yield Remote(stock, folder, url, root, Registry(tracker), run.id)


def named(remote: Remote, name: str) -> Registry:
    """A registered model of the test's own."""
    params = remote.stock.params.override({"registry.model_name": name})
    return Registry(Tracker(params, remote.registry.tracker.layout))


def test_a_version_is_registered_found_loaded_and_made_champion(remote: Remote) -> None:
    registry = named(remote, "registered")
    first = registry.register(remote.stock.folders[0], remote.run, {"headway.git_commit": "abc"})
    again = registry.register(remote.stock.folders[0], remote.run, {})
    assert str(first.version) == str(again.version) == "1"
    assert first.tags["headway.git_commit"] == "abc"
    registry.set_champion(first)
    second = registry.register(remote.stock.folders[1], remote.run, {})
    assert [(str(one.version), one.aliases) for one in registry.versions()] == [("1", [CHAMPION]), ("2", [CHALLENGER])]
    assert registry.loads(second)
    model = headway.load("champion", project=remote.root, model_name="registered")
    here = ModelPackage.load(remote.stock.folders[0]).predict_proba(["a fine film", "dull"])
    np.testing.assert_array_equal(model.predict_proba(["a fine film", "dull"]), here)
    registry.set_champion(None)
    assert registry.champion() is None
    assert registry.version("9") is None


def test_a_registration_that_failed_uploads_nothing_when_it_is_repeated(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, folder = named(remote, "repeated"), remote.stock.folders[2]

    def logged() -> int:
        return len(registry.client.search_logged_models([registry.tracker.experiment_id]))

    before = logged()
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "new_version", lambda *_: pytest.fail("the server ends here"))
        for _ in range(2):
            with pytest.raises(pytest.fail.Exception):
                registry.register(folder, remote.run, {})
    assert logged() == before + 1
    version = registry.register(folder, remote.run, {})
    assert logged() == before + 1
    assert registry.loads(version)


def test_a_damaged_upload_is_not_taken_for_the_model(remote: Remote) -> None:
    registry, folder = named(remote, "damaged"), remote.stock.folders[1]
    first = registry.register(folder, remote.run, {})
    (remote.stored(str(first.source).split("/")[-1]) / "data" / folder.name / "weights.safetensors").unlink()
    with pytest.raises(HeadwayError, match="restore its files") as refusal:
        registry.load(first)
    assert not isinstance(refusal.value, Unreachable)
    assert registry.loads(registry.register(folder, remote.run, {}))


def test_a_version_whose_files_are_gone_from_the_server_is_lost(remote: Remote) -> None:
    registry = named(remote, "gone")
    version = registry.register(remote.stock.folders[0], remote.run, {})
    shutil.rmtree(remote.stored(str(version.source).split("/")[-1]))
    assert not registry.loads(version)
    with pytest.raises(HeadwayError, match="restore its files"):
        headway.load("1", project=remote.root, model_name="gone")


def test_a_history_is_kept_and_two_writers_cannot_both_append(remote: Remote) -> None:
    registry = named(remote, "history")
    versions = [registry.register(folder, remote.run, {}) for folder in remote.stock.folders[:2]]
    for version in versions:
        state = reconcile(registry)
        commit(registry, state, **decision_content(ref_of(version), state.champion_ref))
    assert str(registry.champion().version) == "2"
    roll_back(registry, None, "a test", REQUESTER, {})
    assert str(registry.champion().version) == "1"
    decisions, problem = history.examine(Registry(registry.tracker))
    assert ([one.kind for one in decisions], problem) == (["promotion", "promotion", "rollback"], "")
    run = registry.client.get_run(remote.run)
    assert {one.path for one in registry.client.list_artifacts(run.info.run_id)} >= {"decisions", "training"}
    with pytest.raises(LogConflict):
        registry.log.append(3, "another", "{}")


def test_a_deleted_experiment_and_a_deleted_log_are_restored(remote: Remote) -> None:
    registry = named(remote, "restored")
    version = registry.register(remote.stock.folders[0], remote.run, {})
    commit(registry, reconcile(registry), **decision_content(ref_of(version), None))
    client, experiment = registry.client, registry.tracker.experiment_id
    client.delete_run(client.get_registered_model("restored").tags[record_log.RUN_TAG])
    client.delete_experiment(experiment)
    again = named(remote, "restored")
    assert again.tracker.experiment_id == experiment
    roll = reconcile(again)
    assert [one.number for one in roll.decisions] == [1]
    commit(again, roll, **decision_content(ref_of(version), roll.champion_ref, "refusal"))
    assert len(history.decisions(again)) == 2


def test_a_run_that_was_deleted_does_not_take_its_version_along(remote: Remote) -> None:
    tracker = remote.registry.tracker
    with tracker.nested("training", "train", "deleted later") as run:
        pass
    registry = named(remote, "outlives")
    version = registry.register(remote.stock.folders[0], run.id, {})
    tracker.client.delete_run(run.id)
    assert not registry.has_run(run.id)
    commit(registry, reconcile(registry), **decision_content(ref_of(version), None))
    assert registry.loads(registry.champion())
    assert run.id not in registry.runs()


def test_the_documented_team_server_answers_under_the_name_that_clients_are_given() -> None:
    (address,) = re.findall(r"^\$ export MLFLOW_TRACKING_URI=http://(\S+)$", PAGE.read_text(), re.MULTILINE)
    words = documented_command("postgresql")
    hosts = words[words.index("--allowed-hosts") + 1].split(",")
    assert words[words.index("--host") + 1] == "0.0.0.0"
    assert is_allowed_host_header(hosts, address)
    assert not is_allowed_host_header(hosts, "elsewhere.example:5000")
