"""The summary of a flow run: closing tables on the terminal, published as Prefect artifacts too."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from prefect import flow, get_client, runtime, tags
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from rich.console import Console
from rich.table import Table

from flows import server
from flows.execution import RAN, StageResult
from headway.errors import first_line
from headway.evaluation.slices import without_rows
from headway.files import read_json
from headway.foreign_text import markdown, one_line
from headway.layout import Layout
from headway.phrases import counted
from headway.promotion.decision import CANDIDATE, Decision
from headway.promotion.outcome import PROMOTED, UNCHANGED, WAITING, Outcome
from headway.promotion.project import EXECUTION
from headway.reporting.decision import summary
from headway.reporting.formatting import interval, shown
from headway.reporting.learning import findings
from headway.tracking import Tracker
from headway.tracking_labels import version_path


@dataclass(frozen=True)
class Report:
    """A finished flow run.

    Attributes:
        confidence: coverage of the intervals in the outcome's scores, from 0 to 1.
        search: what the search tried, "" if there was no search.
        page: path of the index of all pages within the project.
        not_learned: a line for each part of the candidate that did not learn.
        links: see :func:`mlflow_links`.
    """

    stages: tuple[StageResult, ...]
    outcome: Outcome
    confidence: float
    search: str
    seconds: float
    page: str = ""
    not_learned: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        outcome = self.outcome
        if outcome.result == PROMOTED:
            return f"PROMOTED: version {outcome.version} is champion"
        if outcome.result == UNCHANGED:
            return f"UNCHANGED: version {outcome.champion} stays champion"
        stays = f"version {outcome.champion} stays champion" if outcome.champion else "there is no champion"
        if outcome.result == WAITING:
            return f"WAITING: version {outcome.version} passed the gate and waits for approval, {stays}"
        return f"REFUSED: version {outcome.version} is not promoted, {stays}"


def describe_search(layout: Layout) -> str:
    """What the search behind the candidate tried, as "8 trials, 2 pruned, defaults kept"; "" if the project has no search."""
    file = layout.metrics("search")
    if not file.is_file():
        return ""
    found = read_json(file, made_by="tune")
    ends = [f"{found[how]} {how}" for how in ("pruned", "failed") if found[how]]
    kept = ["defaults kept"] if found.get("winner") == 0 else []
    return ", ".join([counted(found["trials"], "trial"), *ends, *kept])


def describe_learning(layout: Layout) -> tuple[str, ...]:
    """A line for each part of the candidate that did not learn: what is wrong, and what to try."""
    return tuple(f"{one.line}." for one in findings(read_json(layout.metrics("training"), made_by="train")))


def show(report: Report) -> None:
    """Print the closing tables."""
    console = Console(highlight=False, markup=False)  # labels and reasons may hold brackets
    stages = Table("stage", "", "seconds", title="Stages", title_justify="left")
    stages.columns[2].justify = "right"
    for stage in report.stages:
        stages.add_row(stage.name, stage.outcome, f"{stage.seconds:.1f}" if stage.outcome == RAN else "")
    stages.add_section()
    if report.search:
        stages.add_row("search", report.search, "")
    stages.add_row("total", "", f"{report.seconds:.1f}")
    scores = Table("model", "accuracy", f"{report.confidence:.0%} interval", "macro F1", "NLL", title_justify="left")
    rows = next(iter(report.outcome.scores.values()))["rows"]
    scores.title = f"Test split, the same {rows:,} rows"
    for name, score in report.outcome.scores.items():
        values = (shown(score[key]) for key in ("macro_f1", "negative_log_likelihood"))
        scores.add_row(name, shown(score["accuracy"]), interval(score["accuracy_low"], score["accuracy_high"]), *values)
    console.print()
    console.print(stages)
    console.print(scores)
    if empty := without_rows(report.outcome.scores.get(CANDIDATE, {}).get("slices", {})):
        console.print(one_line(empty), style="yellow", soft_wrap=True)
    for line in report.not_learned:
        console.print(one_line(line), style="yellow", soft_wrap=True)
    console.print(report.headline, style="bold green" if report.outcome.champion else "bold red")
    for line in report.outcome.lines[1:] or report.outcome.lines:
        console.print("  " + one_line(line), soft_wrap=True)
    if report.page:
        console.print(f"All pages of this run: {report.page}", soft_wrap=True)
    console.print("Browse the runs and versions: make ui")


def mlflow_links(tracker: Tracker, outcome: Outcome) -> dict[str, str]:
    """Addresses of MLflow's pages of the runs and the version that a decision is about; none if MLflow serves no pages."""
    if not tracker.pages:
        return {}
    decision, model = outcome.decision, tracker.params.registry.model_name
    paths = {f"version {outcome.version}": version_path(model, outcome.version)}
    if decision is not None:
        found = tracker.find(kind="pipeline", key=decision.project.get(EXECUTION, ""))
        runs = {"pipeline run": found.info.run_id if found else "", "training run": decision.candidate.run}
        paths |= {name: tracker.run_path(run_id) for name, run_id in runs.items() if run_id}
    return {f"MLflow: {name}": tracker.pages + path for name, path in paths.items()}


