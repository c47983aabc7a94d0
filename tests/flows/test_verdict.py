"""How a flow ends: a champion that is this very model, a refusal that still holds, or something to decide."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
from prefect.logging import disable_run_logger

from flows import promotion, verdict
from flows.pipeline import gate
from flows.promotion import decide_and_promote, promote
from flows.verdict import BASELINE, CANDIDATE, PROMOTED, REFUSED, UNCHANGED, Verdict, decided_before, unchanged
from headway.files import write_json
from headway.layout import Layout
from headway.lineage import execution_key
from headway.params import Params
from headway.promotion import history_queries as terms
from headway.promotion.champion import DECISION_TAG, VERDICT_TAG, retire, roll_back, standing
from headway.promotion.decision import REFUSAL, asked_by
from headway.registry.registry import Registry
from headway.stages.baseline import baseline
from headway.stages.evaluate import evaluate
from headway.stages.train import train
from headway.tracking import Tracker
from tests.conftest import Slice

pytestmark = pytest.mark.usefixtures("measured_at_once")

#: So that the first candidate is elected, whatever so small a model has learned.
SMALL = {
    "model.d_model": 8,
    "model.dim_feedforward": 16,
    "model.bigram_buckets": 512,
    "training.max_epochs": 1,
    "training.threads": 1,
    "evaluation.bootstrap_samples": 100,
    "gate.bootstrap_samples": 1000,
    "gate.min_test_rows": 10,
    "gate.baseline_margin": 0.9,
}


@dataclass
class Project:
    """A project whose stages have run, and what decides in it."""

    params: Params
    layout: Layout

    @property
    def tracker(self) -> Tracker:
        return Tracker(self.params, self.layout)

    @property
    def registry(self) -> Registry:
        return Registry(self.tracker)

    def make(self) -> None:
        """Train and score a candidate, as the stages do."""
        train(self.params, self.layout, self.tracker)
        evaluate(self.params, self.layout)

    def decide(self) -> Verdict:
        return decide_and_promote(self.params, self.layout, self.tracker, self.registry, asked_by("a test"))

    def remembered(self) -> Verdict | None:
        registry = self.registry
        return decided_before(self.params, self.layout, registry, standing(registry))

    def unchanged(self) -> Verdict | None:
        registry = self.registry
        return unchanged(self.layout, registry, standing(registry))

    def with_params(self, **knobs: object) -> Project:
        return replace(self, params=self.params.override({name.replace("__", "."): knob for name, knob in knobs.items()}))


@pytest.fixture(scope="module")
def decided(reviews: Slice, tmp_path_factory: pytest.TempPathFactory, measured_at_once: None) -> tuple[Project, Verdict]:
    """A champion, and a second candidate that was compared with it and refused: too few test rows, for sure."""
    layout = Layout(Path(shutil.copytree(reviews.layout.root, tmp_path_factory.mktemp("decided") / "project")))
    layout.lock.write_text("stages: {}\n")
    write_json(layout.study / "best_params.json", {})
    layout.plots.mkdir()
    (layout.plots / "search_history.png").write_bytes(b"a plot")
    project = Project(reviews.params.override(SMALL), layout)
    baseline(project.params, layout)
    project.make()
    assert project.decide().outcome == PROMOTED
    second = project.with_params(seed=2, gate__min_test_rows=1000)
    second.make()
    found = second.decide()
    assert found.outcome == REFUSED
    return second, found


@pytest.fixture
def refused(decided: tuple[Project, Verdict]) -> Iterator[Project]:
    """The project after the refusal, to be changed: database and files are put back afterwards."""
    project, _ = decided
    database = project.layout.tracking / "mlflow.db"
    kept = {file: file.read_bytes() for file in (database, project.layout.lock, project.layout.prepared / "test.parquet")}
    yield project
    for file, content in kept.items():
        file.write_bytes(content)


def test_an_unchanged_repeat_of_a_refusal_scores_nothing_and_says_that_it_was_decided_before(
    decided: tuple[Project, Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, first = decided
    monkeypatch.setattr(promotion, "decide_and_promote", lambda *_: pytest.fail("it was decided again"))
    with disable_run_logger():
        again = gate.fn(project.params, project.layout, project.tracker)
    assert again == replace(first, lines=again.lines)
    assert again.lines[:-1] == first.lines
    assert again.lines[-1].startswith("decided before (2")
    assert again.lines[-1].endswith("), nothing changed since")
    assert list(again.scores) == [CANDIDATE, BASELINE, "champion, version 1"]


def test_a_commit_alone_changes_nothing_that_was_decided_on(
    decided: tuple[Project, Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.lineage.git_commit", lambda root: "another")
    assert decided[0].remembered() is not None


@pytest.mark.parametrize(
    "knobs",
    [{"gate__policy": "non_inferior"}, {"gate__champion_margin": 0.02}, {"seed": 3}],
    ids=["policy", "threshold", "seed"],
)
def test_another_policy_or_seed_is_decided_anew(decided: tuple[Project, Verdict], knobs: dict[str, object]) -> None:
    assert decided[0].with_params(**knobs).remembered() is None


def _other_rows(project: Project) -> None:
    file = project.layout.prepared / "test.parquet"
    pq.write_table(pq.read_table(file).slice(1), file)


def _other_lock(project: Project) -> None:
    project.layout.lock.write_text("stages: {other: {}}\n")


def _no_champion(project: Project) -> None:
    retire(project.registry, "a test", asked_by("a test"), {})


def _other_champion(project: Project) -> None:
    promote(project.params, project.layout, project.registry, "2", asked_by("a test"), force=True, reason="a test")


def _rolled_back(project: Project) -> None:
    """The same candidate and the same champion as at the refusal, but the last word on the candidate is another."""
    _other_champion(project)
    roll_back(project.registry, "1", "a test", asked_by("a test"), {})


@pytest.mark.parametrize("change", [_other_rows, _other_lock, _no_champion, _other_champion, _rolled_back])
def test_whatever_the_refusal_rests_on_is_decided_anew_once_it_is_another(
    refused: Project, change: Callable[[Project], None]
) -> None:
    assert refused.remembered() is not None
    change(refused)
    assert refused.remembered() is None


def test_a_refusal_by_another_gate_is_decided_anew(
    decided: tuple[Project, Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code was edited, or Headway was updated."""
    monkeypatch.setattr(verdict, "gate_code", lambda: "another")
    assert decided[0].remembered() is None


