"""What a cleanup keeps and removes in MLflow: many retrainings stay within a bound, and nothing that is needed goes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from dvc.repo import Repo
from mlflow.utils.file_utils import local_file_uri_to_path

from headway.cleanup import Group, models, plan
from headway.errors import HeadwayError
from headway.files import bytes_of, fresh_folder
from headway.layout import Layout
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.params import Params
from headway.promotion import history
from headway.promotion.candidates import require_version
from headway.promotion.champion import commit, reconcile
from headway.promotion.decision import PROMOTION, REFUSAL
from headway.promotion.lineage_report import trace_back
from headway.promotion.project import Project
from headway.promotion.rollback import roll_back
from headway.registry import packages, removal
from headway.registry.download import fetch
from headway.registry.ownership import OWNER_TAG, Identity
from headway.registry.registry import Registry, ref_of
from headway.serving import package
from headway.tracking import URI_VARIABLE, Tracker
from tests.promotion.conftest import REQUESTER, Stock, decision_content

KEEP = 3
GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
RETRAININGS, PROMOTED = 12, (1, 4, 8)


@dataclass(frozen=True)
class Retrained:
    """A project after some retrainings, and what the artifacts of one take up."""

    project: Project
    bytes_each: int

    @property
    def registry(self) -> Registry:
        return self.project.registry

    def numbers(self) -> list[int]:
        return [int(version.version) for version in self.registry.versions()]

    def plan(self, keep: int = KEEP) -> list[Group]:
        return models.plan(self.project, keep)

    def clean(self, keep: int = KEEP, steps: int | None = None) -> int:
        """Carry out a plan, or its first steps; returns how many."""
        todo = [step for group in self.plan(keep) for step in group.steps][:steps]
        for step in todo:
            step()
        return len(todo)


def retrain(params: Params, layout: Layout, number: int) -> Registry:
    """One flow, as far as MLflow sees it: a pipeline's run with a trial and a training, a version, and a decision."""
    tracker = Tracker(params.override({"seed": number}), layout)
    torch.manual_seed(number)
    with tracker.execution():
        with tracker.nested("trial", "trial 0", f"trial {number}"):
            pass
        with tracker.nested("training", "train", f"training {number}") as run:
            run.log_metrics({"loss": 1.0})
            run.log_artifacts([layout.params])
        with fresh_folder(layout.candidate) as folder:
            classifier = AttentionClassifier(params.model, 2000, 2)
            torch.nn.init.normal_(classifier.output.weight)
            tokenizer = layout.encoded / "tokenizer.json"
            package.save(folder, JointClassifier(None, classifier), tokenizer, 64, 2000, ["negative", "positive"])
        registry = Registry(tracker)
        version = registry.register(layout.candidate, run.id, {})
        state = reconcile(registry)
        kind = PROMOTION if number in PROMOTED else REFUSAL
        content = decision_content(
            ref_of(version), state.champion_ref, kind, test_rows={"sha256": f"{number:064d}", "rows": 9}
        )
        commit(registry, state, **content)
    return registry


def retrained(stock: Stock, root: Path, times: int, versioned: bool = False) -> Retrained:
    """A project after some retrainings; versioned by git and DVC, with all that a flow leaves, if that is asked for."""
    layout = Layout(Path(shutil.copytree(stock.layout.root, root)))
    shutil.rmtree(layout.tracking)
    if versioned:
        shutil.rmtree(layout.scratch, ignore_errors=True)
        (layout.root / ".gitignore").write_text("/mlruns\n/.headway\n/data\n")
        for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
            subprocess.run(command, cwd=layout.root, check=True, capture_output=True)
    Tracker(stock.params, layout)
    one = 0
    for number in range(1, times + 1):
        registry = retrain(stock.params, layout, number)
        one = one or bytes_of(layout.artifacts)
        if versioned:
            leave_files(layout, number)
    return Retrained(Project(registry.tracker.params, layout, registry), one)


@pytest.fixture(scope="module")
def seven(stock: Stock, tmp_path_factory: pytest.TempPathFactory) -> Retrained:
    """A project after seven retrainings. Only to be copied."""
    return retrained(stock, tmp_path_factory.mktemp("seven") / "project", 7)


@pytest.fixture
def project(seven: Retrained, tmp_path: Path) -> Retrained:
    layout = Layout(Path(shutil.copytree(seven.project.layout.root, tmp_path / "project")))
    registry = Registry(Tracker(seven.project.params, layout))
    return replace(seven, project=Project(seven.project.params, layout, registry))


