"""Reports on a decision: its page in the project, and a summary in the pipeline's MLflow run."""

from __future__ import annotations

from pathlib import Path

from headway.evaluation.headlines import HEADLINES
from headway.files import write_text
from headway.layout import Layout
from headway.lineage import execution_key
from headway.promotion.champion import DECISION_KIND_TAG, DECISION_TAG
from headway.promotion.decision import BASELINE, CANDIDATE, Decision
from headway.promotion.project import EXECUTION, Project
from headway.reporting.decision import page


def write_page(layout: Layout, decision: Decision) -> Path:
    """Write the page of a decision into the project's scratch folder; returns its path."""
    path = layout.scratch / "decision.html"
    write_text(path, page.render(decision))
    return path


def log_to_pipeline_run(project: Project, decision: Decision) -> None:
    """Log a decision to the MLflow run of the pipeline execution that it is about: test metrics by model, pages, plots
    and the record.

    The training run also gets its version's lineage, because it ended before the dvc.lock that it led to was written. A
    decision on another execution, or one that is logged already, is skipped.
    """
    layout, registry, tracker = project.layout, project.registry, project.registry.tracker
    key = execution_key(project.params, layout)
    if decision.project.get(EXECUTION) != key or not decision.checks:
        return
    found = tracker.find(kind="pipeline", key=key)
    if found is not None and found.data.tags.get(DECISION_TAG) == decision.id:
        return
    if decision.candidate.run and registry.has_run(decision.candidate.run):
        tracker.run(decision.candidate.run).set_tags(decision.lineage)
    run = tracker.pipeline_run()
    for model, scores in decision.scores.items():
        prefix = {CANDIDATE: "", BASELINE: "baseline_"}.get(model, "champion_")
        run.log_metrics({f"{prefix}test_{name}": scores[name] for name in HEADLINES if scores.get(name) is not None})
    run.log_artifacts(sorted(layout.plots.glob("*.png")), "plots")
    run.log_artifacts(sorted(layout.reports.glob("*.html")), "reports")
    run.log_artifacts([file for file in (layout.slices, layout.mistakes) if file.is_file()], "evaluation")
    record = layout.scratch / "decision.json"
    write_text(record, decision.as_json() + "\n")
    run.log_artifacts([record, write_page(layout, decision)])
    # Last, since it marks the summary as complete.
    run.set_tags({DECISION_KIND_TAG: decision.kind, DECISION_TAG: decision.id})