def test_the_same_rows_in_another_file_are_the_same_rows(refused: Project) -> None:
    file = refused.layout.prepared / "test.parquet"
    before = file.read_bytes()
    table = pq.read_table(file)
    pq.write_table(table.take(list(reversed(range(len(table))))), file, compression="none")
    assert file.read_bytes() != before
    assert refused.remembered() is not None


def test_a_summary_that_a_kill_cut_off_is_completed_without_another_decision(refused: Project) -> None:
    tracker = refused.tracker
    run = tracker.find(kind="pipeline", key=execution_key(refused.params, refused.layout))
    assert run is not None
    tracker.client.delete_tag(run.info.run_id, DECISION_TAG)
    decided = len(refused.registry.history.records())
    with disable_run_logger():
        assert gate.fn(refused.params, refused.layout, refused.tracker).outcome == REFUSED
    assert tracker.client.get_run(run.info.run_id).data.tags[DECISION_TAG] == refused.registry.history.last()
    assert len(refused.registry.history.records()) == decided


def test_runs_that_were_deleted_in_mlflow_stop_nothing(refused: Project) -> None:
    tracker, record = refused.tracker, refused.registry.history.records()[-1]
    run = tracker.find(kind="pipeline", key=execution_key(refused.params, refused.layout))
    assert run is not None
    for deleted in (run.info.run_id, record.candidate.run):
        tracker.client.delete_run(deleted)
    with disable_run_logger():
        assert gate.fn(refused.params, refused.layout, refused.tracker).outcome == REFUSED
    anew = tracker.find(kind="pipeline", key=execution_key(refused.params, refused.layout))
    assert anew is not None
    assert anew.data.tags[VERDICT_TAG] == REFUSAL