def leave_files(layout: Layout, number: int) -> None:
    """What a flow leaves beside MLflow: its package in DVC's cache and in a commit; a study, checkpoints and encoded texts."""
    for name in ("study", "checkpoints", "encoded"):
        shutil.copytree(layout.candidate, layout.scratch / name / str(number))
    added = layout.root / "added"  # DVC refuses to add an out of a stage by hand
    shutil.rmtree(added, ignore_errors=True)
    shutil.copytree(layout.candidate, added)
    with Repo(str(layout.root)) as repo:
        repo.add(str(added))
    for words in (["add", "--all"], ["commit", "--quiet", "--message", f"flow {number}"]):
        subprocess.run([*GIT, *words], cwd=layout.root, check=True, capture_output=True)


def test_many_retrainings_take_no_more_space_than_what_is_kept(
    stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    many = retrained(stock, tmp_path / "project", RETRAININGS, versioned=True)
    layout = many.project.layout
    before = history.decisions(many.registry)
    cache = layout.root / ".dvc" / "cache"
    folders = (layout.tracking, cache, layout.scratch)
    size_before = sum(map(bytes_of, folders))
    candidate = bytes_of(layout.candidate)
    for step in [step for group in plan(many.project, KEEP, []) for step in group.steps]:
        step()
    assert bytes_of(cache) < 1.2 * candidate
    assert bytes_of(layout.scratch) < 2.2 * candidate, "the last checkpoints and encoded texts; no study is a current one"
    assert sum(map(bytes_of, folders)) < size_before / 2
    assert not [group for group in plan(many.project, KEEP, []) if group.steps and group.what != "MLflow database"]
    assert many.numbers() == [*PROMOTED, 10, 11, 12]
    # The records of all decisions stay, a few kilobytes each.
    records = RETRAININGS * 20_000
    assert bytes_of(many.project.layout.artifacts) < len(many.numbers()) * 1.2 * many.bytes_each + records
    assert len(removal.all_runs(many.registry.tracker)) == 6 * 3, "a pipeline's run, a trial and a training each"
    assert history.examine(Registry(many.registry.tracker)) == (before, "")
    for number in ("4", "1"):
        roll_back(many.registry, None, "the new one is worse", REQUESTER, {})
        assert reconcile(many.registry).champion_number == number
    many.registry.load(reconcile(many.registry).champion)
    assert many.clean() == 0, "a second cleanup found something"


def test_a_plan_changes_nothing_and_says_how_much_goes(project: Retrained) -> None:
    folder = project.project.layout.artifacts
    before = bytes_of(folder)
    groups = {(group.what, group.goes): group for group in project.plan()}
    assert bytes_of(folder) == before
    assert groups["versions", False].count == 5
    assert groups["versions", True].count == 2
    assert groups["runs", True].count == 6
    planned = sum(group.size for group in groups.values() if group.goes)
    project.clean()
    assert before - bytes_of(folder) == planned


@pytest.mark.parametrize("steps", range(1, 10, 2))
def test_a_cleanup_that_was_killed_is_completed_by_the_next(project: Retrained, steps: int) -> None:
    done = project.clean(steps=steps)
    assert done == steps
    assert project.clean() > 0
    assert project.numbers() == [1, 4, 5, 6, 7]
    assert len(removal.all_runs(project.registry.tracker)) == 5 * 3
    kept = {f"{folder.parent.name}" for folder in (project.project.layout.artifacts / "models").glob("*/artifacts")}
    assert len(kept) == 5
    assert project.clean() == 0


def test_candidates_and_the_stages_own_model_stay(project: Retrained) -> None:
    registry = project.registry
    registry.client.set_registered_model_alias(registry.name, "favourite", "2")
    project.clean(keep=0)
    assert project.numbers() == [1, 2, 4, 7]


def test_runs_and_models_of_other_programs_stay(project: Retrained) -> None:
    client, experiment = project.registry.client, project.registry.tracker.experiment_id
    run = client.create_run(experiment, run_name="by hand").info.run_id
    model = client.create_logged_model(experiment, "by hand", source_run_id=run).model_id
    project.clean(keep=0)
    assert client.get_run(run).info.run_name == "by hand"
    assert client.get_logged_model(model).name == "by hand"


def test_an_upload_that_was_never_registered_goes_after_a_day(project: Retrained, monkeypatch: pytest.MonkeyPatch) -> None:
    client, tracker = project.registry.client, project.registry.tracker
    project.clean()
    run = project.registry.version("7").run_id
    orphan = client.create_logged_model(tracker.experiment_id, "model", source_run_id=run).model_id
    assert project.clean() == 0
    monkeypatch.setattr(models, "LEFT_OVER", -1)
    assert project.clean() == 1
    assert orphan not in {model.model_id for model in removal.all_logged_models(tracker)}


def test_a_broken_history_stops_a_cleanup(project: Retrained) -> None:
    file = next(project.project.layout.artifacts.rglob("records/*.json"))
    file.write_text("{}")
    with pytest.raises(HeadwayError, match="the history of headway is broken"):
        project.plan()


def test_files_of_others_are_not_touched_wherever_a_run_says_its_artifacts_are(project: Retrained, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (run,) = [run for run in removal.all_runs(project.registry.tracker) if run.data.tags.get("headway.key") == "training 2"]
    run.info._artifact_uri = precious.as_uri()
    with pytest.raises(HeadwayError, match="expected a folder of its own"):
        removal.remove_run(project.registry.tracker, run)
    assert precious.is_dir()


def test_versions_of_other_registered_models_keep_their_files_and_runs(project: Retrained) -> None:
    """Two registered models in one experiment: the second is served from a package and a run that the first has dropped."""
    registry = project.registry
    dropped = registry.version("2")
    assert dropped is not None
    addressed = registry.version("3")
    assert addressed is not None
    registry.client.create_registered_model("another")
    with packages.module_functions_use(registry.tracker.uri):
        registry.client.create_model_version("another", str(dropped.source))
    registry.client.create_model_version("another", f"runs:/{addressed.run_id}/model")
    copied = registry.client.copy_model_version(f"models:/{registry.name}/5", "another")
    project.clean(keep=0)
    assert project.numbers() == [1, 4, 7]
    assert registry.has_run(str(dropped.run_id))
    assert registry.has_run(str(addressed.run_id))
    other = registry.client.get_model_version("another", "1")
    fetch(registry.client, other)
    assert Path(local_file_uri_to_path(registry.client.get_model_version_download_uri("another", copied.version))).is_dir()
    assert project.clean(keep=0) == 0


def test_a_cleanup_refuses_a_registered_model_of_another_project(
    project: Retrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "server.db"
    shutil.copyfile(project.project.layout.tracking_database, shared)
    monkeypatch.setenv(URI_VARIABLE, f"sqlite:///{shared}")
    registry = Registry(Tracker(project.project.params, project.project.layout))
    owner = Identity(source="package:another", labels=("billing", "shipping"))
    registry.client.set_registered_model_tag(registry.name, OWNER_TAG, owner.model_dump_json())
    with pytest.raises(HeadwayError, match="belongs to another project"):
        plan(replace(project.project, registry=registry), KEEP, [])


@pytest.mark.parametrize("address", ["s3://bucket/mlruns/artifacts", "mlflow-artifacts:/1/another/artifacts"])
def test_remote_files_of_others_are_not_touched(project: Retrained, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    stores: list[Store] = []
    monkeypatch.setattr(removal, "get_artifact_repository", lambda *_: stores.append(Store()) or stores[-1])
    tracker = project.registry.tracker
    run, model = removal.all_runs(tracker)[0], removal.all_logged_models(tracker)[0]
    for owner, remove in (
        (run.info.run_id, partial(removal.remove_run, tracker, run)),
        (model.model_id, partial(removal.remove_logged_model, tracker, model)),
    ):
        run.info._artifact_uri = model._artifact_location = address
        with pytest.raises(HeadwayError, match="expected a folder of its own"):
            removal.artifact_bytes(tracker, address, owner)
        with pytest.raises(HeadwayError, match="expected a folder of its own"):
            remove()
        assert not stores
        run.info._artifact_uri = model._artifact_location = f"s3://bucket/1/{owner}/artifacts"
        remove()
        assert stores.pop().emptied


class Store:
    """Stands for a remote artifact store."""

    emptied = False

    def delete_artifacts(self) -> None:
        self.emptied = True


def test_a_version_that_is_gone_is_explained(project: Retrained) -> None:
    project.clean()
    state = reconcile(project.registry)
    with pytest.raises(HeadwayError, match=r"version 2 of headway was removed from MLflow"):
        require_version(project.registry, state, "2")
    lines = trace_back(project.registry, project.project.layout, "2")
    assert "version 2 of headway, removed from MLflow" in lines[0]
    assert any("refusal" in line for line in lines)
