"""What a flow run did, for people: a closing table on the terminal and the same as Prefect artifacts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from rich.console import Console
from rich.table import Table

from flows.execution import RAN, StageResult
from flows.verdict import PROMOTED, UNCHANGED, Verdict, write_page
from headway.files import read_json
from headway.layout import Layout
from headway.phrases import counted
from headway.promotion.decision import Record
from headway.reporting.formatting import interval, shown


@dataclass(frozen=True)
class Report:
    """Attributes: how each stage went, the verdict with the scores, their intervals' confidence, what the search tried ("" when
    there was none), seconds of the whole run, where the decision page lies ("" when there is none)."""

    stages: tuple[StageResult, ...]
    verdict: Verdict
    confidence: float
    search: str
    seconds: float
    page: str = ""

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        verdict = self.verdict
        if verdict.outcome == PROMOTED:
            return f"PROMOTED: version {verdict.version} is champion"
        if verdict.outcome == UNCHANGED:
            return f"UNCHANGED: version {verdict.champion} stays champion"
        stays = f"version {verdict.champion} stays champion" if verdict.champion else "there is no champion"
        return f"REFUSED: version {verdict.version} is not promoted, {stays}"


def search_told(layout: Layout) -> str:
    """What the search behind the candidate tried, as "8 trials, 2 pruned"; "" when the project has none."""
    file = layout.metrics("search")
    if not file.is_file():
        return ""
    found = read_json(file, made_by="tune")
    ends = [f"{found[how]} {how}" for how in ("pruned", "failed") if found[how]]
    return ", ".join([counted(found["trials"], "trial"), *ends])


def page_of(verdict: Verdict, layout: Layout) -> str:
    """Leave the page of the decision that holds; where it lies, "" when the decision is older than the history."""
    if verdict.record is None:
        return ""
    return write_page(layout, verdict.record).relative_to(layout.root).as_posix()


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
    stages.add_row("in total", "", f"{report.seconds:.1f}")
    scores = Table("model", "accuracy", f"{report.confidence:.0%} interval", "macro F1", "NLL", title_justify="left")
    rows = next(iter(report.verdict.scores.values()))["rows"]
    scores.title = f"Test split, the same {rows:,} rows"
    for name, score in report.verdict.scores.items():
        values = (shown(score[key]) for key in ("macro_f1", "negative_log_likelihood"))
        scores.add_row(name, shown(score["accuracy"]), interval(score["accuracy_low"], score["accuracy_high"]), *values)
    console.print()
    console.print(stages)
    console.print(scores)
    console.print(report.headline, style="bold green" if report.verdict.champion else "bold red")
    for line in report.verdict.lines[1:] or report.verdict.lines:
        console.print("  " + line, soft_wrap=True)
    if report.page:
        console.print(f"The decision, with all that it rests on: {report.page}", soft_wrap=True)
    console.print("Browse the runs and versions: make ui")


def publish(report: Report) -> None:
    """Leave stages, metrics and decision as artifacts of the flow run."""
    create_table_artifact(
        [{"stage": stage.name, "outcome": stage.outcome, "seconds": round(stage.seconds, 1)} for stage in report.stages],
        key="headway-stages",
        description="What ran, and what was up to date",
    )
    keys = ("rows", "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "negative_log_likelihood")
    create_table_artifact(
        [{"model": name, **{key: score[key] for key in keys}} for name, score in report.verdict.scores.items()],
        key="headway-metrics",
        description="Test split, the same rows for every model",
    )
    _publish_decision(report.headline, report.verdict.lines, report.verdict.record)


@flow(name="headway-by-hand", validate_parameters=False)
def publish_by_hand(record: Record) -> None:
    """Leave a decision that no flow run has made, as the artifact of a run of its own."""
    _publish_decision(record.headline, record.summary[1:], record)


def _publish_decision(headline: str, lines: Iterable[str], record: Record | None) -> None:
    listed = "\n".join(f"- {line}" for line in lines)
    kept = f"\nDecision record {record.number}:\n\n````json\n{record.as_json()}\n````\n" if record else ""
    create_markdown_artifact(f"# {headline}\n\n{listed}\n{kept}", key="headway-decision", description=headline)
