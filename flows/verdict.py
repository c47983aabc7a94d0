"""How a flow ends. Light to import: a flow with nothing to decide does not wait for what scoring needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headway.errors import HeadwayError
from headway.evaluation.headlines import HEADLINES
from headway.files import read_json, write_json
from headway.layout import Layout
from headway.lineage import execution_key, trace
from headway.params import Params
from headway.promotion import history_queries as terms
from headway.promotion.champion import DECISION_TAG, VERDICT_TAG, Standing, described, is_there
from headway.promotion.decision import (
    BASELINE,
    CANDIDATE,
    REFUSAL,
    RETIREMENT,
    CheckRecord,
    Record,
    Rows,
    gate_code,
    plain,
    rows_of,
)
from headway.registry.registry import MODEL_TAG, Registry
from headway.reporting.decision import page
from headway.serving import package
from headway.tables import read_table
from headway.tracking import Tracker, reachable

PROMOTED, REFUSED, UNCHANGED = "promoted", "refused", "unchanged"


@dataclass(frozen=True)
class Verdict:
    """How the flow ended.

    Attributes:
        outcome: ``promoted``, ``refused``, or ``unchanged`` when the champion is this very model.
        version: of the candidate, in the registry.
        champion: version that is champion now, None when there is none.
        lines: the verdict and its reasons, for a person.
        scores: test metrics by model, all of the same rows.
        record: the decision that holds, None when it is older than the history.
        problem: what a person has to mend before anything can be promoted again; "" when there is nothing.
    """

    outcome: str
    version: str
    champion: str | None
    lines: list[str]
    scores: dict[str, dict[str, Any]]
    record: Record | None = None
    problem: str = ""


def settled(params: Params, layout: Layout, tracker: Tracker, registry: Registry, before: Standing) -> Verdict | None:
    """The verdict that holds without another decision, its traces completed if a kill cut them off; None when there is none."""
    verdict = (
        unchanged(layout, registry, before)
        or decided_before(params, layout, registry, before)
        or withdrawn(layout, registry, before)
    )
    if verdict is not None and verdict.record is not None:
        tell(params, layout, tracker, verdict.record)
    return verdict


def unchanged(layout: Layout, registry: Registry, before: Standing) -> Verdict | None:
    """The verdict when the champion is the very model that the stages left, its files whole; None when there is one to give."""
    champion = before.champion
    if champion is None or champion.tags.get(MODEL_TAG) != package.fingerprint(layout.candidate):
        return None
    if not registry.loads(champion):
        return None
    line = f"nothing to decide: version {champion.version}, the champion, is this very model"
    record = terms.last_change(before.records)
    return Verdict(UNCHANGED, str(champion.version), str(champion.version), [line], candidate_scores(layout), record)


def decided_before(params: Params, layout: Layout, registry: Registry, before: Standing) -> Verdict | None:
    """The recorded refusal of the very candidate that the stages left; None when anything that it rests on is another now.

    It rests on the candidate, the champion, the test rows, the policy and the gate's own code, and on what else dvc.lock and
    params.yaml pin: the baseline's predictions and the seed. A refusal because something could not be computed is no such
    record: the reason lies elsewhere, and may be mended; nor is one for the latency, which is another on a machine less busy.
    """
    champion = before.champion
    record = terms.about(before.records, package.fingerprint(layout.candidate))
    if record is None or record.kind != REFUSAL or any(map(_may_pass_later, record.failed)):
        return None
    now = trace(params, layout).as_tags()
    same = (
        record.champion == (champion and described(champion))
        and record.test_rows == rows_today(layout)
        and record.policy == plain(params.gate)
        and record.gate == gate_code()
        # The commit may be another, as it is after `git commit`.
        and all(record.project.get(name) == now[name] for name in ("headway.dvc_lock", "headway.params"))
    )
    version = registry.holding(record.candidate)
    if not same or version is None or not all(registry.loads(one) for one in (version, champion) if one is not None):
        return None
    lines = [*record.summary, f"decided before ({record.when}), nothing changed since"]
    return Verdict(REFUSED, record.candidate.version, _number(before), lines, record.scores, record)


def _may_pass_later(check: CheckRecord) -> bool:
    """Whether a failed check rests on more than what is compared."""
    return check.value is None or check.name == "latency"


def withdrawn(layout: Layout, registry: Registry, before: Standing) -> Verdict | None:
    """The verdict on a model that a person took out of office, by a rollback or by retiring it: a person alone takes it back.

    A champion that was retired since its files are lost was good enough; the same model, made again, may follow it.
    """
    record = terms.withdrawn(before.records, package.fingerprint(layout.candidate))
    if record is None or record.champion is None:
        return None
    if record.kind == RETIREMENT:
        retired = registry.holding(record.champion)
        if retired is None or not registry.loads(retired):
            return None
    version = record.champion.version
    lines = [
        record.headline,
        f"version {version}, which holds this very model, was taken out of office ({record.when}: {record.reason}); "
        f"train another one, or put it before the gate again with `headway promote {version}`",
    ]
    return Verdict(REFUSED, version, _number(before), lines, candidate_scores(layout), record)


def _number(before: Standing) -> str | None:
    return str(before.champion.version) if before.champion else None


def rows_today(layout: Layout) -> Rows:
    """The prepared test rows."""
    table = read_table(layout.prepared / "test.parquet", made_by="prepare", columns=["id", "label"])
    return rows_of(table["id"].to_pylist(), table["label"].to_pylist())


def candidate_scores(layout: Layout) -> dict[str, dict[str, Any]]:
    """Test metrics of the candidate and of the linear baseline, of the same rows."""
    return {
        CANDIDATE: read_json(layout.metrics("test"), made_by="evaluate"),
        BASELINE: read_json(layout.metrics("baseline"), made_by="baseline")["test"],
    }


def project_of(params: Params, layout: Layout) -> dict[str, str]:
    """Lineage of the project as it is now, with the key that finds its pipeline's run."""
    return {**trace(params, layout).as_tags(), "headway.execution": execution_key(params, layout)}


