"""The pipeline as a flow: every stage of dvc.yaml through DVC, then a promotion or a refusal with reasons."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE

from flows import graph, missed_runs, report, server
from flows.execution import UP_TO_DATE, StageFailed, StageResult, changed_stages, exclusive, repro
from headway import preflight
from headway.champion_monitor.feedback import collect_feedback
from headway.environment import DEBUG
from headway.errors import HeadwayError, first_line
from headway.foreign_text import one_line
from headway.layout import Layout
from headway.notifications import Message, notify
from headway.params import Params, load
from headway.phrases import counted
from headway.process import raise_on_termination, recorded_interrupts
from headway.promotion.announcement import announce, on_this_machine
from headway.promotion.champion import reconcile
from headway.promotion.decision import Requester, current_requester
from headway.promotion.existing_decision import existing_outcome
from headway.promotion.outcome import Outcome
from headway.promotion.project import Project
from headway.promotion.test_rows import TestRows
from headway.registry.registry import Registry
from headway.reporting.index.page import INDEX
from headway.tracking import Tracker
from headway.tracking_labels import data_name

SOURCE_RETRIES, SECONDS_BETWEEN_RETRIES = 2, 10


def _worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a retry can help: after a crash or a lost connection, but not after an error that the stage reported itself."""
    error = state.result(raise_on_failure=False)
    return not (isinstance(error, StageFailed) and error.explained)


@task(task_run_name="{stage.name}", cache_policy=NO_CACHE, retry_condition_fn=_worth_retrying)
def run_stage(stage: graph.Stage, layout: Layout, changed: set[str] | None) -> StageResult:
    """Run one stage through DVC; no process is started if DVC has just found it up to date."""
    logger = get_run_logger()
    if changed is not None and stage.name not in changed:
        logger.info("up to date")
        return StageResult(stage.name, UP_TO_DATE, seconds=0.0)
    return repro(stage.name, layout, logger.info)


@task(task_run_name="gate", cache_policy=NO_CACHE)
def gate(params: Params, layout: Layout, tracker: Tracker) -> Outcome:
    """Promote or refuse the candidate that the stages produced, or have it wait for approval; all are normal outcomes."""
    project, rows = Project(params, layout, Registry(tracker)), TestRows(layout)
    outcome = existing_outcome(project, reconcile(project.registry), rows)
    if outcome is None:
        # Imported here, so that a flow with nothing to decide does not wait for the imports that scoring needs.
        from headway.promotion.promote import Request, promote

        outcome = promote(project, Request(_requester(), on_step=get_run_logger().info), rows)
    for line in outcome.lines:
        get_run_logger().info(one_line(line))
    return outcome


def _requester() -> Requester:
    """This user, and the flow run and deployment that Prefect knows."""
    flow = {"flow_run": runtime.flow_run.name, "flow_run_id": runtime.flow_run.id, "deployment": runtime.deployment.name}
    return current_requester("headway run", **{name: str(value) for name, value in flow.items() if value})


def _run_name() -> str:
    """The data set and the time, such as ``imdb · 2026-11-30 21:38``. What is wrong with the project is the flow's to report."""
    started = f"{datetime.now():%Y-%m-%d %H:%M}"
    with suppress(HeadwayError):
        project = runtime.flow_run.parameters.get("project")
        return f"{data_name(load(Layout.find(Path(project) if project else None).params))} · {started}"
    return started


@flow(name="headway", flow_run_name=_run_name, validate_parameters=False)
def pipeline(project: str = "") -> str:
    """Bring every stage up to date, then promote or refuse the candidate.

    Args:
        project: folder of the project; by default the one around the working directory.

    Returns:
        ``promoted``, ``refused``, ``waiting`` for approval, or ``unchanged``.

    Raises:
        HeadwayError: a stage failed, another flow is running, or the champion cannot be scored (the candidate is then
            refused).
    """
    layout = Layout.find(Path(project) if project else None)
    with (
        announced_failures(layout, lambda line: get_run_logger().warning(line)),
        missed_runs.noted_run(layout, "retrain"),  # before any check, because a run that fails has started
    ):
        return _run(layout)


