"""Something to decide: score candidate and champion on the same rows, let the gate decide, record it and carry it out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.verdict import PROMOTED, REFUSED, Verdict, candidate_scores, problem_of, project_of, tell
from headway.errors import HeadwayError, Unreachable
from headway.evaluation.metrics import evaluate, evaluate_slices
from headway.evaluation.predictions import Predictions
from headway.evaluation.slices import slices
from headway.files import read_json
from headway.layout import Layout
from headway.lineage import trace
from headway.model.training import pin
from headway.params import Params
from headway.promotion import history_queries as terms
from headway.promotion.champion import Standing, decide, described, insistently, interrupted, lineage_of, standing
from headway.promotion.checks import Check
from headway.promotion.decision import (
    BASELINE,
    CANDIDATE,
    FORCED,
    PROMOTION,
    REFUSAL,
    Actor,
    Record,
    gate_code,
    plain,
    rows_of,
)
from headway.promotion.gate import Costs
from headway.promotion.gate import decide as ask_the_gate
from headway.registry.registry import ModelVersion, Registry
from headway.serving.latency import measure, package_bytes
from headway.serving.package import ModelPackage
from headway.stages.evaluate import predict_split
from headway.stages.train import training_run
from headway.tables import read_table
from headway.tracking import Tracker

#: Of a version: the knobs that said which rows were tested when it was trained.
SPLIT_TAG = "headway.split"
UNSEEN = "unseen_test_rows"


@dataclass(frozen=True)
class Contender:
    """A model with its predictions on today's test rows, and the bytes of its package."""

    model: ModelPackage
    predictions: Predictions
    size: int


@dataclass(frozen=True)
class Case:
    """What the gate is asked: a registered version and whoever is in office, on today's test rows; everyone's scores; and why
    the candidate may have seen these rows, which only force overrules."""

    version: ModelVersion
    candidate: Contender
    baseline: Predictions | HeadwayError
    champion: Contender | HeadwayError | None
    scores: dict[str, dict[str, Any]]
    seen: str = ""


def decide_and_promote(params: Params, layout: Layout, tracker: Tracker, registry: Registry, asked_by: Actor) -> Verdict:
    """Register the candidate that the stages left, judge it, and promote or refuse it. Safe to repeat after a kill at any point.

    When another process decides meanwhile, the candidate is judged again, against whoever is champion then.
    """

    def attempt() -> Verdict:
        before = standing(registry)
        in_office = _scored_now(registry, before, params, layout)
        run_id = training_run(params, layout, tracker)
        tags = {**trace(params, layout).as_tags(), SPLIT_TAG: json.dumps(_split(params.model_dump()))}
        version = registry.register(layout.candidate, run_id, tags)
        predictions = Predictions.load(layout.evaluation / "test.parquet", made_by="evaluate")
        candidate = Contender(ModelPackage.load(layout.candidate), predictions, package_bytes(layout.candidate))
        case = Case(version, candidate, _baseline(layout), in_office, candidate_scores(layout))
        return _judged(case, before, params, layout, registry, asked_by)

    verdict = insistently(attempt)
    assert verdict.record is not None
    tell(params, layout, tracker, verdict.record)
    return verdict


