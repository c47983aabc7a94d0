"""Promotions of a real candidate in a real registry: scored, decided, recorded and carried out exactly once."""

from __future__ import annotations

import random
import secrets
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from headway.errors import HeadwayError, Unreachable
from headway.evaluation.headlines import HEADLINES
from headway.evaluation.predictions import Predictions
from headway.files import read_json, sha256_of_file, write_json
from headway.layout import Layout
from headway.lineage import execution_key
from headway.params import GateParams, Params
from headway.promotion import champion, changed_texts, gate, history, rollback, scoring, test_rows
from headway.promotion import promote as page
from headway.promotion.champion import DECISION_KIND_TAG, reconcile, ref_of
from headway.promotion.decision import BASELINE, CANDIDATE, FORCED, PROMOTION, REFUSAL, Requester, current_requester
from headway.promotion.existing_decision import existing_outcome
from headway.promotion.gate import Costs, GateInput, GateResult
from headway.promotion.outcome import PROMOTED, REFUSED, UNCHANGED, Outcome
from headway.promotion.project import Project
from headway.promotion.promote import Request, promote
from headway.promotion.test_rows import TestRows
from headway.promotion.unseen_rows import SPLIT_TAG, split_tag
from headway.registry import packages
from headway.registry.registry import CHAMPION, MODEL_TAG, Registry
from headway.serving import package
from headway.serving.latency import measure
from headway.serving.package import ModelPackage
from headway.stages.train import training_run
from headway.tracking import Tracker
from tests.conftest import Slice
from tests.mortal import Mortal, die_at, each_kill
from tests.stages.conftest import FOUND, SMALL, with_database

pytestmark = pytest.mark.usefixtures("measured_at_once")

# Few sentences are no match for the linear model; what is tested is what becomes of the outcome.
LENIENT = {"gate.min_test_rows": 10, "gate.baseline_margin": 0.9, "gate.bootstrap_samples": 200, "gate.max_latency_ms": 0}
REQUESTER = current_requester("a test")
LINEAGE = ("headway.git_commit", "headway.dvc_lock", "headway.data_fingerprint", "headway.params")


@dataclass(frozen=True)
class Candidate:
    """A project in which every stage has run, and what the gate is given of it."""

    params: Params
    layout: Layout
    tracker: Tracker

    def decide(self, registry: Registry | None = None, **params: Any) -> Outcome:
        chosen = self.params.override(params)
        return promote(Project(chosen, self.layout, registry or Registry(self.tracker)), Request(REQUESTER))

    def run_gate(self) -> Outcome:
        """As the flow does: what was decided holds, else it is decided."""
        registry = Registry(self.tracker)
        found = existing_outcome(Project(self.params, self.layout, registry), reconcile(registry), TestRows(self.layout))
        return found or self.decide(registry)

    def run(self) -> Outcome:
        """All that the flow does once the stages are through."""
        with self.tracker.execution():
            return self.run_gate()


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
    layout.reports.mkdir()
    layout.page("evaluation").write_text("a page", encoding="utf-8")
    baseline(params, layout)
    train(params, layout, Tracker(params, layout))
    evaluate(params, layout)
    layout.lock.write_text("schema: '2.0'\n")
    return Slice(params, layout)


