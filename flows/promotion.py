"""Something to decide: score candidate and champion on the same rows, let the gate decide, record it and carry it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flows.verdict import PROMOTED, REFUSED, Verdict, candidate_scores, problem_of, project_of, rows_today, tell
from headway.errors import HeadwayError, Unreachable
from headway.evaluation.metrics import evaluate
from headway.evaluation.predictions import Predictions
from headway.files import read_json
from headway.layout import Layout
from headway.lineage import trace
from headway.model.training import pin
from headway.params import Params
from headway.registry import terms
from headway.registry.gate import decide as ask_the_gate
from headway.registry.office import Standing, decide, described, insistently, interrupted, lineage_of, standing
from headway.registry.records import BASELINE, CANDIDATE, FORCED, PROMOTION, REFUSAL, Actor, Record, gate_code
from headway.registry.registry import ModelVersion, Registry
from headway.stages.evaluate import predict_split
from headway.stages.train import training_run
from headway.tracking import Tracker


@dataclass(frozen=True)
class Case:
    """What the gate is asked: a registered version, its predictions on today's test rows, and everyone's scores there."""

    version: ModelVersion
    candidate: Predictions
    baseline: Predictions
    champion: Predictions | HeadwayError | None
    scores: dict[str, dict[str, Any]]


def decide_and_promote(params: Params, layout: Layout, tracker: Tracker, registry: Registry, asked_by: Actor) -> Verdict:
    """Register the candidate that the stages left, judge it, and promote or refuse it. Safe to repeat after a kill at any point.

    When another process decides meanwhile, the candidate is judged again, against whoever is champion then.
    """

    def attempt() -> Verdict:
        before = standing(registry)
        in_office = _scored_now(registry, before.champion, params, layout)
        run_id = training_run(params, layout, tracker)
        version = registry.register(layout.candidate, run_id, trace(params, layout).as_tags())
        candidate = Predictions.load(layout.evaluation / "test.parquet", made_by="evaluate")
        case = Case(version, candidate, _baseline(layout), in_office, candidate_scores(layout))
        return _judged(case, before, params, layout, registry, asked_by)

    verdict = insistently(attempt)
    assert verdict.record is not None
    tell(params, layout, tracker, verdict.record)
    return verdict


def promote(
    params: Params, layout: Layout, registry: Registry, number: str, asked_by: Actor, force: bool = False, reason: str = ""
) -> Verdict:
    """Put a registered version before the gate on today's test rows, and promote or refuse it.

    Args:
        number: of the version.
        force: promote it whatever the gate says; that is kept with the reason.

    Raises:
        HeadwayError: there is no such version, it is champion already, or its files are gone or damaged.
    """

    def attempt() -> Verdict:
        before = standing(registry, moved_by_hand=force)
        done = interrupted(before, FORCED, reason, number) if force else None
        if done:
            return _promoted(done)
        version = registry.version(number)
        if version is None:
            raise HeadwayError(f"{registry.name} has no version {number}; `headway history` lists those that were judged")
        if described(version) == terms.in_office(before.records) and number == _number(before.champion):
            raise HeadwayError(f"version {number} of {registry.name} is champion already")
        in_office = _scored_now(registry, before.champion, params, layout)
        pin(params.training.threads)
        candidate = predict_split(registry.load(version), layout, "test")
        baseline = _baseline(layout)
        scores = {
            CANDIDATE: evaluate(candidate, params.evaluation, params.seed),
            BASELINE: evaluate(baseline, params.evaluation, params.seed),
        }
        case = Case(version, candidate, baseline, in_office, scores)
        return _judged(case, before, params, layout, registry, asked_by, force, reason)

    return insistently(attempt)


def _judged(
    case: Case,
    before: Standing,
    params: Params,
    layout: Layout,
    registry: Registry,
    asked_by: Actor,
    force: bool = False,
    reason: str = "",
) -> Verdict:
    """Ask the gate, record what it says and carry it out."""
    subject, champion = described(case.version), before.champion and described(before.champion)
    rows = rows_today(layout)
    decision = ask_the_gate(
        candidate=case.candidate,
        baseline=case.baseline,
        champion=case.champion,
        policy=params.gate,
        seed=params.seed,
    )
    scores = dict(case.scores)
    if isinstance(case.champion, Predictions) and champion is not None:
        scores[f"champion, version {champion.version}"] = evaluate(case.champion, params.evaluation, params.seed)
    lineage = lineage_of(case.version)
    content = {
        "kind": FORCED if force else PROMOTION if decision.promotes else REFUSAL,
        "reason": reason,
        "asked_by": asked_by,
        "candidate": subject,
        "champion": champion,
        "checks": decision.as_dict()["checks"],
        "scores": scores,
        "test_rows": rows,
        "policy": params.gate.model_dump(),
        "lineage": lineage,
        "project": project_of(params, layout),
        "params": params.model_dump(),
        "data": _data(layout, lineage, before, subject.model),
        "gate": gate_code(),
    }
    record = decide(registry, before, content)
    if record.kind != REFUSAL:
        return _promoted(record)
    return Verdict(
        REFUSED, subject.version, _number(before.champion), record.summary, record.scores, record, problem_of(case.champion)
    )


def _promoted(record: Record) -> Verdict:
    version = record.candidate.version
    return Verdict(PROMOTED, version, version, record.summary, record.scores, record)


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
        return predict_split(registry.load_champion(champion), layout, "test")
    except Unreachable:
        raise
    except HeadwayError as error:
        return error


def _baseline(layout: Layout) -> Predictions:
    return Predictions.load(layout.baseline / "test.parquet", made_by="baseline")


def _data(layout: Layout, lineage: dict[str, str], before: Standing, model: str) -> dict[str, Any]:
    """What the candidate's data are, for its card: the project's, where these are they, else what was recorded of them."""
    manifest = read_json(layout.raw / "manifest.json", made_by="ingest")
    if manifest["rows_sha256"] == lineage.get("headway.data_fingerprint"):
        names = ("source", "version", "rows", "label_counts")
        report = layout.metrics("data")
        splits = read_json(report, made_by="prepare")["splits"] if report.is_file() else {}
        return {**{name: manifest[name] for name in names}, "splits": splits}
    recorded = terms.about(before.records, model)
    return recorded.data if recorded else {}


def _number(version: ModelVersion | None) -> str | None:
    return str(version.version) if version else None
