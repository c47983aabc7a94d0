"""Reports on a decision: the pages in the project, and a summary in the pipeline's MLflow run."""

from __future__ import annotations

from pathlib import Path

from headway.evaluation.headlines import HEADLINES
from headway.files import read_json, write_text
from headway.foreign_text import markdown
from headway.lineage import execution_key
from headway.promotion import changed_texts, evaluation_report
from headway.promotion.champion import DECISION_KIND_TAG, DECISION_TAG
from headway.promotion.decision import BASELINE, CANDIDATE, Decision
from headway.promotion.project import EXECUTION, Project
from headway.reporting.decision import card, page, summary
from headway.reporting.index import page as index
from headway.reporting.index.page import CARD, DECISION, INDEX, MONITOR, STAGE_PAGES
from headway.serving import package
from headway.tracking_labels import NOTE, commit_tags, version_path


def write_pages(project: Project, decision: Decision | None) -> Path:
    """Write the pages that are drawn after the gate: the evaluation, the decision, the model card, and the index of all pages.

    They are in the folder of the stages' pages, but are no DVC outs: they depend on the registry. Without a decision, as for a
    champion from before the history, the index alone is written.

    Returns:
        Path of the index.
    """
    layout, registry = project.layout, project.registry
    evaluation_report.write(project.params, layout)
    if decision is not None:
        made = [name for name in STAGE_PAGES if layout.page(name).is_file()]
        has_card, candidate = bool(decision.checks), decision.candidate
        # The stages' pages are about the model that was trained last, which a decision by hand need not be about.
        is_staged = layout.candidate.is_dir() and package.fingerprint(layout.candidate) == candidate.model
        around = [INDEX, *(made if is_staged else [])]
        texts, tracker = changed_texts.kept(layout, decision), registry.tracker
        is_shown = bool(tracker.pages and candidate.run) and registry.has_run(candidate.run)
        run = tracker.pages + tracker.run_path(candidate.run) if is_shown else ""
        links = index.links([*around, *([CARD] if has_card else [])])
        write_text(layout.page(DECISION), page.render(decision, links, texts, run))
        if has_card:
            write_text(layout.page(CARD), card.page(decision, registry.name, index.links([*around, DECISION])))
        else:
            layout.page(CARD).unlink(missing_ok=True)
    return write_index(project, decision)


def write_index(project: Project, decision: Decision | None) -> Path:
    """Write the index of the pages that exist; returns its path.

    Args:
        decision: the last one.
    """
    layout = project.layout
    decided = [DECISION, CARD] if decision is not None else []
    made = [name for name in (*decided, *STAGE_PAGES, MONITOR) if layout.page(name).is_file()]
    metrics = {
        name: read_json(layout.metrics(name), made_by=stage)
        for name, stage in (("data", "prepare"), ("search", "tune"), ("test", "evaluate"))
        if layout.metrics(name).is_file()
    }
    write_text(layout.page(INDEX), index.render(project.registry.name, decision, made, metrics))
    return layout.page(INDEX)


def publish(project: Project, decision: Decision | None) -> None:
    """Write the pages, and log the decision to the MLflow run of the pipeline execution that it is about, once.

    Args:
        decision: on the candidate that the stages produced; None for a champion from before the history.
    """
    write_pages(project, decision)
    if decision is not None:
        _log_to_pipeline_run(project, decision)


def _log_to_pipeline_run(project: Project, decision: Decision) -> None:
    """Log a decision to the MLflow run of the pipeline execution that it is about: test metrics by model, pages, plots
    and the record.

    The training run also gets its version's lineage, because it ended before the dvc.lock that it led to was written. A
    decision on another execution, or one that is logged already, is skipped.
    """
    layout, registry, tracker = project.layout, project.registry, project.registry.tracker
    key, candidate = execution_key(project.params, layout), decision.candidate
    if decision.project.get(EXECUTION) != key or not decision.checks:
        return
    found = tracker.find(kind="pipeline", key=key)
    if found is not None and found.data.tags.get(DECISION_TAG) == decision.id:
        return
    run, version = tracker.pipeline_run(), registry.find(candidate)
    links = {f"version {candidate.version}": version_path(registry.name, candidate.version)}
    if candidate.run and registry.has_run(candidate.run):
        tracker.run(candidate.run).set_tags({**decision.lineage, **commit_tags(decision.lineage)})
        links["training run"] = tracker.run_path(candidate.run)
    for model, scores in decision.scores.items():
        prefix = {CANDIDATE: "", BASELINE: "baseline_"}.get(model, "champion_")
        values = {f"{prefix}test_{name}": scores[name] for name in HEADLINES if scores.get(name) is not None}
        run.log_metrics(values)
        if model == CANDIDATE and version is not None and (model_id := registry.logged_model(version)):
            run.log_model_metrics(model_id, values)
    run.log_artifacts(sorted(layout.plots.glob("*.png")), "plots")
    run.log_artifacts(sorted(layout.reports.glob("*.html")), "reports")
    run.log_artifacts([file for file in (layout.slices, layout.mistakes) if file.is_file()], "evaluation")
    record = layout.scratch / "decision.json"
    write_text(record, decision.as_json() + "\n")
    run.log_artifacts([record])
    links["decision"] = tracker.run_path(run.id, f"reports/{DECISION}.html")
    note = f"{markdown(decision.headline)}\n\n{summary.render(decision, links)}"
    # Last, since it marks the summary as complete.
    run.set_tags({NOTE: note, DECISION_KIND_TAG: decision.kind, DECISION_TAG: decision.id})
