"""The gate's part of the flow on a real candidate and a real registry: judged, recorded, promoted, each of it once."""

from __future__ import annotations

import json
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
from mlflow.exceptions import MlflowException

from flows import promotion
from flows.promotion import SPLIT_TAG, UNSEEN, decide_and_promote, promote
from flows.verdict import PROMOTED, REFUSED, UNCHANGED, Verdict, rows_today, settled
from headway.errors import HeadwayError, Unreachable
from headway.evaluation.headlines import HEADLINES
from headway.evaluation.predictions import Predictions
from headway.files import read_json, sha256_of_file, write_json
from headway.layout import Layout
from headway.lineage import execution_key
from headway.params import Params
from headway.promotion import champion as office
from headway.promotion.champion import VERDICT_TAG, described, standing
from headway.promotion.decision import BASELINE, CANDIDATE, FORCED, PROMOTION, REFUSAL, asked_by
from headway.promotion.gate import Costs
from headway.registry.registry import CHAMPION, MODEL_TAG, ModelVersion, Registry
from headway.serving import package
from headway.serving.latency import measure
from headway.serving.package import ModelPackage
from headway.stages.train import training_run
from headway.tracking import Tracker
from tests.conftest import Slice
from tests.mortal import Mortal, die_at, each_kill
from tests.stages.conftest import FOUND, SMALL, with_database

pytestmark = pytest.mark.usefixtures("measured_at_once")