def test_a_second_refusal_of_the_same_execution_takes_the_place_of_the_first(refused: Project) -> None:
    first = refused.registry.history.last()
    _rolled_back(refused)
    found = refused.decide()
    assert found.record is not None
    assert (found.outcome, found.record.id) == (REFUSED, refused.registry.history.last())
    assert found.record.id != first
    run = refused.tracker.find(kind="pipeline", key=execution_key(refused.params, refused.layout))
    assert run is not None
    assert run.data.tags[DECISION_TAG] == found.record.id
    kept = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/decision.json")
    assert kept["id"] == found.record.id


def test_a_refusal_for_the_latency_alone_is_decided_anew(refused: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may have been busy."""
    slow = refused.with_params(gate__min_test_rows=10, gate__max_latency_ms=1.0, gate__policy="non_inferior")
    slow = slow.with_params(gate__champion_margin=0.9)
    record = slow.decide().record
    assert record is not None
    assert "latency" in [check.name for check in record.failed]
    only = record.model_copy(update={"checks": tuple(one for one in record.checks if one.passed or one.name == "latency")})
    monkeypatch.setattr(terms, "about", lambda *_: only)
    assert slow.remembered() is None
    monkeypatch.setattr(verdict, "_may_pass_later", lambda _: False)
    assert slow.remembered() is not None, "it was decided anew for another reason"


def test_a_model_that_was_rolled_back_is_not_promoted_again_by_a_run(refused: Project) -> None:
    _rolled_back(refused)
    decided = len(refused.registry.history.records())
    with disable_run_logger():
        found = gate.fn(refused.params, refused.layout, refused.tracker)
    assert (found.outcome, found.version, found.champion) == (REFUSED, "2", "1")
    assert found.lines[0] == "version 1 is restored: a test"
    assert "was taken out of office" in found.lines[1]
    assert "`headway promote 2`" in found.lines[1]
    assert len(refused.registry.history.records()) == decided
    assert refused.registry.champion().version == 1


def test_a_model_that_was_retired_is_not_elected_again_by_a_run_unless_its_files_are_lost(refused: Project) -> None:
    _other_champion(refused)
    retire(refused.registry, "a test", asked_by("a test"), {})
    decided = len(refused.registry.history.records())
    with disable_run_logger():
        found = gate.fn(refused.params, refused.layout, refused.tracker)
    assert (found.outcome, found.version, found.champion) == (REFUSED, "2", None)
    assert found.lines[0] == "version 2 is retired: a test"
    assert "was taken out of office" in found.lines[1]
    assert len(refused.registry.history.records()) == decided
    source = refused.registry.version("2").source
    (stored,) = (refused.layout.tracking / "artifacts").rglob(f"{source.split('/')[-1]}/artifacts")
    lost = stored.rename(stored.with_name("lost"))
    try:
        with disable_run_logger():
            found = gate.fn(refused.params, refused.layout, refused.tracker)
    finally:
        lost.rename(stored)
    assert found.record.number == decided + 1
    assert found.version == "3", "made again, it has a version of its own"


def test_a_refusal_for_what_could_not_be_computed_is_decided_anew(refused: Project) -> None:
    """The champion's files are lost: the reason lies outside of all that is compared, and may be mended."""
    champion = refused.registry.champion()
    (stored,) = (refused.layout.tracking / "artifacts").rglob(f"{champion.source.split('/')[-1]}/artifacts")
    lost = stored.rename(stored.with_name("lost"))
    try:
        assert refused.remembered() is None, "a refusal was remembered though the champion is gone since"
        assert "cannot be loaded" in refused.decide().problem
    finally:
        lost.rename(stored)
    assert refused.remembered() is None


def test_a_candidate_that_was_never_judged_is_decided(decided: tuple[Project, Verdict], tmp_path: Path) -> None:
    project = Project(decided[0].params, Layout(tmp_path))
    shutil.copytree(decided[0].layout.candidate, project.layout.candidate)
    assert project.remembered() is None
    assert project.unchanged() is None


def test_a_champion_that_is_this_very_model_stays_without_a_decision(refused: Project) -> None:
    _other_champion(refused)
    found = refused.unchanged()
    assert found is not None
    assert (found.outcome, found.version, found.champion) == (UNCHANGED, "2", "2")
    assert found.lines == ["nothing to decide: version 2, the champion, is this very model"]
    assert list(found.scores) == [CANDIDATE, BASELINE]
    assert found.record is not None
    assert found.record.headline == "version 2 is promoted by force: a test"
