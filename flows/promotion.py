"""Something to decide: score candidate and champion on the same rows, let the gate decide, carry it out and record it."""

from __future__ import annotations

from typing import Any

from flows.verdict import PROMOTED, REFUSED, Verdict, candidate_scores
from headway.errors import HeadwayError, Unreachable
from headway.evaluation.metrics import evaluate
from headway.evaluation.predictions import Predictions
from headway.files import sha256_of_file, write_json
from headway.layout import Layout
from headway.lineage import trace
from headway.model.training import pin
from headway.params import Params
from headway.registry.gate import decide
from headway.registry.promotion import MODEL_TAG, ModelVersion, Registry, decision_record
from headway.stages.evaluate import predict_split
from headway.stages.train import training_run
from headway.tracking import Tracker


def decide_and_promote(params: Params, layout: Layout, tracker: Tracker, registry: Registry) -> Verdict:
    """Register the candidate, judge it, and promote or refuse it. Safe to repeat after a kill at any point."""
    champion = registry.champion()
    scores = candidate_scores(layout)
    in_office = _scored_now(registry, champion, params, layout)
    if isinstance(in_office, Predictions) and champion is not None:
        scores[f"champion, version {champion.version}"] = evaluate(in_office, params.evaluation, params.seed)
    run_id = training_run(params, layout, tracker)
    lineage = trace(params, layout).as_tags()
    version = registry.register(layout.candidate, run_id, lineage)
    decision = decide(
        candidate=Predictions.load(layout.evaluation / "test.parquet", made_by="evaluate"),
        baseline=Predictions.load(layout.baseline / "test.parquet", made_by="baseline"),
        champion=in_office,
        policy=params.gate,
        seed=params.seed,
    )
    record = decision_record(
        decision.as_dict(),
        {
            "candidate": _described(version),
            "champion": _described(champion) if champion else None,
            "scores": scores,
            "test_rows": sha256_of_file(layout.prepared / "test.parquet"),
            "policy": params.gate.model_dump(),
            "lineage": lineage,
        },
    )
    # The record first, the office last: a kill in between leaves the old champion, and the next run does all of it again.
    registry.record(version, run_id, record)
    _log_outcome(layout, tracker, version, run_id, record)
    if decision.promotes:
        registry.promote(version, instead_of=champion)
        return Verdict(PROMOTED, str(version.version), str(version.version), record["summary"], scores)
    stays = str(champion.version) if champion else None
    problem = str(in_office) if isinstance(in_office, HeadwayError) else ""
    return Verdict(REFUSED, str(version.version), stays, record["summary"], scores, problem)


def _scored_now(
    registry: Registry, champion: ModelVersion | None, params: Params, layout: Layout
) -> Predictions | HeadwayError | None:
    """The champion's predictions on today's test split; an error, which makes the gate refuse, when it cannot be scored.

    Raises:
        Unreachable: its files cannot be fetched now; that is nothing to refuse a candidate for.
    """
    if champion is None:
        return None
    pin(params.training.threads)
    try:
        return predict_split(registry.load(champion), layout, "test")
    except Unreachable:
        raise
    except HeadwayError as error:
        return error


def _log_outcome(layout: Layout, tracker: Tracker, version: ModelVersion, run_id: str, record: dict[str, Any]) -> None:
    """The parent run's summary: test metrics by model, plots, the decision; and the version's lineage for the training run.

    DVC writes a stage's part of dvc.lock when the stage is over, so the training could not know the lock that it led to.
    """
    lineage = {name: version.tags[name] for name in record["lineage"] if name in version.tags}
    tracker.run(run_id).set_tags(lineage)
    run = tracker.pipeline_run()
    for model, scores in record["scores"].items():
        prefix = {"candidate": "", "linear baseline": "baseline_"}.get(model, "champion_")
        names = ("accuracy", "macro_f1", "negative_log_likelihood")
        run.log_metrics({f"{prefix}test_{name}": scores[name] for name in names})
    run.log_artifacts([layout.plot(name) for name in ("confusion_matrix", "learning_curve", "search_history")], "plots")
    file = layout.scratch / "decision.json"
    write_json(file, record)
    run.log_artifacts([file])
    run.set_tags({"headway.verdict": record["verdict"]})


def _described(version: ModelVersion) -> dict[str, str]:
    return {"version": str(version.version), "model": version.tags.get(MODEL_TAG, ""), "run": version.run_id or ""}
