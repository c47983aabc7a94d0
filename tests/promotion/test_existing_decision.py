"""Whether an existing decision holds: a champion that is this very model, or a refusal whose facts are unchanged."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import pyarrow.parquet as pq
import pytest
from prefect.logging import disable_run_logger

from flows.pipeline import gate
from headway.cleanup.models import _needed_versions
from headway.errors import HeadwayError
from headway.files import write_json
from headway.layout import Layout
from headway.lineage import execution_key
from headway.params import Params
from headway.promotion import candidates, commands, existing_decision, history
from headway.promotion import history_queries as queries
from headway.promotion import project as inputs
from headway.promotion import promote as page
from headway.promotion.champion import DECISION_KIND_TAG, DECISION_TAG, RegistryState, commit, reconcile, ref_of
from headway.promotion.decision import BASELINE, CANDIDATE, PROMOTION, REFUSAL, REQUEST, Decision, TestSet, current_requester
from headway.promotion.existing_decision import existing_gate_decision, unchanged
from headway.promotion.outcome import PROMOTED, REFUSED, UNCHANGED, WAITING, Outcome
from headway.promotion.project import RESULTS
from headway.promotion.promote import Request, promote
from headway.promotion.rollback import retire, roll_back
from headway.promotion.test_rows import TestRows
from headway.registry.registry import Registry
from headway.stages.baseline import baseline
from headway.stages.evaluate import evaluate
from headway.stages.train import train
from headway.tracking import Tracker
from tests.conftest import Slice
from tests.promotion.conftest import ref, story

pytestmark = pytest.mark.usefixtures("measured_at_once")

#: So lenient that the first candidate is promoted, whatever so small a model has learned.
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

    def decide(self) -> Outcome:
        return promote(self.inputs(), Request(current_requester("a test")))

    def remembered(self) -> Outcome | None:
        return existing_gate_decision(self.inputs(), reconcile(self.registry), TestRows(self.layout))

    def unchanged(self) -> Outcome | None:
        return unchanged(self.inputs(), reconcile(self.registry))

    def inputs(self) -> inputs.Project:
        return inputs.Project(self.params, self.layout, self.registry)

    def with_params(self, **knobs: object) -> Project:
        return replace(self, params=self.params.override({name.replace("__", "."): knob for name, knob in knobs.items()}))


@pytest.fixture(scope="module")
def decided(reviews: Slice, tmp_path_factory: pytest.TempPathFactory, measured_at_once: None) -> tuple[Project, Outcome]:
    """A champion, and a second candidate that was compared with it and refused: too few test rows, for sure."""
    layout = Layout(Path(shutil.copytree(reviews.layout.root, tmp_path_factory.mktemp("decided") / "project")))
    layout.lock.write_text("stages: {}\n")
    write_json(layout.study / "best_params.json", {})
    layout.plots.mkdir()
    (layout.plots / "search_history.png").write_bytes(b"a plot")
    project = Project(reviews.params.override(SMALL), layout)
    baseline(project.params, layout)
    project.make()
    assert project.decide().result == PROMOTED
    second = project.with_params(seed=2, gate__min_test_rows=1000)
    second.make()
    found = second.decide()
    assert found.result == REFUSED
    return second, found


@pytest.fixture
def refused(decided: tuple[Project, Outcome]) -> Iterator[Project]:
    """The project after the refusal, to be changed: database and files are put back afterwards."""
    project, _ = decided
    database = project.layout.tracking / "mlflow.db"
    kept = {file: file.read_bytes() for file in (database, project.layout.lock, project.layout.prepared / "test.parquet")}
    yield project
    for file, content in kept.items():
        file.write_bytes(content)


def test_a_repeated_refusal_scores_nothing_and_says_that_it_was_decided_before(
    decided: tuple[Project, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, first = decided
    monkeypatch.setattr(page, "promote", lambda *_: pytest.fail("it was decided again"))
    with disable_run_logger():
        again = gate.fn(project.params, project.layout, project.tracker)
    assert again == replace(first, lines=again.lines)
    assert again.lines[:-1] == first.lines
    assert again.lines[-1].startswith("decided before (2")
    assert again.lines[-1].endswith("); nothing has changed since")
    assert list(again.scores) == [CANDIDATE, BASELINE, "champion, version 1"]


def test_a_commit_alone_changes_nothing_that_was_decided_on(
    decided: tuple[Project, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headway.lineage.git_commit", lambda root: "another")
    assert decided[0].remembered() is not None


@pytest.mark.parametrize(
    "knobs",
    [{"gate__policy": "non_inferior"}, {"gate__champion_margin": 0.02}, {"seed": 3}],
    ids=["policy", "threshold", "seed"],
)
def test_another_policy_or_seed_is_decided_again(decided: tuple[Project, Outcome], knobs: dict[str, object]) -> None:
    assert decided[0].with_params(**knobs).remembered() is None


def _other_rows(project: Project) -> None:
    file = project.layout.prepared / "test.parquet"
    pq.write_table(pq.read_table(file).slice(1), file)


def _other_lock(project: Project) -> None:
    project.layout.lock.write_text("stages: {other: {}}\n")


def _no_champion(project: Project) -> None:
    retire(project.registry, "a test", current_requester("a test"), {})


def _other_champion(project: Project) -> None:
    promote(project.inputs(), Request(current_requester("a test"), "2", force=True, reason="a test"))


def _rolled_back(project: Project) -> None:
    """The same candidate and the same champion as at the refusal, but the last word on the candidate is another."""
    _other_champion(project)
    roll_back(project.registry, "1", "a test", current_requester("a test"), {})


@pytest.mark.parametrize("change", [_other_rows, _other_lock, _no_champion, _other_champion, _rolled_back])
def test_a_refusal_is_reconsidered_when_anything_it_is_based_on_changes(
    refused: Project, change: Callable[[Project], None]
) -> None:
    assert refused.remembered() is not None
    change(refused)
    assert refused.remembered() is None


def test_a_refusal_holds_when_pages_alone_change(refused: Project) -> None:
    refused.layout.lock.write_text("stages: {report: {}}\n")
    assert refused.remembered() is not None


def test_a_refusal_from_before_pages_were_left_out_is_held_against_the_whole_lock(refused: Project) -> None:
    state = reconcile(refused.registry)
    known = state.decisions[-1]
    older = known.model_copy(update={"project": {name: one for name, one in known.project.items() if name != RESULTS}})
    state = replace(state, decisions=[*state.decisions[:-1], older])
    rows = TestRows(refused.layout)
    assert existing_gate_decision(refused.inputs(), state, rows) is not None
    refused.layout.lock.write_text("stages: {report: {}}\n")
    assert existing_gate_decision(refused.inputs(), state, rows) is None


def test_a_refusal_by_another_gate_is_decided_again(
    decided: tuple[Project, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code was edited, or Headway was updated."""
    monkeypatch.setattr(existing_decision, "gate_code", lambda: "another")
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
    decided = len(history.decisions(refused.registry))
    with disable_run_logger():
        assert gate.fn(refused.params, refused.layout, refused.tracker).result == REFUSED
    assert tracker.client.get_run(run.info.run_id).data.tags[DECISION_TAG] == refused.registry.log.entries().last
    assert len(history.decisions(refused.registry)) == decided