def promote(
    params: Params,
    layout: Layout,
    registry: Registry,
    number: str,
    asked_by: Actor,
    force: bool = False,
    reason: str = "",
    require: Callable[[], None] = lambda: None,
) -> Verdict:
    """Put a registered version before the gate on today's test rows, and promote or refuse it.

    Args:
        number: of the version.
        force: promote it whatever the gate says, which is asked all the same, as far as it can tell anything without the linear
            baseline's predictions or a champion that loads; that is kept with the reason.
        require: raises where the project is in no state to decide; asked where this command has not decided already.

    Raises:
        HeadwayError: there is no such version, it is champion already, or its files are gone or damaged; or there are no test
            rows, or no baseline's predictions of them to be judged by.
    """

    def attempt() -> Verdict:
        before = standing(registry, moved_by_hand=force)
        done = interrupted(before, FORCED if force else PROMOTION, reason, number)
        if done:
            return _promoted(done)
        require()
        version = registry.version(number)
        if version is None:
            raise HeadwayError(f"{registry.name} has no version {number}; `headway history` lists those that were judged")
        if described(version) == terms.in_office(before.records) and number == _number(before.champion):
            raise HeadwayError(f"version {number} of {registry.name} is champion already")
        in_office = _scored_now(registry, before, params, layout)
        try:
            _require_unseen(version, before, params, "or train it anew")
            seen = ""
        except HeadwayError as error:
            if not force:
                raise
            seen = str(error)
        candidate = _contender(registry.load_and_weigh(version), params, layout)
        baseline: Predictions | HeadwayError
        try:
            baseline = _baseline(layout)
        except HeadwayError as error:
            if not force:
                raise
            baseline = error
        contenders = {CANDIDATE: candidate.predictions, BASELINE: baseline}
        scores = {
            name: evaluate(one, params.evaluation, params.seed)
            for name, one in contenders.items()
            if isinstance(one, Predictions)
        }
        case = Case(version, candidate, baseline, in_office, scores, seen)
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
    predictions, opponent = case.candidate.predictions, case.champion
    table = read_table(layout.prepared / "test.parquet", made_by="prepare")
    known = {name: number for number, name in enumerate(predictions.classes)}
    labels = [known.get(name, -1) for name in table["label"].to_pylist()]
    if list(predictions.ids) != table["id"].to_pylist() or predictions.labels.tolist() != labels:
        raise HeadwayError("the test rows changed since the candidate was scored on them; run `dvc repro evaluate`")
    rows, masks = rows_of(predictions.ids, table["label"].to_pylist()), slices(table, predictions.classes, params.evaluation)
    decision = ask_the_gate(
        candidate=predictions,
        baseline=case.baseline,
        champion=opponent.predictions if isinstance(opponent, Contender) else opponent,
        policy=params.gate,
        seed=params.seed,
        slices=masks,
        costs=_costs(case, table["text"].to_pylist(), params),
        verdicts_before=terms.verdicts_before(
            before.records, rows, subject.model, champion.model if champion else None, plain(params.gate)
        ),
    )
    checks = decision.as_dict()["checks"]
    if case.seen:
        checks.append(vars(Check(UNSEEN, False, None, None, None, None, case.seen)))
    scores = dict(case.scores)
    scores[CANDIDATE] = {**scores[CANDIDATE], "slices": evaluate_slices(predictions, masks, params.evaluation, params.seed)}
    if isinstance(opponent, Contender) and champion is not None:
        scores[f"champion, version {champion.version}"] = evaluate(opponent.predictions, params.evaluation, params.seed)
    lineage = lineage_of(case.version)
    content = {
        "kind": FORCED if force else PROMOTION if decision.promotes else REFUSAL,
        "reason": reason,
        "asked_by": asked_by,
        "candidate": subject,
        "champion": champion,
        "checks": checks,
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


def _scored_now(registry: Registry, before: Standing, params: Params, layout: Layout) -> Contender | HeadwayError | None:
    """The champion on today's test split; an error, which makes the gate refuse, when it cannot be scored.

    Raises:
        Unreachable: its files cannot be fetched now; that is nothing to refuse a candidate for.
    """
    champion = before.champion
    if champion is None:
        return None
    try:
        _require_unseen(champion, before, params, "or `headway retire --reason …`, and the next run elects one")
        return _contender(registry.load_champion(champion), params, layout)
    except Unreachable:
        raise
    except HeadwayError as error:
        return error


def _split(params: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs that say which rows are tested."""
    given = {f"data.{name}": params["data"][name] for name in ("test_files", "hub_test_split")}
    return {**{f"split.{name}": value for name, value in params["split"].items()}, **given}


def _require_unseen(version: ModelVersion, before: Standing, params: Params, remedy: str) -> None:
    """Return when a version was trained under today's split.

    Raises:
        HeadwayError: rows that are tested today may have been among its training rows, or nobody knows.
    """
    first = terms.first_about(before.records, described(version).model)
    if SPLIT_TAG in version.tags:
        split = json.loads(version.tags[SPLIT_TAG])
    elif first is not None:  # registered before versions were told of their split
        split = _split(first.params)
    else:
        raise HeadwayError(
            f"nobody knows under which split version {version.version} was trained, so that today's test rows may be among its "
            f"training rows; train it by `make run`, {remedy}"
        )
    changed = [name for name, value in _split(params.model_dump()).items() if split.get(name, value) != value]
    if changed:
        raise HeadwayError(
            f"version {version.version} was trained under another {', '.join(changed)}, so that today's test rows may be among "
            f"its training rows; put that back in params.yaml, {remedy}"
        )


def _contender(loaded: tuple[ModelPackage, int], params: Params, layout: Layout) -> Contender:
    model, size = loaded
    pin(params.training.threads)
    return Contender(model, predict_split(model, layout, "test"), size)


def _costs(case: Case, texts: Sequence[str], params: Params) -> Costs:
    """Latency and size of both models, measured now, in turns, with the threads that training and evaluation have."""
    pin(params.training.threads)
    contenders = {"candidate": case.candidate}
    if isinstance(case.champion, Contender):
        contenders["champion"] = case.champion
    taken = measure({name: one.model for name, one in contenders.items()}, texts)
    costs = {f"{name}_ms": taken[name] for name in contenders}
    return Costs(**costs, **{f"{name}_bytes": one.size for name, one in contenders.items()})  # type: ignore[arg-type]


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