def label_flow_run(*labels: str) -> None:
    """Add tags to this flow run."""
    if runtime.flow_run.id is None:
        return
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(runtime.flow_run.id))
        client.update_flow_run(run.id, tags=sorted({*run.tags, *labels}))


def publish(report: Report) -> None:
    """Store stages, metrics, decision and links as artifacts of the flow run, and tag the run with the outcome."""
    outcome = report.outcome
    label_flow_run(outcome.result, f"version {outcome.version}")
    for name, address in report.links.items():
        create_link_artifact(link=address, link_text=name, key=f"headway-{name.split()[1]}", description=name)
    create_table_artifact(
        [{"stage": stage.name, "outcome": stage.outcome, "seconds": round(stage.seconds, 1)} for stage in report.stages],
        key="headway-stages",
        description="Stages that ran, and stages that were up to date",
    )
    keys = ("rows", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "negative_log_likelihood")
    create_table_artifact(
        [{"model": name, **{key: score[key] for key in keys}} for name, score in report.outcome.scores.items()],
        key="headway-metrics",
        description="Metrics on the test split, the same rows for every model",
    )
    _publish_decision(report.headline, [*report.not_learned, *outcome.lines], outcome.decision, report.links)


def publish_by_hand(decision: Decision) -> None:
    """Publish a decision made outside a flow to the Prefect server, as the artifact of a flow run of its own.

    Without a server that is named or running, nothing is published: one that ends with this command would be of no use.
    The decision is recorded already, so a failure is only reported on standard error.
    """
    try:
        if server.is_there():
            with server.connected(), tags(decision.kind, f"version {decision.candidate.version}"):
                _by_hand(decision)
    except Exception as error:  # noqa: BLE001 - a server and its client can raise anything
        sys.stderr.write(
            f"headway: decision {decision.number} is recorded, but Prefect could not store it as an artifact: "
            f"{first_line(error)}\n"
        )


@flow(
    name="headway-by-hand",
    flow_run_name="{decision.kind} · version {decision.candidate.version}",
    validate_parameters=False,
)
def _by_hand(decision: Decision) -> None:
    _publish_decision(decision.headline, [], decision, {})


def _publish_decision(headline: str, lines: Iterable[str], decision: Decision | None, links: Mapping[str, str]) -> None:
    """The decision as a page. Lines that it contains, of the headline and the checks, are not repeated."""
    known = decision.summary if decision else []
    listed = "\n".join(f"- {markdown(line)}" for line in lines if line not in known)
    page = summary.render(decision, links) if decision else ""
    parts = [f"# {markdown(headline)}", listed, page]
    create_markdown_artifact("\n\n".join(part for part in parts if part), key="headway-decision", description=headline)