def test_runs_that_were_deleted_in_mlflow_stop_nothing(refused: Project) -> None:
    tracker, record = refused.tracker, history.decisions(refused.registry)[-1]
    run = tracker.find(kind="pipeline", key=execution_key(refused.params, refused.layout))
    assert run is not None
    for deleted in (run.info.run_id, record.candidate.run):
        tracker.client.delete_run(deleted)
    with disable_run_logger():
        assert gate.fn(refused.params, refused.layout, refused.tracker).result == REFUSED
    anew = tracker.find(kind="pipeline", key=execution_key(refused.params, refused.layout))
    assert anew is not None
    assert anew.data.tags[DECISION_KIND_TAG] == REFUSAL


def test_a_second_refusal_of_the_same_execution_takes_the_place_of_the_first(refused: Project) -> None:
    first = refused.registry.log.entries().last
    _rolled_back(refused)
    found = refused.decide()
    assert found.decision is not None
    assert (found.result, found.decision.id) == (REFUSED, refused.registry.log.entries().last)
    assert found.decision.id != first
    run = refused.tracker.find(kind="pipeline", key=execution_key(refused.params, refused.layout))
    assert run is not None
    assert run.data.tags[DECISION_TAG] == found.decision.id
    kept = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/decision.json")
    assert kept["id"] == found.decision.id


