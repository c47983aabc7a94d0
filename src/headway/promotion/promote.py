"""How a model becomes champion: reconcile the registry, score both models on the test rows, ask the gate, commit the decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headway.data.preparation.label_map import LabelMap
from headway.errors import HeadwayError, Unreachable
from headway.evaluation.metrics import evaluate, evaluate_slices
from headway.evaluation.predictions import Predictions
from headway.files import read_json
from headway.params import GateParams
from headway.phrases import counted
from headway.promotion import candidates, changed_texts, evaluation_report, gate
from headway.promotion import history_queries as queries
from headway.promotion.candidates import Candidate
from headway.promotion.champion import RegistryState, commit, lineage_of, load_with_size, reconcile, retry_on_conflict
from headway.promotion.checks import BASELINE
from headway.promotion.decision import CANDIDATE, FORCED, PROMOTION, REFUSAL, REQUEST, Requester, plain
from headway.promotion.decision_report import publish
from headway.promotion.gate import GateInput, GateResult
from headway.promotion.gate_code import gate_code
from headway.promotion.outcome import Outcome
from headway.promotion.project import Project
from headway.promotion.scoring import ScoredModel, measure_costs
from headway.promotion.test_rows import TestRows
from headway.promotion.unseen_rows import require_unseen
from headway.registry.registry import ref_of
from headway.registry.version_ref import ModelVersionRef
from headway.serving import package


@dataclass(frozen=True)
class Request:
    """A request to promote a model.

    Attributes:
        requester: who requests it.
        version: number of a registered version; None for the candidate that the stages produced.
        force: promote the version even if the gate refuses. The gate's checks are recorded in either case.
        reason: why it is forced.
        require_current: raises if the project's files are out of date.
        on_step: called with what is done next.
    """

    requester: Requester
    version: str | None = None
    force: bool = False
    reason: str = ""
    require_current: Callable[[], None] = lambda: None
    on_step: Callable[[str], None] = lambda _: None


def promote(project: Project, request: Request, rows: TestRows | None = None) -> Outcome:
    """Promote or refuse a model. Safe to repeat after a kill at any point.

    If another process decides meanwhile, the model is compared again, with the champion at that time. Test rows that have been
    read already can be passed.

    Raises:
        Unreachable: MLflow or its artifact store does not answer.
        HeadwayError: there is no such version, it is champion already or its files are lost; or there are no test rows, or
            no baseline predictions of them.
    """
    rows = rows or TestRows(project.layout)
    outcome = _decide(project, request, rows)
    if request.version is None:
        publish(project, outcome.decision)
    return outcome


@retry_on_conflict
def _decide(project: Project, request: Request, rows: TestRows) -> Outcome:
    params, registry = project.params, project.registry
    state = reconcile(registry, accept_manual_change=request.force)
    if request.version is not None:
        for kind in (FORCED,) if request.force else (PROMOTION, REQUEST):
            if done := state.completed_request(kind, request.reason, request.version):
                return Outcome.of(done, state.champion_number)
        request.require_current()
        candidates.require_version(registry, state, request.version)
    if state.champion is not None:
        request.on_step(
            f"loading the champion, version {state.champion_number}, and scoring {counted(len(rows.ids), 'test row')}"
        )
    champion = _score_champion(project, state, rows)
    if request.version is not None:
        request.on_step(f"loading version {request.version}, and scoring {counted(len(rows.ids), 'test row')}")
    candidate = (
        candidates.from_stages(project, state, rows)
        if request.version is None
        else candidates.from_registry(project, state, rows, request.version, request.force)
    )
    request.on_step("measuring latency")
    given = _gate_input(project, state, rows, candidate, champion)
    request.on_step(f"comparing, with {params.gate.bootstrap_samples:,} bootstrap resamples")
    result = gate.decide(given, params.gate, params.seed)
    request.on_step("recording the decision")
    kind = FORCED if request.force else _kind(result, params.gate)
    decision = commit(
        registry,
        state,
        kind=kind,
        reason=request.reason,
        requested_by=request.requester,
        candidate=ref_of(candidate.version),
        champion=state.champion_ref,
        checks=result.checks,
        scores=_scores(project, state, candidate, given),
        test_rows=rows.fingerprint,
        policy=params.gate,
        lineage=lineage_of(candidate.version),
        project=project.lineage(),
        params=params,
        data=_data(project, state, candidate, is_staged=request.version is None),
        training=_training(project, state, candidate),
        gate_code=gate_code(),
        replaces=_replaced(state, ref_of(candidate.version)) if kind == REQUEST else None,
    )
    opponent = given.baseline if state.champion is None else given.champion
    if isinstance(opponent, Predictions):
        name = f"the champion, version {state.champion_number}" if state.champion else BASELINE
        changed_texts.keep(project.layout, decision, given.candidate, opponent, name, rows.texts)
    if request.version is None:
        metrics = decision.scores.get(_champion_name(state))
        evaluation_report.keep(params, project.layout, given, state.champion_number, metrics)
    return Outcome.of(decision, state.champion_number, str(champion) if isinstance(champion, HeadwayError) else "")


def _kind(result: GateResult, policy: GateParams) -> str:
    """What the gate's result leads to: a candidate that passed is promoted, or waits for a person's approval."""
    if not result.promotes:
        return REFUSAL
    return REQUEST if policy.approval == "required" else PROMOTION


def _replaced(state: RegistryState, candidate: ModelVersionRef) -> ModelVersionRef | None:
    """The other version that waits for approval and is replaced by this candidate, None if there is none."""
    request = queries.open_request(state.decisions)
    return request.candidate if request is not None and request.candidate.model != candidate.model else None


def _score_champion(project: Project, state: RegistryState, rows: TestRows) -> ScoredModel | HeadwayError | None:
    """The champion on the current test rows; None if there is none; an error, which refuses, if it cannot be scored.

    Raises:
        Unreachable: its files cannot be fetched now, which is no reason to refuse a candidate.
    """
    if state.champion is None:
        return None
    try:
        remedy = "or run `headway retire --reason …`, so that the next run promotes a new first champion"
        require_unseen(state.champion, state.decisions, project.params, rows.table, remedy)
        return ScoredModel.score(*load_with_size(project.registry, state.champion), rows, project.params)
    except Unreachable:
        raise
    except HeadwayError as error:
        return error


def _gate_input(
    project: Project,
    state: RegistryState,
    rows: TestRows,
    candidate: Candidate,
    champion: ScoredModel | HeadwayError | None,
) -> GateInput:
    """What the gate decides on, with costs measured now and the looks at these test rows counted."""
    params, predictions = project.params, candidate.scored.predictions
    rows.require_scored(predictions)
    scored_champion = champion if isinstance(champion, ScoredModel) else None
    return GateInput(
        candidate=predictions,
        baseline=candidate.baseline,
        champion=champion.predictions if isinstance(champion, ScoredModel) else champion,
        slices=rows.slices(predictions.classes, params.evaluation),
        costs=measure_costs(candidate.scored, scored_champion, rows, params),
        earlier_looks=queries.earlier_looks(
            state.decisions,
            rows.fingerprint,
            ref_of(candidate.version).model,
            state.champion_ref.model if state.champion_ref else None,
            plain(params.gate),
        ),
        seen_rows=candidate.seen_rows,
    )


def _scores(project: Project, state: RegistryState, candidate: Candidate, given: GateInput) -> dict[str, dict[str, Any]]:
    """Test metrics of every model, for the candidate by slice too."""
    evaluation, seed = project.params.evaluation, project.params.seed
    by_slice = evaluate_slices(given.candidate, given.slices, evaluation, seed)
    scores = {**candidate.scores, CANDIDATE: {**candidate.scores[CANDIDATE], "slices": by_slice}}
    if isinstance(given.champion, Predictions):
        scores[_champion_name(state)] = evaluate(given.champion, evaluation, seed)
    return scores


def _champion_name(state: RegistryState) -> str:
    """The champion's name among the scores of a decision."""
    return f"champion, version {state.champion_number}"