# Few sentences are no match for the linear model; what is tested is what becomes of the verdict.
LENIENT = {"gate.min_test_rows": 10, "gate.baseline_margin": 0.9, "gate.bootstrap_samples": 200, "gate.max_latency_ms": 0}
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

    def run(self) -> Verdict:
        """All that the flow does once the stages are through."""
        with self.tracker.execution():
            return self.settle()


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
def twin(staged: Slice, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A model of another fingerprint with the candidate's weights, as MLflow keeps it, and that fingerprint.

    It is less sure of itself, and predicts the same labels.
    """
    model = ModelPackage.load(staged.layout.candidate)
    folder = tmp_path_factory.mktemp("twin")
    (folder / "package").mkdir()
    model.classifier.mix *= 0.99
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


def decisions(candidate: Candidate) -> list[tuple[str, str]]:
    """What the history has: kind and version."""
    return [(one.kind, one.candidate.version) for one in Registry(candidate.tracker).history.records()]


def told(candidate: Candidate) -> Any:
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
    monkeypatch.setattr(Registry, "_log_model", lambda *_: logged)
    chosen = replace(candidate, params=candidate.params.override(knobs))
    database = chosen.layout.tracking / "mlflow.db"
    deadline = 0
    for deadline in each_kill(database, lambda calls: dying(chosen, calls).settle(), step):
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
    assert deadline + step > 15, "MLflow was not called through the client that dies"


def run_and_die(params: Params, layout: Layout, deadline: int | None, answer: Connection) -> None:
    """In a process of its own: the flow's end, until the n-th write; tells how many writes there were if it comes so far."""
    pytest.MonkeyPatch().setattr(promotion, "_costs", lambda *_: Costs(2.0, 1000))
    candidate = Candidate(params, layout, Tracker(params, layout))
    written = die_at(deadline)
    candidate.run()
    answer.send(written())


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("in_office", [False, True], ids=["an election", "a change"])
def test_after_kill_9_in_random_places_the_next_run_ends_with_one_record_and_one_champion(
    staged: Slice, database: Path, twin: tuple[str, str], tmp_path: Path, kills: int, in_office: bool
) -> None:
    """SIGKILL between any two writes, within MLflow's own transactions too, with its model logged for real.

    With a champion in office, it is scored again, compared and replaced.
    """
    if in_office:
        staged = replace(staged, params=staged.params.override({"gate.policy": "non_inferior", "gate.champion_margin": 0.9}))
    made = [(PROMOTION, str(number)) for number in range(1, 3 if in_office else 2)]
    champion = made[-1][1]

    def begun(name: str) -> Candidate:
        candidate = copied(staged, database, tmp_path / name)
        if in_office:
            registry = Registry(candidate.tracker)
            registry.history.begin()
            tags = {MODEL_TAG: twin[1], SPLIT_TAG: json.dumps(promotion._split(staged.params.model_dump()))}
            content = {
                "kind": PROMOTION,
                "asked_by": ASKED_BY,
                "candidate": described(registry.new_version(twin[0], None, tags)),
            }
            office.decide(registry, standing(registry), content)
        return candidate

    processes = get_context("forkserver")  # apart from this process, and what they import is imported once
    processes.set_forkserver_preload([__name__])
    hear, tell = processes.Pipe(duplex=False)

    def end_of(candidate: Candidate, deadline: int | None) -> int | None:
        process = processes.Process(target=run_and_die, args=(candidate.params, candidate.layout, deadline, tell))
        process.start()
        process.join()
        return process.exitcode

    assert end_of(begun("whole"), None) == 0
    writes = hear.recv()
    seed = secrets.randbits(32)
    for place in sorted(random.Random(seed).sample(range(writes), kills)):
        at = f"killed before write {place} of {writes}, seed {seed}"
        candidate = begun(f"killed {place}")
        assert end_of(candidate, place) == -signal.SIGKILL, at
        verdict, registry = candidate.run(), Registry(candidate.tracker)
        assert verdict.champion == champion, f"{at}: {verdict.lines}"
        assert decisions(candidate) == made, at
        assert registry.history.examine()[1] == "", at
        aliases = [(number, [CHAMPION] if number == champion else []) for _, number in made]
        assert [(str(one.version), one.aliases) for one in registry.versions()] == aliases, at
        assert registry.versions()[-1].tags[VERDICT_TAG] == told(candidate).data.tags[VERDICT_TAG] == PROMOTION, at
        client = candidate.tracker.client
        assert not client.search_runs([candidate.tracker.experiment_id], "attributes.status = 'RUNNING'"), at
        assert candidate.run().outcome == UNCHANGED, at


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
    split = {SPLIT_TAG: json.dumps(promotion._split(candidate.params.model_dump()))}
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
    verdict = candidate.decide()
    assert (verdict.outcome, verdict.champion) == (REFUSED, None)
    assert any(line.startswith("✗ proper_probabilities: 1 row") for line in verdict.lines)
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


def artifacts(candidate: Candidate, run: str, folder: str | None) -> set[str]:
    return {item.path for item in candidate.tracker.client.list_artifacts(run, folder)}


def test_a_record_says_what_was_decided_on_and_who_asked(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "measure", measure)
    record = candidate.decide().record
    assert record is not None
    assert record.test_rows is not None
    assert (record.number, record.previous, record.kind, record.champion) == (1, "", PROMOTION, None)
    assert record.asked_by == ASKED_BY
    assert record.params == candidate.params.model_dump()
    assert record.policy == candidate.params.gate.model_dump()
    assert record.project["headway.dvc_lock"] == sha256_of_file(candidate.layout.lock)
    assert record.lineage.items() <= record.project.items()
    assert record.test_rows == rows_today(candidate.layout)
    scores = record.scores[CANDIDATE]
    assert scores.items() >= read_json(candidate.layout.metrics("test"), made_by="evaluate").items()
    by_label = [one["rows"] for name, one in scores["slices"].items() if name.startswith("label: ")]
    assert sum(by_label) == record.test_rows.rows
    costs = {check.name: check.value for check in record.checks if check.name in ("latency", "size")}
    assert costs.keys() == {"latency", "size"}
    assert all(value and value > 0 for value in costs.values())
    manifest = read_json(candidate.layout.raw / "manifest.json", made_by="ingest")
    assert record.data["label_counts"] == manifest["label_counts"]
    run, stem = record.candidate.run, f"decisions/version-1-1-{record.id[:12]}"
    assert artifacts(candidate, run, "decisions") == {f"{stem}.json", f"{stem}.html"}
    assert artifacts(candidate, run, "cards") == {"cards/version-1.md"}
    assert artifacts(candidate, told(candidate).info.run_id, None) >= {"decision.json", "decision.html"}
    run = told(candidate).info.run_id
    assert artifacts(candidate, run, "evaluation") == {"evaluation/slices.json", "evaluation/mistakes.json"}
    assert artifacts(candidate, run, "reports") == {"reports/evaluation.html"}
    metrics = told(candidate).data.metrics
    for name in HEADLINES:
        assert metrics[f"test_{name}"] == pytest.approx(scores[name]), name
        assert metrics[f"baseline_test_{name}"] == pytest.approx(record.scores[BASELINE][name]), name


class Overtaken(Registry):
    """Another process promotes a version of its own, of a model that predicts the same, while this one compares."""

    rival: Candidate
    twin: tuple[str, str]
    overtaken = False

    def register(self, folder: Path, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        version = super().register(folder, run_id, tags)
        if not self.overtaken:
            self.overtaken = True
            other = Registry(self.rival.tracker)
            source, model = self.twin
            made = other.new_version(source, run_id, {MODEL_TAG: model, SPLIT_TAG: tags[SPLIT_TAG]})
            content = {"kind": PROMOTION, "asked_by": ASKED_BY, "candidate": described(made)}
            office.decide(other, standing(other), content)
        return version


def test_a_promotion_that_was_overtaken_is_judged_again_against_the_new_champion(
    candidate: Candidate, twin: tuple[str, str]
) -> None:
    registry = Overtaken(candidate.tracker)
    registry.rival, registry.twin = candidate, twin
    verdict = candidate.decide(registry, **{"gate.policy": "superior"})
    assert decisions(candidate) == [(PROMOTION, "2"), (REFUSAL, "1")], "of two equal models the second is no better"
    assert (verdict.outcome, verdict.champion) == (REFUSED, "2")
    assert verdict.record is not None
    assert verdict.record.champion is not None
    assert verdict.record.champion.version == "2"
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
    assert candidate.settle().champion == "1"
    assert decisions(candidate) == [(PROMOTION, "1")]


def test_a_version_can_be_put_before_the_gate_again(candidate: Candidate) -> None:
    registry = Registry(candidate.tracker)
    assert candidate.decide(**{"gate.min_test_rows": 10_000}).outcome == REFUSED
    verdict = promote(candidate.params, candidate.layout, registry, "1", ASKED_BY)
    assert (verdict.outcome, verdict.champion) == (PROMOTED, "1")
    first, second = registry.history.records()
    assert (first.kind, second.kind) == (REFUSAL, PROMOTION)
    assert second.scores[CANDIDATE]["accuracy"] == first.scores[CANDIDATE]["accuracy"]
    assert second.data == first.data
    with pytest.raises(HeadwayError, match=r"^version 1 of headway is champion already$"):
        promote(candidate.params, candidate.layout, registry, "1", ASKED_BY)
    with pytest.raises(HeadwayError, match=r"^headway has no version 7; `headway history` lists"):
        promote(candidate.params, candidate.layout, registry, "7", ASKED_BY)


def test_a_forced_promotion_keeps_what_the_gate_said_and_why_it_was_not_heard(candidate: Candidate) -> None:
    registry = Registry(candidate.tracker)
    strict = candidate.params.override({"gate.min_test_rows": 10_000})
    candidate.decide(**{"gate.min_test_rows": 10_000})
    verdict = promote(strict, candidate.layout, registry, "1", ASKED_BY, force=True, reason="a demonstration")
    assert (verdict.outcome, verdict.champion) == (PROMOTED, "1")
    record = registry.history.records()[-1]
    assert (record.kind, record.reason) == (FORCED, "a demonstration")
    assert [check.name for check in record.failed] == ["enough_test_rows"]
    assert registry.version("1").tags[VERDICT_TAG] == FORCED


@pytest.mark.parametrize(
    ("force", "reason", "kind", "step"),
    [(False, "", PROMOTION, 2), pytest.param(True, "a demonstration", FORCED, 1, marks=pytest.mark.slow)],
)
def test_a_killed_promotion_by_hand_that_is_given_again_is_one_record(
    candidate: Candidate, logged: str, monkeypatch: pytest.MonkeyPatch, force: bool, reason: str, kind: str, step: int
) -> None:
    """Also where the record was made already: the command says what it did, not that the version is champion already."""
    monkeypatch.setattr(Registry, "_log_model", lambda *_: logged)
    candidate.decide(**{"gate.min_test_rows": 10_000})

    def command(one: Candidate) -> Verdict:
        return promote(one.params, one.layout, Registry(one.tracker), "1", ASKED_BY, force, reason)

    deadline, recorded = 0, set()
    for deadline in each_kill(candidate.layout.tracking / "mlflow.db", lambda calls: command(dying(candidate, calls)), step):
        recorded.add(len(decisions(candidate)))
        assert command(candidate).outcome == PROMOTED, f"killed before call {deadline}"
        assert decisions(candidate) == [(REFUSAL, "1"), (kind, "1")]
        assert str(Registry(candidate.tracker).champion().version) == "1"
    assert recorded == {1, 2}, "no kill fell on either side of the record"


def test_a_promotion_is_forced_where_the_gate_can_tell_but_a_part(candidate: Candidate) -> None:
    """Without the baseline's predictions there is a refusal to overrule; without test rows there is nothing to keep."""
    registry = Registry(candidate.tracker)
    candidate.decide(**{"gate.min_test_rows": 10_000})
    layout = candidate.layout
    (layout.baseline / "test.parquet").unlink()
    with pytest.raises(HeadwayError, match=r"test\.parquet: missing; it is made by `dvc repro baseline`$"):
        promote(candidate.params, layout, registry, "1", ASKED_BY)
    rows = (layout.prepared / "test.parquet").rename(layout.prepared / "elsewhere")
    with pytest.raises(HeadwayError, match=r"test\.parquet: missing; it is made by `dvc repro prepare`$"):
        promote(candidate.params, layout, registry, "1", ASKED_BY, force=True, reason="in a hurry")
    assert decisions(candidate) == [(REFUSAL, "1")]
    rows.rename(layout.prepared / "test.parquet")
    verdict = promote(candidate.params, layout, registry, "1", ASKED_BY, force=True, reason="in a hurry")
    assert (verdict.outcome, verdict.champion, list(verdict.scores)) == (PROMOTED, "1", [CANDIDATE])
    record = registry.history.records()[-1]
    assert (record.kind, [check.name for check in record.failed]) == (FORCED, ["no_worse_than_baseline", "power"])
    assert all("dvc repro baseline" in check.explanation for check in record.failed)


def test_a_model_that_was_trained_under_another_split_is_not_compared_on_rows_that_it_may_have_seen(
    candidate: Candidate, logged: str, measured_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "_log_model", lambda *_: logged)
    registry = Registry(candidate.tracker)
    assert candidate.decide().outcome == PROMOTED
    other = {"split.salt": "another", "split.near_duplicates": 0.7, "data.test_files": "test.csv"}
    verdict = candidate.decide(**other)
    said = (
        "version 1 was trained under another split.salt, split.near_duplicates, data.test_files, so that today's test rows"
    )
    assert verdict.outcome == REFUSED
    assert verdict.problem.startswith(said)
    assert "`headway retire" in verdict.problem
    office.retire(registry, "another split", ASKED_BY, {})
    arguments = candidate.params.override(other), candidate.layout, registry, "1", ASKED_BY
    with pytest.raises(HeadwayError, match=said):
        promote(*arguments)
    assert promote(*arguments, force=True, reason="I know").outcome == PROMOTED
    record = registry.history.records()[-1]
    assert [(check.name, check.explanation.startswith(said)) for check in record.failed] == [(UNSEEN, True)]
    assert candidate.decide(**{"gate.confidence": 0.9}).problem == "", "under its own split it is"


def test_a_model_of_which_nobody_knows_the_split_is_not_compared(
    candidate: Candidate, logged: str, twin: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "_log_model", lambda *_: logged)
    registry = Registry(candidate.tracker)
    assert candidate.decide().outcome == PROMOTED
    source, model = twin
    other = registry.new_version(source, None, {MODEL_TAG: model})
    arguments = candidate.params, candidate.layout, registry, str(other.version), ASKED_BY
    with pytest.raises(HeadwayError, match=r"^nobody knows under which split version 2 was trained"):
        promote(*arguments)
    assert promote(*arguments, force=True, reason="I know").outcome == PROMOTED
    assert UNSEEN in [check.name for check in registry.history.records()[-1].failed]
    with_other_seed = candidate.decide(**{"gate.confidence": 0.9})
    assert with_other_seed.problem.startswith("nobody knows under which split version 2"), (
        "to force it taught nobody anything"
    )
    registry.client.delete_model_version_tag(registry.name, "1", SPLIT_TAG)
    assert promote(candidate.params, candidate.layout, registry, "1", ASKED_BY).outcome == REFUSED, "its first record knows"


def test_the_gate_is_told_how_often_these_rows_were_asked_to_elect(
    candidate: Candidate, logged: str, twin: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    decide = promotion.ask_the_gate

    def ask(**more: Any) -> Any:
        asked.append(more["verdicts_before"])
        return decide(**more)

    monkeypatch.setattr(promotion, "ask_the_gate", ask)
    monkeypatch.setattr(promotion, "measure", measure)
    monkeypatch.setattr(Registry, "_log_model", lambda *_: logged)
    registry = Registry(candidate.tracker)
    for rows in (10**6, 10**6 + 1):
        assert candidate.decide(**{"gate.min_test_rows": rows}).outcome == REFUSED
    source, model = twin
    split = registry.version("1").tags[SPLIT_TAG]
    other = registry.new_version(source, None, {MODEL_TAG: model, SPLIT_TAG: split})
    promote(candidate.params, candidate.layout, registry, str(other.version), ASKED_BY)
    assert asked == [0, 0, 1], "the second asks about the candidate of the first again"


def test_the_gate_is_given_slices_measured_costs_and_the_verdicts_on_these_rows_so_far(
    candidate: Candidate, logged: str, twin: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a champion that predicts the same, twice: for the stages' candidate, then for one more version."""
    asked: list[dict[str, Any]] = []
    decide = promotion.ask_the_gate

    def ask(**more: Any) -> Any:
        asked.append(more)
        return decide(**more)

    monkeypatch.setattr(promotion, "ask_the_gate", ask)
    monkeypatch.setattr(promotion, "measure", measure)
    monkeypatch.setattr(Registry, "_log_model", lambda *_: logged)
    registry = Registry(candidate.tracker)
    registry.history.begin()
    source, model = twin
    split = {SPLIT_TAG: json.dumps(promotion._split(candidate.params.model_dump()))}
    registry.new_version(source, None, {MODEL_TAG: model, **split})
    registry.new_version(logged, None, split)  # nothing says what it holds
    content = {"kind": PROMOTION, "asked_by": ASKED_BY, "candidate": described(registry.version("1"))}
    office.decide(registry, standing(registry), content)
    candidate.decide()
    promote(candidate.params, candidate.layout, registry, "2", ASKED_BY)
    candidate.decide(**{"gate.policy": "non_inferior"})
    assert [one["verdicts_before"] for one in asked] == [0, 1, 2], (
        "the third asks about the pair of the first, by another rule"
    )
    for one in asked:
        assert {"label: negative", "label: positive"} <= one["slices"].keys()
        assert one["costs"].champion_bytes == pytest.approx(one["costs"].candidate_bytes, abs=100)
        assert one["costs"].candidate_bytes > 1000
        assert one["costs"].champion_ms > 0