def test_a_refusal_for_the_latency_alone_is_decided_again(refused: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may have been busy."""
    slow = refused.with_params(gate__min_test_rows=10, gate__max_latency_ratio=0.001, gate__policy="non_inferior")
    slow = slow.with_params(gate__champion_margin=0.9)
    record = slow.decide().decision
    assert record is not None
    assert "latency" in [check.name for check in record.failed]
    only = record.model_copy(update={"checks": tuple(one for one in record.checks if one.passed or one.name == "latency")})
    monkeypatch.setattr(queries, "last_decision_on", lambda *_: only)
    assert slow.remembered() is None
    monkeypatch.setattr(existing_decision, "_may_pass_later", lambda _: False)
    assert slow.remembered() is not None, "it was decided again for another reason"


def test_a_run_does_not_promote_a_model_again_that_was_rolled_back(refused: Project) -> None:
    _rolled_back(refused)
    decided = len(history.decisions(refused.registry))
    with disable_run_logger():
        found = gate.fn(refused.params, refused.layout, refused.tracker)
    assert (found.result, found.version, found.champion) == (REFUSED, "2", "1")
    assert found.lines[0] == "version 1 is restored: a test"
    assert "was removed as champion" in found.lines[1]
    assert "`headway promote 2`" in found.lines[1]
    assert len(history.decisions(refused.registry)) == decided
    assert refused.registry.champion().version == 1


def test_a_run_does_not_promote_a_retired_model_again_unless_its_files_are_lost(refused: Project) -> None:
    _other_champion(refused)
    retire(refused.registry, "a test", current_requester("a test"), {})
    decided = len(history.decisions(refused.registry))
    with disable_run_logger():
        found = gate.fn(refused.params, refused.layout, refused.tracker)
    assert (found.result, found.version, found.champion) == (REFUSED, "2", None)
    assert found.lines[0] == "version 2 is retired: a test"
    assert "was removed as champion" in found.lines[1]
    assert len(history.decisions(refused.registry)) == decided
    source = refused.registry.version("2").source
    (stored,) = (refused.layout.tracking / "artifacts").rglob(f"{source.split('/')[-1]}/artifacts")
    lost = stored.rename(stored.with_name("lost"))
    try:
        with disable_run_logger():
            found = gate.fn(refused.params, refused.layout, refused.tracker)
    finally:
        lost.rename(stored)
    assert found.decision.number == decided + 1
    assert found.version == "3", "made again, it has a version of its own"


def test_a_refusal_for_what_could_not_be_computed_is_decided_again(refused: Project) -> None:
    """The champion's files are lost: the cause is not among the inputs that are compared, and may be fixed."""
    champion = refused.registry.champion()
    (stored,) = (refused.layout.tracking / "artifacts").rglob(f"{champion.source.split('/')[-1]}/artifacts")
    lost = stored.rename(stored.with_name("lost"))
    try:
        assert refused.remembered() is None, "a refusal was remembered though the champion is gone since"
        assert "cannot be loaded" in refused.decide().problem
    finally:
        lost.rename(stored)
    assert refused.remembered() is None


def test_a_candidate_that_was_never_decided_on_is_decided(decided: tuple[Project, Outcome], tmp_path: Path) -> None:
    project = Project(decided[0].params, Layout(tmp_path))
    shutil.copytree(decided[0].layout.candidate, project.layout.candidate)
    assert project.remembered() is None
    assert project.unchanged() is None


def test_a_champion_that_is_this_very_model_stays_without_a_decision(refused: Project) -> None:
    _other_champion(refused)
    found = refused.unchanged()
    assert found is not None
    assert (found.result, found.version, found.champion) == (UNCHANGED, "2", "2")
    assert found.lines == ["nothing to decide: the candidate is version 2, which is champion"]
    assert list(found.scores) == [CANDIDATE, BASELINE]
    assert found.decision is not None
    assert found.decision.headline == "version 2 is promoted by force: a test"


#: So lenient that the second candidate passes too.
PASSING = {
    "gate__min_test_rows": 10,
    "gate__policy": "non_inferior",
    "gate__champion_margin": 0.9,
    "gate__macro_f1_margin": 0.9,
    "gate__nll_margin": 100.0,
    "gate__calibration_margin": 0.9,
    "gate__slice_margin": 0.9,
}


@pytest.fixture
def waiting(refused: Project) -> Project:
    """The second candidate has passed the gate and waits for approval."""
    project = refused.with_params(**PASSING, gate__approval="required")
    found = project.decide()
    assert (found.result, found.version, found.champion) == (WAITING, "2", "1")
    return project


def run(project: Project) -> Outcome:
    """What the flow does once the stages are through."""
    with disable_run_logger():
        return gate.fn(project.params, project.layout, project.tracker)


def aliases(project: Project) -> dict[str, str]:
    return {alias: str(one.version) for one in project.registry.versions() for alias in one.aliases}


def test_while_a_candidate_waits_a_run_repeats_nothing_and_says_what_it_waits_for(
    waiting: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = len(history.decisions(waiting.registry))
    monkeypatch.setattr(page, "promote", lambda *_: pytest.fail("it was decided again"))
    found = run(waiting)
    assert (found.result, found.version, found.champion) == (WAITING, "2", "1")
    assert found.lines[0] == "version 2 passed the gate and waits for approval"
    assert '`headway approve 2 --reason "…"`' in found.lines[-2]
    assert found.lines[-1].endswith("nothing has changed since")
    assert len(history.decisions(waiting.registry)) == decided
    assert aliases(waiting) == {"champion": "1", "challenger": "2"}
    assert "Version 2 passed the gate and waits for approval" in waiting.layout.page("decision").read_text(encoding="utf-8")


def test_an_approved_candidate_is_champion_for_the_next_run_and_its_evidence_is_on_the_page(waiting: Project) -> None:
    reason = "read forty answers"
    done, path = commands.approve(waiting.inputs(), "2", reason, lambda _: None)
    text = path.read_text(encoding="utf-8")
    for shown in ("Version 2 is approved and promoted", reason, "no_worse_than_champion", "Texts that changed sides"):
        assert shown in text
    assert aliases(waiting) == {"champion": "2"}
    decided = len(history.decisions(waiting.registry))
    found = run(waiting)
    assert (found.result, found.champion, found.decision) == (UNCHANGED, "2", done)
    assert len(history.decisions(waiting.registry)) == decided


def test_an_approval_needs_the_policy_and_the_test_rows_that_the_gate_had(
    waiting: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stricter = waiting.with_params(**{**PASSING, "gate__approval": "required", "gate__champion_margin": 0.5})
    again = r"changed since version 2 passed the gate .* with `headway promote 2`"
    with pytest.raises(HeadwayError, match=rf"^gate\.champion_margin {again}"):
        commands.approve(stricter.inputs(), "2", "tried", lambda _: None)
    other = TestSet.of(["another row"], ["positive"])
    with monkeypatch.context() as patched:
        patched.setattr(TestRows, "fingerprint", other)
        with pytest.raises(HeadwayError, match=rf"^the test rows {again}"):
            commands.approve(waiting.inputs(), "2", "tried", lambda _: None)
    assert aliases(waiting) == {"champion": "1", "challenger": "2"}
    commands.approve(waiting.inputs(), "2", "tried", lambda _: None)
    assert aliases(waiting) == {"champion": "2"}


def test_a_declined_candidate_is_not_asked_for_again_unless_a_person_wants_it(waiting: Project) -> None:
    commands.decline(waiting.inputs(), "2", "too slow", lambda _: None)
    decided = len(history.decisions(waiting.registry))
    for _ in range(2):
        found = run(waiting)
        assert (found.result, found.version, found.champion) == (REFUSED, "2", "1")
        assert found.lines[0] == f"version 2 is declined, on the evidence of decision {decided - 1}: too slow"
        assert "was declined" in found.lines[1]
        assert "`headway promote 2`" in found.lines[1]
    assert len(history.decisions(waiting.registry)) == decided
    assert promote(waiting.inputs(), Request(current_requester("a test"), "2")).result == WAITING
    assert aliases(waiting) == {"champion": "1", "challenger": "2"}


def test_without_the_need_for_approval_the_candidate_that_waits_is_promoted_by_the_next_run(waiting: Project) -> None:
    assert run(waiting.with_params(gate__approval="automatic")).result == PROMOTED
    assert aliases(waiting) == {"champion": "2"}


def test_a_candidate_that_waits_is_compared_anew_after_the_champion_changed(waiting: Project) -> None:
    request = history.decisions(waiting.registry)[-1]
    retire(waiting.registry, "a test", current_requester("a test"), {})
    found = run(waiting)
    assert found.result == WAITING
    assert found.decision is not None
    assert (found.decision.champion, found.decision.number) == (None, request.number + 2)


def test_a_candidate_that_was_replaced_and_is_made_again_asks_again(waiting: Project) -> None:
    registry, state = waiting.registry, reconcile(waiting.registry)
    request = {name: getattr(state.decisions[-1], name) for name in Decision.model_fields}
    other = {"candidate": ref(9), "replaces": request["candidate"], "requested_by": current_requester("another run")}
    place = ("record_version", "number", "previous", "when")
    commit(registry, state, **{name: one for name, one in {**request, **other}.items() if name not in place})
    found = run(waiting)
    assert found.decision is not None
    assert (found.result, found.decision.replaces) == (WAITING, ref(9))
    assert found.lines[0] == "version 2 passed the gate and waits for approval, in place of version 9"
    assert aliases(waiting)["challenger"] == "2"


def test_a_new_candidate_does_not_take_the_alias_from_one_that_waits(waiting: Project) -> None:
    registry, state = waiting.registry, reconcile(waiting.registry)
    registry.set_challenger(registry.version("1"))  # stands for another version that waits
    other = state.decisions[-1].model_copy(update={"candidate": state.champion_ref})
    rows = TestRows(waiting.layout)
    candidates.from_stages(waiting.inputs(), replace(state, decisions=[*state.decisions[:-1], other]), rows)
    assert aliases(waiting)["challenger"] == "1"
    candidates.from_stages(waiting.inputs(), replace(state, decisions=state.decisions[:-1]), rows)
    assert aliases(waiting)["challenger"] == "2"


def test_a_request_names_the_other_version_that_it_replaces() -> None:
    waits = RegistryState(story((PROMOTION, 1), (REQUEST, 2), (REFUSAL, 3)), None, [])
    assert page._replaced(waits, ref(4)) == ref(2)
    assert page._replaced(waits, ref(5, "model 2")) is None, "the same model asks again"
    assert page._replaced(replace(waits, decisions=waits.decisions[:1]), ref(4)) is None


def test_a_version_that_waits_stays_when_old_ones_are_removed(waiting: Project) -> None:
    registry = waiting.registry
    registry.remove_challenger(ref_of(registry.version("2")))
    versions, decisions = registry.versions(), history.decisions(registry)
    waiting.layout.candidate.rename(waiting.layout.candidate.with_name("moved"))
    try:
        kept = [str(one.version) for one in _needed_versions(waiting.inputs(), versions, decisions, keep=0)]
        without = [str(one.version) for one in _needed_versions(waiting.inputs(), versions, decisions[:-1], keep=0)]
    finally:
        waiting.layout.candidate.with_name("moved").rename(waiting.layout.candidate)
    assert (kept, without) == (["1", "2"], ["1"])
