"""The gate's part of the flow on a real candidate and a real registry: judged, recorded, promoted, each of it once."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import pytest

from flows.promotion import decide_and_promote
from flows.verdict import REFUSED, UNCHANGED, Verdict, settled
from headway.errors import Unreachable
from headway.evaluation import plots
from headway.files import sha256_of_file, write_json
from headway.layout import Layout
from headway.lineage import execution_key
from headway.params import Params
from headway.registry.office import VERDICT_TAG, standing
from headway.registry.records import PROMOTION, REFUSAL, asked_by
from headway.registry.registry import CHAMPION, Registry
from headway.stages.train import training_run
from headway.tracking import Tracker
from tests.conftest import Slice
from tests.stages.conftest import FOUND, SMALL, with_database

# Few sentences are no match for the linear model; what is tested is what becomes of the verdict.
LENIENT = {"gate.min_test_rows": 10, "gate.baseline_margin": 0.9, "gate.bootstrap_samples": 200}
ASKED_BY = asked_by("a test")
LINEAGE = ("headway.git_commit", "headway.dvc_lock", "headway.data_fingerprint", "headway.params")


@dataclass(frozen=True)
class Candidate:
    """A project in which every stage has run, and what the gate is given of it."""

    params: Params
    layout: Layout
    tracker: Tracker

    def decide(self, registry: Registry | None = None, **params: Any) -> Verdict:
        chosen = self.params.override(params)
        return decide_and_promote(chosen, self.layout, self.tracker, registry or Registry(self.tracker), ASKED_BY)

    def settle(self) -> Verdict:
        """As the flow does: what was decided holds, else it is decided."""
        registry = Registry(self.tracker)
        found = settled(self.params, self.layout, self.tracker, registry, standing(registry))
        return found or self.decide(registry)


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


@pytest.fixture(scope="module")
def logged(staged: Slice, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The candidate's model as MLflow keeps it, for tests that register it often: to log it takes seconds."""
    folder = tmp_path_factory.mktemp("logged") / "model"
    mlflow.pyfunc.save_model(
        str(folder),
        loader_module="headway.serving.pyfunc",
        data_path=str(staged.layout.candidate),
        pip_requirements=["mlflow"],
    )
    return folder.as_uri()


@pytest.fixture
def candidate(staged: Slice, database: Path, tmp_path: Path) -> Candidate:
    """The same files in a project of the test's own, of which MLflow knows nothing yet."""
    root = Path(shutil.copytree(staged.layout.root, tmp_path / "project", ignore=shutil.ignore_patterns("mlruns")))
    layout = with_database(Layout(root), database)
    return Candidate(staged.params, layout, Tracker(staged.params, layout))


class Killed(BaseException):
    """Like kill -9: nothing in the way catches it."""


class Mortal:
    """MLflow's client until its n-th call that changes something, before which the process dies."""

    CHANGES = ("create_", "set_", "log_", "delete_", "update_", "restore_")

    def __init__(self, client: Any, deadline: int) -> None:
        self._client, self._left = client, deadline

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not name.startswith(self.CHANGES):
            return found

        def call(*words: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise Killed(name)
            return found(*words, **more)

        return call


def dying(candidate: Candidate, deadline: int) -> Candidate:
    """The same project in a process that dies at a certain call to MLflow."""
    tracker = Tracker(candidate.params, candidate.layout)
    tracker.client = Mortal(tracker.client, deadline)
    return replace(candidate, tracker=tracker)


def decisions(candidate: Candidate) -> list[tuple[str, str]]:
    """What the history has: kind and version."""
    return [(one.kind, one.candidate.version) for one in Registry(candidate.tracker).history.records()]


def told(candidate: Candidate) -> Any:
    """The pipeline's run."""
    return candidate.tracker.find(kind="pipeline", key=execution_key(candidate.params, candidate.layout))


@pytest.mark.parametrize(("knobs", "kind"), [({}, PROMOTION), ({"gate.min_test_rows": 10_000}, REFUSAL)])
def test_killed_before_any_call_and_run_again_it_ends_with_one_record_and_one_champion(
    candidate: Candidate, logged: str, monkeypatch: pytest.MonkeyPatch, knobs: dict[str, Any], kind: str
) -> None:
    """Every place in which a kill can fall, one after the other, until the decision is through without one."""
    monkeypatch.setattr(Registry, "_log_model", lambda *_: logged)
    chosen = replace(candidate, params=candidate.params.override(knobs))
    database = chosen.layout.tracking / "mlflow.db"
    before = database.read_bytes()
    deadline = 0
    while True:
        database.write_bytes(before)
        try:
            dying(chosen, deadline).settle()
            break
        except Killed:
            pass
        verdict = chosen.settle()
        assert decisions(chosen) == [(kind, "1")], f"killed before call {deadline}"
        registry = Registry(chosen.tracker)
        champion = registry.champion()
        assert (champion and str(champion.version)) == ("1" if kind == PROMOTION else None) == verdict.champion
        assert [str(one.version) for one in registry.versions()] == ["1"]
        assert registry.versions()[0].tags[VERDICT_TAG] == kind
        assert told(chosen).data.tags[VERDICT_TAG] == kind, "the pipeline's run was not told"
        assert chosen.settle().outcome == (UNCHANGED if kind == PROMOTION else REFUSED)
        assert decisions(chosen) == [(kind, "1")]
        deadline += 1
    assert deadline > 15, "MLflow was not called through the client that dies"


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
