"""The flow's tasks, called without Prefect around them: which are tried again, and which stages DVC is asked about."""

from __future__ import annotations

import signal
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from prefect.logging import disable_run_logger
from prefect.states import Failed

from flows import deploy, graph, pipeline
from flows.execution import RAN, UP_TO_DATE, StageFailed, StageResult
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.notifications import VARIABLE, Message
from headway.params import Params, load
from headway.process import Terminated
from headway.promotion import announcement
from headway.promotion.decision import PROMOTION
from headway.promotion.outcome import PROMOTED, Outcome
from headway.registry.record_log import Entries, RecordLog
from headway.registry.registry import Registry
from headway.tracking import Tracker
from tests.promotion.conftest import story


class Unclaimed(Registry):
    """A registered model that belongs to no other project."""

    def __init__(self) -> None:
        pass

    def require_own(self) -> None:
        pass


UNCLAIMED = Unclaimed()


class Recorded:
    """A stand-in for the task ``run_stage``: records the options and arguments of every call, and runs nothing."""

    def __init__(self, ran: set[str]) -> None:
        self.ran = ran
        self.options: dict[str, dict[str, Any]] = {}
        self.asked: dict[str, set[str] | None] = {}

    def with_options(self, **options: Any) -> Recorded:
        self.options[options["name"]] = options
        return self

    def __call__(self, stage: graph.Stage, layout: Layout, changed: set[str] | None) -> StageResult:
        self.asked[stage.name] = changed
        return StageResult(stage.name, RAN if stage.name in self.ran else UP_TO_DATE, 0.0)


def recorded(monkeypatch: pytest.MonkeyPatch, project: Layout, changed: set[str] | None, ran: set[str]) -> Recorded:
    """All stages of the project's dvc.yaml, of which DVC finds some changed and some then run."""
    calls = Recorded(ran)
    monkeypatch.setattr(pipeline, "run_stage", calls)
    monkeypatch.setattr(pipeline, "changed_stages", lambda layout: changed)
    results = pipeline.run_stages(project, UNCLAIMED)
    assert [result.name for result in results] == [stage.name for stage in graph.read(project.graph)]
    return calls


def test_only_the_stage_that_depends_on_no_other_is_tried_again(monkeypatch: pytest.MonkeyPatch, project: Layout) -> None:
    calls = recorded(monkeypatch, project, set(), set())
    first = {stage.name for stage in graph.read(project.graph) if not stage.after}
    assert {name for name, options in calls.options.items() if options["retries"]} == first == {"ingest"}


def test_dvc_checks_every_stage_again_after_one_that_ran(monkeypatch: pytest.MonkeyPatch, project: Layout) -> None:
    calls = recorded(monkeypatch, project, {"tokenize"}, {"tokenize"})
    order = list(calls.asked)
    before = order[: order.index("tokenize") + 1]
    assert {name for name, changed in calls.asked.items() if changed == {"tokenize"}} == set(before)
    assert {name for name, changed in calls.asked.items() if changed is None} == set(order) - set(before)


def test_another_projects_model_is_noticed_as_soon_as_the_labels_are_known(
    monkeypatch: pytest.MonkeyPatch, project: Layout
) -> None:
    class Claimed(Unclaimed):
        def require_own(self) -> None:
            raise HeadwayError("the registered model belongs to another project")

    calls = Recorded({"ingest"})
    monkeypatch.setattr(pipeline, "run_stage", calls)
    monkeypatch.setattr(pipeline, "changed_stages", lambda layout: None)
    with pytest.raises(HeadwayError, match="belongs to another project"):
        pipeline.run_stages(project, Claimed())
    assert list(calls.asked) == ["ingest"]


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_an_interrupt_that_is_swallowed_between_two_stages_ends_the_flow(
    monkeypatch: pytest.MonkeyPatch, project: Layout, number: signal.Signals, error: type[BaseException]
) -> None:
    def end(number: int, _frame: object) -> None:
        raise error(number)

    outside = signal.signal(number, end)
    started = []

    class Swallowing(Recorded):
        def __call__(self, stage: graph.Stage, layout: Layout, changed: set[str] | None) -> StageResult:
            started.append(stage.name)
            with suppress(error):
                signal.raise_signal(number)
            return super().__call__(stage, layout, changed)

    monkeypatch.setattr(pipeline, "run_stage", Swallowing(set()))
    monkeypatch.setattr(pipeline, "changed_stages", lambda layout: set())
    try:
        with pytest.raises(error):
            pipeline.run_stages(project, UNCLAIMED)
        assert signal.getsignal(number) == end
    finally:
        signal.signal(number, outside)
    assert started == ["ingest"]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (StageFailed("stage ingest: the column is gone", explained=True), False),
        (StageFailed("stage ingest: dvc ended with status 1", explained=False), True),
        (ConnectionError("reset by peer"), True),
    ],
    ids=["explained", "died", "connection"],
)
def test_a_stage_that_reported_its_error_is_not_retried(error: Exception, again: bool) -> None:
    assert pipeline._worth_retrying(None, None, Failed(data=error)) is again