def _run(layout: Layout) -> str:
    """The flow's work: check, run the stages, decide, and report."""
    started = time.monotonic()
    params = preflight.check(layout)
    report.label_flow_run(layout.root.name, data_name(params))
    with exclusive(layout):
        tracker = Tracker(params, layout)
        registry = Registry(tracker)
        registry.require_own()
        decided_before, _ = registry.log.entries().carried_out
        if params.data.feedback and (rows := collect_feedback(Project(params, layout, registry))):
            get_run_logger().info("%s with a label from the prediction log", counted(rows, "new text"))
        with tracker.execution():
            results = run_stages(layout, registry)
            outcome = gate(params, layout, tracker)
        seconds = time.monotonic() - started
        search = report.describe_search(layout)
        page = layout.page(INDEX).relative_to(layout.root).as_posix()
        confidence, not_learned = params.evaluation.confidence, report.describe_learning(layout)
        links = report.mlflow_links(tracker, outcome)
        closing = report.Report(tuple(results), outcome, confidence, search, seconds, page, not_learned, links)
        report.show(closing)
        report.publish(closing)
    if outcome.decision is not None:
        announce(Project(params, layout, registry), outcome.decision, decided_before, get_run_logger().warning)
    if outcome.problem:
        raise HeadwayError(outcome.problem)
    return outcome.result


@contextmanager
def announced_failures(layout: Layout, warn: Callable[[str], object]) -> Iterator[None]:
    """Send a notification of an error that ends the block. The error is raised again; an interruption is no failure."""
    try:
        yield
    except Exception as error:
        # Only a deployment's run is sure to have a server that shows it afterwards.
        link = str(runtime.flow_run.ui_url) if runtime.deployment.id else on_this_machine(layout.root)
        notify(Message("failure", layout.root.name, first_line(error), link), warn)
        raise


def run_stages(layout: Layout, registry: Registry) -> list[StageResult]:
    """Run all stages of dvc.yaml in order, each as a task of its name.

    Ctrl+C or a termination stops the run even if code between two stages, such as Prefect's or a finalizer, swallows it.

    Raises:
        HeadwayError: a stage failed, or new data show that the registered model belongs to another project.
    """
    changed = changed_stages(layout)
    results = []
    with recorded_interrupts() as raise_if_interrupted:
        for stage in graph.read(layout.graph):
            # A stage without dependencies reads an outside source, where a retry can help.
            retries = 0 if stage.after else SOURCE_RETRIES
            step = run_stage.with_options(name=stage.name, retries=retries, retry_delay_seconds=SECONDS_BETWEEN_RETRIES)
            results.append(step(stage, layout, changed))
            raise_if_interrupted()
            if results[-1].outcome != UP_TO_DATE:
                changed = None  # its outs may have changed, so DVC checks every later stage again
                if not stage.after:
                    registry.require_own()  # again, before hours of training: the labels tell projects apart
    return results


class OneLine(logging.Filter):
    """Removes the traceback from the log record of a HeadwayError, whose message is enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        if DEBUG not in os.environ and record.exc_info and isinstance(record.exc_info[1], HeadwayError):
            record.exc_info = None
            record.exc_text = None
        return True


# At import and not in main, because a worker imports this module and calls the flow itself.
for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(OneLine())


def main() -> None:
    """Run the flow now, on the Prefect server that is named or running, or else on one that ends with the flow.

    Raises:
        HeadwayError: see :func:`pipeline`.
    """
    raise_on_termination()
    layout = Layout.find()
    with ExitStack() as stack:
        with announced_failures(layout, lambda line: sys.stderr.write(f"headway: {line}\n")):
            # Checked first, because Prefect takes seconds to start.
            params = preflight.check(layout)
            with exclusive(layout):
                Registry(Tracker(params, layout)).require_own()
            stack.enter_context(server.connected())
        pipeline()