def _data(project: Project, state: RegistryState, candidate: Candidate, is_staged: bool) -> dict[str, Any]:
    """Description of the candidate's data for its card.

    For any version but the one just trained, it is the recorded description, because data.label_map and the splits may have
    changed since. Without a record, it is that of the project's data if they are the same rows in the same classes.
    """
    layout = project.layout
    if not is_staged:
        recorded = queries.last_decision_on(state.decisions, ref_of(candidate.version).model)
        if recorded and recorded.data:
            return recorded.data
        if read_json(layout.prepared / "labels.json", made_by="prepare") != candidate.scored.predictions.classes:
            return {}
    manifest = read_json(layout.raw / "manifest.json", made_by="ingest")
    if manifest["rows_sha256"] != lineage_of(candidate.version).get("headway.data_fingerprint"):
        return {}
    report = layout.metrics("data")
    splits = read_json(report, made_by="prepare")["splits"] if report.is_file() else {}
    classes = dict(LabelMap(project.params.data.label_map).count(manifest["label_counts"]))
    return {**{name: manifest[name] for name in ("source", "version", "rows")}, "label_counts": classes, "splits": splits}


def _training(project: Project, state: RegistryState, candidate: Candidate) -> dict[str, Any]:
    """The candidate's training report: the project's if the stages trained this very model, else what was recorded."""
    layout, model = project.layout, ref_of(candidate.version).model
    report = layout.metrics("training")
    if layout.candidate.is_dir() and package.fingerprint(layout.candidate) == model and report.is_file():
        return dict(read_json(report, made_by="train"))
    recorded = queries.last_decision_on(state.decisions, model)
    return recorded.training if recorded else {}