def tell(params: Params, layout: Layout, tracker: Tracker, record: Record) -> None:
    """Complete the summary that the pipeline's run gives of a decision: test metrics by model, plots, record and page; and give
    the training run its version's lineage, since it could not know the dvc.lock that it led to.

    Only the run of the execution that was decided on is told, and once.
    """
    key = execution_key(params, layout)
    if record.project.get("headway.execution") != key or not record.checks:
        return
    found = tracker.find(kind="pipeline", key=key)
    if found is not None and found.data.tags.get(DECISION_TAG) == record.id:
        return
    with reachable(tracker.uri):
        trained_here = bool(record.candidate.run) and is_there(tracker, record.candidate.run)
    if trained_here:
        tracker.run(record.candidate.run).set_tags(record.lineage)
    run = tracker.pipeline_run()
    for model, scores in record.scores.items():
        prefix = {CANDIDATE: "", BASELINE: "baseline_"}.get(model, "champion_")
        run.log_metrics({f"{prefix}test_{name}": scores[name] for name in HEADLINES if scores.get(name) is not None})
    run.log_artifacts(sorted(layout.plots.glob("*.png")), "plots")
    run.log_artifacts(sorted(layout.reports.glob("*.html")), "reports")
    run.log_artifacts([file for file in (layout.slices, layout.mistakes) if file.is_file()], "evaluation")
    file = layout.scratch / "decision.json"
    write_json(file, {"id": record.id, **record.model_dump(mode="json")})
    run.log_artifacts([file, write_page(layout, record)])
    run.set_tags({VERDICT_TAG: record.kind, DECISION_TAG: record.id})


def write_page(layout: Layout, record: Record) -> Path:
    """Leave the decision page in the project's scratch folder; returns its path."""
    path = layout.scratch / "decision.html"
    path.write_text(page.render(record), encoding="utf-8")
    return path


def problem_of(opponent: object) -> str:
    """What a person has to mend when the champion could not be scored."""
    return str(opponent) if isinstance(opponent, HeadwayError) else ""
