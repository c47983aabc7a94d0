"""The gate's part of the flow on a real candidate and a real registry: judged, recorded, promoted, each of it once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion

from flows.promotion import decide_and_promote
from flows.verdict import PROMOTED, REFUSED, UNCHANGED, unchanged
from headway.errors import Unreachable
from headway.evaluation import plots
from headway.files import sha256_of_file, write_json
from headway.layout import Layout
from headway.params import Params
from headway.registry.promotion import CHAMPION, DECISION_TAG, Registry
from headway.stages.train import training_run
from headway.tracking import Tracker
from tests.conftest import Slice
from tests.stages.conftest import FOUND, SMALL, with_database

# Few sentences are no match for the linear model; what is tested is what becomes of the verdict.
LENIENT = {"gate.min_test_rows": 10, "gate.baseline_margin": 0.9, "gate.bootstrap_samples": 200}
LINEAGE = ("headway.git_commit", "headway.dvc_lock", "headway.data_fingerprint", "headway.params")


@dataclass(frozen=True)
class Candidate:
    """A project in which every stage has run, and what the gate is given of it."""

    params: Params
    layout: Layout
    tracker: Tracker

    def decide(self, registry: Registry | None = None, **params: Any) -> Any:
        chosen = self.params.override(params)
        return decide_and_promote(chosen, self.layout, self.tracker, registry or Registry(self.tracker))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing of ours in it."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="module")
def staged(reviews: Slice, database: Path, tmp_path_factory: pytest.TempPathFactory) -> Slice:
    """The files that the stages leave; only to be copied."""
    from headway.stages.baseline import baseline
    from headway.stages.evaluate import evaluate
    from headway.stages.train import train

    layout = Layout(Path(shutil.copytree(reviews.layout.root, tmp_path_factory.mktemp("staged") / "project")))
    with_database(layout, database)
    params = reviews.params.override({**SMALL, **LENIENT})
    write_json(layout.study / "best_params.json", FOUND)
    plots.learning_curve([], layout.plot("search_history"))  # what it shows does not matter here
    baseline(params, layout)
    train(params, layout, Tracker(params, layout))
    evaluate(params, layout)
    layout.lock.write_text("schema: '2.0'\n")
    return Slice(params, layout)


@pytest.fixture
def candidate(staged: Slice, database: Path, tmp_path: Path) -> Candidate:
    """The same files in a project of the test's own, of which MLflow knows nothing yet."""
    root = Path(shutil.copytree(staged.layout.root, tmp_path / "project", ignore=shutil.ignore_patterns("mlruns")))
    layout = with_database(Layout(root), database)
    return Candidate(staged.params, layout, Tracker(staged.params, layout))


class DiesRecording(Registry):
    """Interrupted once the version is registered."""

    def record(self, version: ModelVersion, run_id: str, record: Mapping[str, Any]) -> None:
        raise KeyboardInterrupt


class DiesPromoting(Registry):
    """Interrupted once the decision is recorded."""

    def promote(self, version: ModelVersion, instead_of: ModelVersion | None) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("registry", [DiesRecording, DiesPromoting])
def test_what_an_interruption_left_is_completed_with_one_champion_and_one_record(
    candidate: Candidate, registry: type[Registry]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        candidate.decide(registry(candidate.tracker))
    whole = Registry(candidate.tracker)
    assert whole.champion() is None
    verdict = candidate.decide()
    assert (verdict.outcome, verdict.champion) == (PROMOTED, "1")
    (version,) = whole.client.search_model_versions(f"name = '{whole.name}'")
    version = whole.client.get_model_version(whole.name, version.version)
    assert version.aliases == [CHAMPION]
    (kept,) = whole.client.list_artifacts(version.run_id, "decisions")
    assert json.loads(version.tags[DECISION_TAG])["id"][:12] in kept.path
    again = unchanged(candidate.layout, whole)
    assert again is not None
    assert (again.outcome, again.champion) == (UNCHANGED, "1")


def test_run_and_version_agree_on_the_lock_that_the_training_led_to(candidate: Candidate) -> None:
    run_id = training_run(candidate.params, candidate.layout, candidate.tracker)
    client = candidate.tracker.client
    before = client.get_run(run_id)
    candidate.layout.lock.write_text("schema: '2.0'\nstages: {}\n")  # as DVC does once the stage is over
    candidate.decide()
    champion = Registry(candidate.tracker).champion()
    assert champion is not None
    after = client.get_run(run_id)
    assert {name: after.data.tags[name] for name in LINEAGE} == {name: champion.tags[name] for name in LINEAGE}
    assert after.data.tags["headway.dvc_lock"] == sha256_of_file(candidate.layout.lock)
    assert after.data.tags["headway.dvc_lock"] != before.data.tags["headway.dvc_lock"]
    assert after.info.status == "FINISHED"


def test_a_refusal_leaves_its_reasons_and_no_champion(candidate: Candidate) -> None:
    verdict = candidate.decide(**{"gate.min_test_rows": 10_000})
    assert (verdict.outcome, verdict.champion, verdict.problem) == (REFUSED, None, "")
    assert any("at least 10,000 are needed" in line for line in verdict.lines)
    assert Registry(candidate.tracker).champion() is None


def test_an_outage_of_the_champions_store_refuses_nobody(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry(candidate.tracker)
    registry.client.create_registered_model(registry.name)
    registry.client.create_model_version(registry.name, "http://127.0.0.1:9/model")
    registry.client.set_registered_model_alias(registry.name, CHAMPION, "1")
    with pytest.raises(Unreachable, match=r"^the files of version 1 of headway cannot be fetched"):
        candidate.decide(registry)
    assert len(registry.client.search_model_versions(f"name = '{registry.name}'")) == 1