@pytest.fixture(scope="module")
def logged(staged: Slice, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The candidate's model as MLflow keeps it, for tests that register it often: to log it takes seconds."""
    return _saved(tmp_path_factory.mktemp("logged") / "model", staged.layout.candidate)


def _saved(folder: Path, packed: Path) -> str:
    """A package's address once it is saved as MLflow's model."""
    mlflow.pyfunc.save_model(
        str(folder), loader_module="headway.serving.pyfunc", data_path=str(packed), pip_requirements=["mlflow"]
    )
    return folder.as_uri()


@pytest.fixture(scope="module")
def equal_model(staged: Slice, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A model of another fingerprint with the candidate's weights, as MLflow keeps it, and that fingerprint.

    It is less sure of itself, and predicts the same labels.
    """
    model = ModelPackage.load(staged.layout.candidate)
    folder = tmp_path_factory.mktemp("equal_model")
    (folder / "package").mkdir()
    model.classifier.weights *= 0.99
    sizes = read_json(staged.layout.candidate / package.CONFIG, made_by="train")
    package.save(
        folder / "package",
        model.classifier,
        staged.layout.candidate / package.TOKENIZER,
        sizes["max_length"],
        sizes["vocabulary_size"],
        model.classes,
    )
    return _saved(folder / "model", folder / "package"), package.fingerprint(folder / "package")


@pytest.fixture
def candidate(staged: Slice, database: Path, tmp_path: Path) -> Candidate:
    """The same files in a project of the test's own, of which MLflow knows nothing yet."""
    return copied(staged, database, tmp_path / "project")


def copied(staged: Slice, database: Path, root: Path) -> Candidate:
    shutil.copytree(staged.layout.root, root, ignore=shutil.ignore_patterns("mlruns"))
    layout = with_database(Layout(root), database)
    return Candidate(staged.params, layout, Tracker(staged.params, layout))


def dying(candidate: Candidate, deadline: int) -> Candidate:
    """The same project in a process that dies at a certain call to MLflow."""
    tracker = Tracker(candidate.params, candidate.layout)
    tracker.client = Mortal(tracker.client, deadline)
    return replace(candidate, tracker=tracker)


def promote_version(
    params: Params,
    layout: Layout,
    registry: Registry,
    number: str,
    requester: Requester,
    force: bool = False,
    reason: str = "",
) -> Outcome:
    """What `headway promote` does."""
    return promote(Project(params, layout, registry), Request(requester, number, force, reason))


def decisions(candidate: Candidate) -> list[tuple[str, str]]:
    """What the history has: kind and version."""
    return [(one.kind, one.candidate.version) for one in history.decisions(Registry(candidate.tracker))]


def pipeline_run(candidate: Candidate) -> Any:
    """The pipeline's run."""
    return candidate.tracker.find(kind="pipeline", key=execution_key(candidate.params, candidate.layout))


@pytest.mark.parametrize(
    ("knobs", "kind", "step"),
    [
        ({}, PROMOTION, 3),
        pytest.param({}, PROMOTION, 1, marks=pytest.mark.slow),
        pytest.param({"gate.min_test_rows": 10_000}, REFUSAL, 1, marks=pytest.mark.slow),
    ],
)
def test_killed_before_any_call_and_run_again_it_ends_with_one_record_and_one_champion(
    candidate: Candidate, logged: str, monkeypatch: pytest.MonkeyPatch, knobs: dict[str, Any], kind: str, step: int
) -> None:
    monkeypatch.setattr(packages, "log", lambda *_: logged)
    chosen = replace(candidate, params=candidate.params.override(knobs))
    database = chosen.layout.tracking / "mlflow.db"
    deadline = 0
    for deadline in each_kill(database, lambda calls: dying(chosen, calls).run_gate(), step):
        outcome = chosen.run_gate()
        assert decisions(chosen) == [(kind, "1")], f"killed before call {deadline}"
        registry = Registry(chosen.tracker)
        champion = registry.champion()
        assert (champion and str(champion.version)) == ("1" if kind == PROMOTION else None) == outcome.champion
        assert [str(one.version) for one in registry.versions()] == ["1"]
        assert registry.versions()[0].tags[DECISION_KIND_TAG] == kind
        assert pipeline_run(chosen).data.tags[DECISION_KIND_TAG] == kind, "the pipeline's run was not updated"
    assert chosen.run_gate().result == (UNCHANGED if kind == PROMOTION else REFUSED)
    assert decisions(chosen) == [(kind, "1")]
    assert deadline + step > 15, "MLflow was not called through the client that dies"


def run_and_die(params: Params, layout: Layout, deadline: int | None, answer: Connection) -> None:
    """In a process of its own: run the gate until the n-th write; send the number of writes if it finishes."""
    pytest.MonkeyPatch().setattr(page, "measure_costs", lambda *_: Costs(2.0, 1000))
    candidate = Candidate(params, layout, Tracker(params, layout))
    written = die_at(deadline)
    candidate.run()
    answer.send(written())


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("with_champion", [False, True], ids=["a first promotion", "a change"])
def test_after_kill_9_in_random_places_the_next_run_ends_with_one_record_and_one_champion(
    staged: Slice, database: Path, equal_model: tuple[str, str], tmp_path: Path, kills: int, with_champion: bool
) -> None:
    """SIGKILL between any two writes, within MLflow's own transactions too, with its model logged for real.

    With a champion, it is scored again, compared and replaced.
    """
    if with_champion:
        staged = replace(staged, params=staged.params.override({"gate.policy": "non_inferior", "gate.champion_margin": 0.9}))
    made = [(PROMOTION, str(number)) for number in range(1, 3 if with_champion else 2)]
    newest = made[-1][1]

    def begun(name: str) -> Candidate:
        candidate = copied(staged, database, tmp_path / name)
        if with_champion:
            registry = Registry(candidate.tracker)
            registry.log.create()
            tags = {MODEL_TAG: equal_model[1], SPLIT_TAG: split_tag(staged.params)[SPLIT_TAG]}
            content = {
                "kind": PROMOTION,
                "requested_by": REQUESTER,
                "candidate": ref_of(registry.new_version(equal_model[0], None, tags)),
            }
            champion.commit(registry, reconcile(registry), **content)
        return candidate

    processes = get_context("forkserver")  # apart from this process, and what they import is imported once
    processes.set_forkserver_preload([__name__])
    receiver, sender = processes.Pipe(duplex=False)

    def end_of(candidate: Candidate, deadline: int | None) -> int | None:
        process = processes.Process(target=run_and_die, args=(candidate.params, candidate.layout, deadline, sender))
        process.start()
        process.join()
        return process.exitcode

    assert end_of(begun("whole"), None) == 0
    writes = receiver.recv()
    seed = secrets.randbits(32)
    for place in sorted(random.Random(seed).sample(range(writes), kills)):
        at = f"killed before write {place} of {writes}, seed {seed}"
        candidate = begun(f"killed {place}")
        assert end_of(candidate, place) == -signal.SIGKILL, at
        outcome, registry = candidate.run(), Registry(candidate.tracker)
        assert outcome.champion == newest, f"{at}: {outcome.lines}"
        assert decisions(candidate) == made, at
        assert history.examine(registry)[1] == "", at
        aliases = [(number, [CHAMPION] if number == newest else []) for _, number in made]
        assert [(str(one.version), one.aliases) for one in registry.versions()] == aliases, at
        assert (
            registry.versions()[-1].tags[DECISION_KIND_TAG]
            == pipeline_run(candidate).data.tags[DECISION_KIND_TAG]
            == PROMOTION
        ), at
        client = candidate.tracker.client
        assert not client.search_runs([candidate.tracker.experiment_id], "attributes.status = 'RUNNING'"), at
        assert candidate.run().result == UNCHANGED, at


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
    outcome = candidate.decide(**{"gate.min_test_rows": 10_000})
    assert (outcome.result, outcome.champion, outcome.problem) == (REFUSED, None, "")
    assert any("at least 10,000 required" in line for line in outcome.lines)
    assert any("headway predict --version 1 " in line for line in outcome.lines)
    assert Registry(candidate.tracker).champion() is None


def test_an_outage_of_the_champions_store_refuses_no_candidate(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry(candidate.tracker)
    registry.client.create_registered_model(registry.name)
    split = {SPLIT_TAG: split_tag(candidate.params)[SPLIT_TAG]}
    registry.new_version("http://127.0.0.1:9/model", None, split)
    registry.client.set_registered_model_alias(registry.name, CHAMPION, "1")
    with pytest.raises(Unreachable, match=r"^the files of version 1 of headway cannot be fetched"):
        candidate.decide(registry)
    assert len(registry.client.search_model_versions(f"name = '{registry.name}'")) == 1


def test_a_challenger_with_nan_probabilities_is_refused_and_says_so(candidate: Candidate) -> None:
    file = candidate.layout.evaluation / "test.parquet"
    found = Predictions.load(file, made_by="evaluate")
    probabilities = found.probabilities.copy()
    probabilities[0] = float("nan")
    replace(found, probabilities=probabilities).save(file)
    outcome = candidate.decide()
    assert (outcome.result, outcome.champion) == (REFUSED, None)
    assert any(line.startswith("✗ proper_probabilities: 1 row") for line in outcome.lines)
    assert decisions(candidate) == [(REFUSAL, "1")]


@pytest.mark.parametrize("change", ["a row gone", "all labels one"])
def test_test_rows_that_changed_since_the_candidate_was_scored_decide_nothing(candidate: Candidate, change: str) -> None:
    file = candidate.layout.prepared / "test.parquet"
    table = pq.read_table(file)
    place = table.schema.get_field_index("label")
    changes = {
        "a row gone": table.slice(1),
        "all labels one": table.set_column(place, "label", pa.array(["positive"] * len(table))),
    }
    pq.write_table(changes[change], file)
    with pytest.raises(HeadwayError, match=r"^the test rows changed since the candidate was scored on them; run `dvc repro"):
        candidate.decide()
    assert decisions(candidate) == []


def test_the_test_rows_are_read_once_per_decision(
    candidate: Candidate, logged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = test_rows.read_table

    def counted(path: Path, made_by: str) -> pa.Table:
        reads.append(path.name)
        return read(path, made_by)

    monkeypatch.setattr(packages, "log", lambda *_: logged)
    monkeypatch.setattr(test_rows, "read_table", counted)
    assert candidate.decide(**{"gate.min_test_rows": 10_000}).result == REFUSED
    assert reads == ["test.parquet"]
    promote_version(candidate.params, candidate.layout, Registry(candidate.tracker), "1", REQUESTER)
    assert reads == ["test.parquet"] * 2


def artifacts(candidate: Candidate, run: str, folder: str | None) -> set[str]:
    return {item.path for item in candidate.tracker.client.list_artifacts(run, folder)}


def test_a_record_says_what_was_decided_on_and_who_requested_it(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "measure", measure)
    record = candidate.decide().decision
    assert record is not None
    assert record.test_rows is not None
    assert (record.number, record.previous, record.kind, record.champion) == (1, "", PROMOTION, None)
    assert record.requested_by == REQUESTER
    assert record.params == candidate.params.model_dump()
    assert record.policy == candidate.params.gate.model_dump()
    assert record.project["headway.dvc_lock"] == sha256_of_file(candidate.layout.lock)
    assert record.lineage.items() <= record.project.items()
    assert record.test_rows == TestRows(candidate.layout).fingerprint
    scores = record.scores[CANDIDATE]
    assert scores.items() >= read_json(candidate.layout.metrics("test"), made_by="evaluate").items()
    by_label = [one["rows"] for name, one in scores["slices"].items() if name.startswith("label: ")]
    assert sum(by_label) == record.test_rows.rows
    costs = {check.name: check.value for check in record.checks if check.name in ("latency", "size")}
    assert costs.keys() == {"latency", "size"}
    assert all(value and value > 0 for value in costs.values())
    manifest = read_json(candidate.layout.raw / "manifest.json", made_by="ingest")
    assert record.data["label_counts"] == manifest["label_counts"]
    assert record.training == read_json(candidate.layout.metrics("training"), made_by="train")
    run, stem = record.candidate.run, f"decisions/version-1-1-{record.id[:12]}"
    assert artifacts(candidate, run, "decisions") == {f"{stem}.json", f"{stem}.html"}
    assert artifacts(candidate, run, "cards") == {"cards/version-1.md"}
    assert artifacts(candidate, pipeline_run(candidate).info.run_id, None) >= {"decision.json"}
    run = pipeline_run(candidate).info.run_id
    assert artifacts(candidate, run, "evaluation") == {"evaluation/slices.json", "evaluation/mistakes.json"}
    pages = {f"reports/{name}.html" for name in ("index", "decision", "card", "evaluation")}
    assert artifacts(candidate, run, "reports") == pages
    texts = changed_texts.kept(candidate.layout, record)
    assert texts is not None
    assert texts.opponent == "the linear baseline"
    examples = [*texts.only_candidate_correct, *texts.only_opponent_correct]
    assert examples
    assert {one.text for one in examples} <= set(TestRows(candidate.layout).texts)
    page_of_it = candidate.layout.page("decision").read_text(encoding="utf-8")
    assert record.id in page_of_it
    assert 'href="evaluation.html"' in page_of_it
    metrics = pipeline_run(candidate).data.metrics
    for name in HEADLINES:
        assert metrics[f"test_{name}"] == pytest.approx(scores[name]), name
        assert metrics[f"baseline_test_{name}"] == pytest.approx(record.scores[BASELINE][name]), name
    registry = Registry(candidate.tracker)
    logged = registry.client.get_logged_model(registry.logged_model(registry.version("1")))
    linked = {one.key: one.value for one in logged.metrics if one.run_id == run}
    assert linked == pytest.approx({f"test_{name}": scores[name] for name in HEADLINES if scores.get(name) is not None})
    described = pipeline_run(candidate)
    assert described.info.run_name.endswith(f" · {scores['accuracy']:.4f}")
    assert described.data.tags["mlflow.note.content"].startswith(f"{record.headline}\n\n")


class Overtaken(Registry):
    """Another process promotes a version of its own, of a model that predicts the same, while this one compares."""

    rival: Candidate
    equal_model: tuple[str, str]
    overtaken = False

    def register(self, folder: Path, run_id: str, tags: Mapping[str, str], becomes_challenger: bool = True) -> ModelVersion:
        version = super().register(folder, run_id, tags, becomes_challenger)
        if not self.overtaken:
            self.overtaken = True
            other = Registry(self.rival.tracker)
            source, model = self.equal_model
            made = other.new_version(source, run_id, {MODEL_TAG: model, SPLIT_TAG: tags[SPLIT_TAG]})
            content = {"kind": PROMOTION, "requested_by": REQUESTER, "candidate": ref_of(made)}
            champion.commit(other, reconcile(other), **content)
        return version


def test_a_promotion_that_was_overtaken_is_compared_again_with_the_new_champion(
    candidate: Candidate, equal_model: tuple[str, str]
) -> None:
    registry = Overtaken(candidate.tracker)
    registry.rival, registry.equal_model = candidate, equal_model
    outcome = candidate.decide(registry, **{"gate.policy": "superior"})
    assert decisions(candidate) == [(PROMOTION, "2"), (REFUSAL, "1")], "of two equal models the second is no better"
    assert (outcome.result, outcome.champion) == (REFUSED, "2")
    assert outcome.decision is not None
    assert outcome.decision.champion is not None
    assert outcome.decision.champion.version == "2"
    assert str(Registry(candidate.tracker).champion().version) == "2"


def test_a_registry_that_fails_half_way_is_one_line_and_the_next_run_completes_it(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is written; then the server is gone, before the alias is moved."""
    move = candidate.tracker.client.set_registered_model_alias

    def fail(name: str, alias: str, version: str) -> None:
        if alias == CHAMPION:
            raise MlflowException("the server went away")
        move(name, alias, version)

    monkeypatch.setattr(candidate.tracker.client, "set_registered_model_alias", fail)
    with pytest.raises(Unreachable, match=r"^MLflow at sqlite:.* failed: the server went away; ") as error:
        candidate.decide()
    assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert candidate.run_gate().champion == "1"
    assert decisions(candidate) == [(PROMOTION, "1")]


def test_the_evaluation_page_shows_the_champion_that_the_candidate_was_compared_with(
    candidate: Candidate, logged: str, equal_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "log", lambda *_: logged)
    layout, registry = candidate.layout, Registry(candidate.tracker)
    registry.log.create()
    source, model = equal_model
    registry.new_version(source, None, {MODEL_TAG: model, SPLIT_TAG: split_tag(candidate.params)[SPLIT_TAG]})
    content = {"kind": PROMOTION, "requested_by": REQUESTER, "candidate": ref_of(registry.version("1"))}
    champion.commit(registry, reconcile(registry), **content)
    write_json(layout.training / "history.json", [])
    layout.page("candidate").write_text("drawn by the stage", encoding="utf-8")
    assert candidate.run_gate().result == REFUSED
    page = layout.page("evaluation")
    html = page.read_text(encoding="utf-8")
    assert "compared the candidate with, version 1." in html
    page.unlink()
    assert "decided before" in candidate.run_gate().lines[-1]
    assert page.read_text(encoding="utf-8") == html


def test_the_gate_can_decide_again_on_a_version(candidate: Candidate) -> None:
    registry = Registry(candidate.tracker)
    assert candidate.decide(**{"gate.min_test_rows": 10_000}).result == REFUSED
    outcome = promote_version(candidate.params, candidate.layout, registry, "1", REQUESTER)
    assert (outcome.result, outcome.champion) == (PROMOTED, "1")
    first, second = history.decisions(registry)
    assert (first.kind, second.kind) == (REFUSAL, PROMOTION)
    assert second.scores[CANDIDATE]["accuracy"] == first.scores[CANDIDATE]["accuracy"]
    assert second.data == first.data
    assert second.training == first.training != {}
    with pytest.raises(HeadwayError, match=r"^version 1 of headway is champion already$"):
        promote_version(candidate.params, candidate.layout, registry, "1", REQUESTER)
    with pytest.raises(HeadwayError, match=r"^headway has no version 7; `headway history` lists"):
        promote_version(candidate.params, candidate.layout, registry, "7", REQUESTER)


def test_a_version_is_described_with_the_label_map_that_it_was_trained_with(candidate: Candidate) -> None:
    """Whatever params.yaml has now."""
    registry = Registry(candidate.tracker)
    candidate.decide(**{"gate.min_test_rows": 10_000})
    now = candidate.params.override({"data.label_map": {"negative": "bad"}, "gate.min_test_rows": 10_000})
    promote_version(now, candidate.layout, registry, "1", REQUESTER)
    first, second = history.decisions(registry)
    assert second.data == first.data
    assert {*second.data["label_counts"]} == {"negative", "positive"}


@pytest.mark.parametrize("classes", [["negative", "positive"], ["bad", "positive"]])
def test_a_version_without_a_decision_is_described_if_the_project_has_its_classes(
    candidate: Candidate, logged: str, equal_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch, classes: list[str]
) -> None:
    monkeypatch.setattr(packages, "log", lambda *_: logged)
    monkeypatch.setattr(scoring, "measure", measure)
    registry = Registry(candidate.tracker)
    few = {"gate.min_test_rows": 10_000}
    candidate.decide(**few)
    source, model = equal_model
    tags = {name: value for name, value in registry.version("1").tags.items() if not name.startswith("headway.decision")}
    registry.new_version(source, None, {**tags, MODEL_TAG: model})
    write_json(candidate.layout.prepared / "labels.json", classes)
    promote_version(candidate.params.override(few), candidate.layout, registry, "2", REQUESTER)
    first, second = history.decisions(registry)
    assert second.data == (first.data if classes == ["negative", "positive"] else {})


def test_a_forced_promotion_records_the_gates_checks_and_the_reason(candidate: Candidate) -> None:
    registry = Registry(candidate.tracker)
    strict = candidate.params.override({"gate.min_test_rows": 10_000})
    candidate.decide(**{"gate.min_test_rows": 10_000})
    outcome = promote_version(strict, candidate.layout, registry, "1", REQUESTER, force=True, reason="a demonstration")
    assert (outcome.result, outcome.champion) == (PROMOTED, "1")
    record = history.decisions(registry)[-1]
    assert (record.kind, record.reason) == (FORCED, "a demonstration")
    assert [check.name for check in record.failed] == ["enough_test_rows"]
    assert registry.version("1").tags[DECISION_KIND_TAG] == FORCED


@pytest.mark.parametrize(
    ("force", "reason", "kind", "step"),
    [(False, "", PROMOTION, 2), pytest.param(True, "a demonstration", FORCED, 1, marks=pytest.mark.slow)],
)
def test_a_killed_promotion_by_hand_that_is_given_again_is_one_record(
    candidate: Candidate, logged: str, monkeypatch: pytest.MonkeyPatch, force: bool, reason: str, kind: str, step: int
) -> None:
    """Also where the record was made already: the command says what it did, not that the version is champion already."""
    monkeypatch.setattr(packages, "log", lambda *_: logged)
    candidate.decide(**{"gate.min_test_rows": 10_000})

    def command(one: Candidate) -> Outcome:
        return promote_version(one.params, one.layout, Registry(one.tracker), "1", REQUESTER, force, reason)

    deadline, recorded = 0, set()
    for deadline in each_kill(candidate.layout.tracking / "mlflow.db", lambda calls: command(dying(candidate, calls)), step):
        recorded.add(len(decisions(candidate)))
        assert command(candidate).result == PROMOTED, f"killed before call {deadline}"
        assert decisions(candidate) == [(REFUSAL, "1"), (kind, "1")]
        assert str(Registry(candidate.tracker).champion().version) == "1"
    assert recorded == {1, 2}, "no kill fell on either side of the record"


def test_a_promotion_can_be_forced_without_a_baseline_but_not_without_test_rows(candidate: Candidate) -> None:
    """Without the baseline's predictions there is a refusal to overrule; without test rows there is nothing to record."""
    registry = Registry(candidate.tracker)
    candidate.decide(**{"gate.min_test_rows": 10_000})
    layout = candidate.layout
    (layout.baseline / "test.parquet").unlink()
    with pytest.raises(HeadwayError, match=r"test\.parquet: missing"):
        promote_version(candidate.params, layout, registry, "1", REQUESTER)
    rows = (layout.prepared / "test.parquet").rename(layout.prepared / "elsewhere")
    with pytest.raises(HeadwayError, match=r"test\.parquet: missing"):
        promote_version(candidate.params, layout, registry, "1", REQUESTER, force=True, reason="in a hurry")
    assert decisions(candidate) == [(REFUSAL, "1")]
    rows.rename(layout.prepared / "test.parquet")
    outcome = promote_version(candidate.params, layout, registry, "1", REQUESTER, force=True, reason="in a hurry")
    assert (outcome.result, outcome.champion, list(outcome.scores)) == (PROMOTED, "1", [CANDIDATE])
    record = history.decisions(registry)[-1]
    assert (record.kind, [check.name for check in record.failed]) == (FORCED, ["no_worse_than_baseline", "power"])
    assert all("dvc repro baseline" in check.explanation for check in record.failed)


def test_a_model_that_was_trained_under_another_split_is_not_compared_on_rows_that_it_may_have_seen(
    candidate: Candidate, logged: str, measured_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "log", lambda *_: logged)
    registry = Registry(candidate.tracker)
    assert candidate.decide().result == PROMOTED
    other = {"split.salt": "another", "split.near_duplicates": 0.7, "data.test_files": "test.csv"}
    outcome = candidate.decide(**other)
    message = (
        "version 1 was trained with another split.salt, split.near_duplicates, data.test_files, so the current test rows"
    )
    assert outcome.result == REFUSED
    assert outcome.problem.startswith(message)
    assert "`headway retire" in outcome.problem
    rollback.retire(registry, "another split", REQUESTER, {})
    arguments = candidate.params.override(other), candidate.layout, registry, "1", REQUESTER
    with pytest.raises(HeadwayError, match=message):
        promote_version(*arguments)
    assert promote_version(*arguments, force=True, reason="I know").result == PROMOTED
    record = history.decisions(registry)[-1]
    assert [(check.name, check.explanation.startswith(message)) for check in record.failed] == [("unseen_test_rows", True)]
    assert candidate.decide(**{"gate.confidence": 0.9}).problem == "", "under its own split it is"


def test_a_model_with_an_unknown_split_is_not_compared(
    candidate: Candidate, logged: str, equal_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "log", lambda *_: logged)
    registry = Registry(candidate.tracker)
    assert candidate.decide().result == PROMOTED
    source, model = equal_model
    other = registry.new_version(source, None, {MODEL_TAG: model})
    arguments = candidate.params, candidate.layout, registry, str(other.version), REQUESTER
    with pytest.raises(HeadwayError, match=r"^the data split that version 2 was trained with is unknown"):
        promote_version(*arguments)
    assert promote_version(*arguments, force=True, reason="I know").result == PROMOTED
    assert "unseen_test_rows" in [check.name for check in history.decisions(registry)[-1].failed]
    with_other_seed = candidate.decide(**{"gate.confidence": 0.9})
    assert with_other_seed.problem.startswith("the data split that version 2"), (
        "a forced promotion does not reveal the split"
    )
    registry.client.delete_model_version_tag(registry.name, "1", SPLIT_TAG)
    assert promote_version(candidate.params, candidate.layout, registry, "1", REQUESTER).result == REFUSED, (
        "known from the history"
    )


def test_the_gate_counts_earlier_looks_for_a_first_promotion(
    candidate: Candidate, logged: str, equal_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    decide = gate.decide

    def ask(given: GateInput, policy: GateParams, seed: int) -> GateResult:
        asked.append(given.earlier_looks)
        return decide(given, policy, seed)

    monkeypatch.setattr(gate, "decide", ask)
    monkeypatch.setattr(scoring, "measure", measure)
    monkeypatch.setattr(packages, "log", lambda *_: logged)
    registry = Registry(candidate.tracker)
    for rows in (10**6, 10**6 + 1):
        assert candidate.decide(**{"gate.min_test_rows": rows}).result == REFUSED
    source, model = equal_model
    split = registry.version("1").tags[SPLIT_TAG]
    other = registry.new_version(source, None, {MODEL_TAG: model, SPLIT_TAG: split})
    promote_version(candidate.params, candidate.layout, registry, str(other.version), REQUESTER)
    assert asked == [0, 0, 1], "the second repeats the candidate of the first"


def test_each_step_of_a_promotion_is_reported_before_it_begins(
    candidate: Candidate, logged: str, equal_model: tuple[str, str]
) -> None:
    registry = Registry(candidate.tracker)
    registry.log.create()
    source, model = equal_model
    split = {SPLIT_TAG: split_tag(candidate.params)[SPLIT_TAG]}
    registry.new_version(source, None, {MODEL_TAG: model, **split})
    registry.new_version(logged, None, split)
    content = {"kind": PROMOTION, "requested_by": REQUESTER, "candidate": ref_of(registry.version("1"))}
    champion.commit(registry, reconcile(registry), **content)
    steps: list[str] = []
    rows = len(TestRows(candidate.layout).ids)
    project = Project(candidate.params, candidate.layout, registry)
    promote(project, Request(REQUESTER, "2", on_step=steps.append))
    assert steps == [
        f"loading the champion, version 1, and scoring {rows} test rows",
        f"loading version 2, and scoring {rows} test rows",
        "measuring latency",
        "comparing, with 200 bootstrap resamples",
        "recording the decision",
    ]


def test_the_gate_is_given_slices_measured_costs_and_the_earlier_looks_at_these_rows(
    candidate: Candidate, logged: str, equal_model: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a champion that predicts the same, twice: for the stages' candidate, then for one more version."""
    asked: list[GateInput] = []
    decide = gate.decide

    def ask(given: GateInput, policy: GateParams, seed: int) -> GateResult:
        asked.append(given)
        return decide(given, policy, seed)

    monkeypatch.setattr(gate, "decide", ask)
    monkeypatch.setattr(scoring, "measure", measure)
    monkeypatch.setattr(packages, "log", lambda *_: logged)
    registry = Registry(candidate.tracker)
    registry.log.create()
    source, model = equal_model
    split = {SPLIT_TAG: split_tag(candidate.params)[SPLIT_TAG]}
    registry.new_version(source, None, {MODEL_TAG: model, **split})
    registry.new_version(logged, None, split)  # no tag says what it holds
    content = {"kind": PROMOTION, "requested_by": REQUESTER, "candidate": ref_of(registry.version("1"))}
    champion.commit(registry, reconcile(registry), **content)
    candidate.decide()
    promote_version(candidate.params, candidate.layout, registry, "2", REQUESTER)
    candidate.decide(**{"gate.policy": "non_inferior"})
    assert [one.earlier_looks for one in asked] == [0, 1, 2], "the third compares the pair of the first by another rule"
    for one in asked:
        assert {"label: negative", "label: positive"} <= one.slices.keys()
        assert one.costs.champion_bytes == pytest.approx(one.costs.candidate_bytes, abs=100)
        assert one.costs.candidate_bytes > 1000
        assert one.costs.champion_ms > 0
