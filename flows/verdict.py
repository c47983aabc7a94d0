"""How a flow ends. Light to import: a flow with nothing to decide does not wait for what scoring needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from headway.files import read_json, sha256_of_file
from headway.layout import Layout
from headway.lineage import execution_key, trace
from headway.params import Params
from headway.registry.promotion import DECISION_TAG, MODEL_TAG, VERDICT_TAG, ModelVersion, Registry
from headway.serving import package
from headway.tracking import reachable

PROMOTED, REFUSED, UNCHANGED = "promoted", "refused", "unchanged"
#: What the two models that the stages leave are called in scores.
CANDIDATE, BASELINE = "candidate", "linear baseline"


@dataclass(frozen=True)
class Verdict:
    """How the flow ended.

    Attributes:
        outcome: ``promoted``, ``refused``, or ``unchanged`` when the champion is this very model.
        version: of the candidate, in the registry.
        champion: version that is champion now, None when there is none.
        lines: the verdict and its reasons, for a person.
        scores: test metrics by model, all of the same rows.
        problem: what a person has to mend before anything can be promoted again; "" when there is nothing.
    """

    outcome: str
    version: str
    champion: str | None
    lines: list[str]
    scores: dict[str, dict[str, Any]]
    problem: str = ""


def unchanged(layout: Layout, registry: Registry) -> Verdict | None:
    """The verdict when the champion is the very model that the stages left, its files whole; None when there is one to give."""
    champion = registry.champion()
    if champion is None or champion.tags.get(MODEL_TAG) != package.fingerprint(layout.candidate):
        return None
    if not registry.loads(champion):
        return None
    line = f"nothing to decide: version {champion.version}, the champion, is this very model"
    return Verdict(UNCHANGED, str(champion.version), str(champion.version), [line], candidate_scores(layout))


def decided_before(params: Params, layout: Layout, registry: Registry) -> Verdict | None:
    """The recorded refusal of the very candidate that the stages left; None when anything that it rests on is another now.

    It rests on the candidate, the champion, the test rows, the policy, and on what else dvc.lock and params.yaml pin: the
    baseline's predictions and the seed. A refusal because something could not be computed is no such record: the reason lies
    elsewhere, and may be mended.
    """
    fingerprint = package.fingerprint(layout.candidate)
    version = _registered(registry, fingerprint)
    if version is None or DECISION_TAG not in version.tags:
        return None
    record = json.loads(version.tags[DECISION_TAG])
    champion = registry.champion()
    stays = str(champion.version) if champion else None
    same = (
        not all(check["passed"] for check in record["checks"])
        and record["candidate"]["model"] == fingerprint
        and (record["champion"] and record["champion"]["version"]) == stays
        and record["test_rows"] == sha256_of_file(layout.prepared / "test.parquet")
        and record["policy"] == params.gate.model_dump()
        and _same_inputs(record, params, layout)
    )
    if not same or any(check["value"] is None for check in record["checks"]):
        return None
    # The end of the last decision may have been cut off, and files may be lost since.
    told = registry.tracker.find(kind="pipeline", key=execution_key(params, layout))
    whole = told is not None and told.data.tags.get(VERDICT_TAG) == record["verdict"]
    if not whole or not all(registry.loads(one) for one in (version, champion) if one is not None):
        return None
    lines = [*record["summary"], f"decided before ({record['decided_at']}), nothing changed since"]
    return Verdict(REFUSED, str(version.version), stays, lines, record["scores"])


def _registered(registry: Registry, fingerprint: str) -> ModelVersion | None:
    """The newest version that holds this model."""
    with reachable(registry.tracker.uri):
        found = registry.client.search_model_versions(f"name = '{registry.name}' and tags.`{MODEL_TAG}` = '{fingerprint}'")
    return max(found, key=lambda version: int(version.version), default=None)


def _same_inputs(record: dict[str, Any], params: Params, layout: Layout) -> bool:
    """Whether dvc.lock and params.yaml are those of the decision; the commit may be another, as it is after `git commit`."""
    names = ("headway.dvc_lock", "headway.params")
    now = trace(params, layout).as_tags()
    return all(record["lineage"].get(name) == now[name] for name in names)


def candidate_scores(layout: Layout) -> dict[str, dict[str, Any]]:
    """Test metrics of the candidate and of the linear baseline, of the same rows."""
    return {
        CANDIDATE: read_json(layout.metrics("test"), made_by="evaluate"),
        BASELINE: read_json(layout.metrics("baseline"), made_by="baseline")["test"],
    }