def test_the_task_asks_before_it_retries() -> None:
    assert pipeline.run_stage.retry_condition_fn is pipeline._worth_retrying


def test_no_process_is_started_for_a_stage_that_dvc_found_up_to_date(
    monkeypatch: pytest.MonkeyPatch, project: Layout
) -> None:
    monkeypatch.setattr(pipeline, "repro", lambda *_: pytest.fail("a process was started"))
    with disable_run_logger():
        result = pipeline.run_stage.fn(graph.Stage("train", "", ()), project, {"evaluate"})
    assert result == StageResult("train", UP_TO_DATE, 0.0)


@pytest.mark.parametrize("changed", [{"train"}, None], ids=["changed", "unknown"])
def test_a_stage_that_changed_or_may_have_goes_through_dvc(
    monkeypatch: pytest.MonkeyPatch, project: Layout, changed: set[str] | None
) -> None:
    monkeypatch.setattr(pipeline, "repro", lambda name, layout, log: StageResult(name, RAN, 1.0))
    with disable_run_logger():
        assert pipeline.run_stage.fn(graph.Stage("train", "", ()), project, changed) == StageResult("train", RAN, 1.0)


def test_a_flow_outside_a_project_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HeadwayError, match="not inside a Headway project"):
        pipeline.pipeline.fn(str(tmp_path))


@pytest.mark.parametrize("start", ["command", "flow", "schedule"])
def test_mistakes_in_the_project_are_found_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, project: Layout, start: str
) -> None:
    project.params.write_text(project.params.read_text().replace("slices: {}", "slices: {long: lenght > 3}"))
    monkeypatch.chdir(project.root)
    for name in ("run_stages", "Tracker"):
        monkeypatch.setattr(pipeline, name, lambda *_: pytest.fail("work began"))
    begin = {
        "command": pipeline.main,
        "flow": lambda: pipeline.pipeline.fn(""),
        "schedule": lambda: deploy.serve("0 3 * * *"),
    }
    with pytest.raises(HeadwayError, match="no column 'lenght'"):
        begin[start]()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Message]:
    """The messages that would be sent if there were addresses."""
    messages: list[Message] = []
    monkeypatch.setenv(VARIABLE, "a file")
    for module in (pipeline, announcement):
        monkeypatch.setattr(module, "notify", lambda message, warn: messages.append(message))
    return messages


@pytest.mark.parametrize("start", ["command", "flow"])
def test_a_run_that_fails_is_announced_once_with_its_error(
    monkeypatch: pytest.MonkeyPatch, project: Layout, sent: list[Message], start: str
) -> None:
    project.params.write_text(project.params.read_text().replace("slices: {}", "slices: {long: lenght > 3}"))
    monkeypatch.chdir(project.root)
    with pytest.raises(HeadwayError, match="no column 'lenght'") as error:
        pipeline.main() if start == "command" else pipeline.pipeline.fn("")
    assert [(one.event, one.project, one.line) for one in sent] == [("failure", project.root.name, str(error.value))]


def test_an_error_of_the_flow_that_a_command_started_is_not_announced_again(
    monkeypatch: pytest.MonkeyPatch, project: Layout, sent: list[Message]
) -> None:
    def fails(layout: Layout) -> str:
        raise StageFailed("stage train: the disk is full", explained=True)

    monkeypatch.chdir(project.root)
    monkeypatch.setattr(pipeline.server, "connected", nullcontext)
    monkeypatch.setattr(pipeline.preflight, "check", lambda layout: load(layout.params))
    monkeypatch.setattr(pipeline, "_run", fails)
    monkeypatch.setattr(pipeline, "pipeline", pipeline.pipeline.fn)
    with pytest.raises(StageFailed):
        pipeline.main()
    assert [one.line for one in sent] == ["stage train: the disk is full"]


def test_an_interrupted_run_is_no_failure(project: Layout, sent: list[Message]) -> None:
    with pytest.raises(KeyboardInterrupt), pipeline.announced_failures(project, pytest.fail):
        raise KeyboardInterrupt
    assert sent == []


def test_a_decision_is_announced_by_the_run_that_made_it_and_by_no_later_one(
    monkeypatch: pytest.MonkeyPatch, params: Params, project: Layout, sent: list[Message]
) -> None:
    carried_out = [0]
    (decision,) = story((PROMOTION, 1))

    def decide(params: Params, layout: Layout, tracker: Tracker) -> Outcome:
        carried_out[0] = 1
        return Outcome.promoted(decision)

    monkeypatch.setattr(pipeline.preflight, "check", lambda layout: params)
    monkeypatch.setattr(pipeline, "run_stages", lambda *_: [])
    monkeypatch.setattr(pipeline, "gate", decide)
    monkeypatch.setattr(RecordLog, "entries", lambda self: Entries({}, (carried_out[0], "")))
    for name in ("describe_search", "describe_learning", "show", "publish"):
        monkeypatch.setattr(pipeline.report, name, lambda *_: "")
    with disable_run_logger():
        assert [pipeline.pipeline.fn(str(project.root)) for _ in range(2)] == [PROMOTED, PROMOTED]
    assert [one.event for one in sent] == ["promotion"]
