"""How a flow ends. Light to import: a flow with nothing to decide does not wait for what scoring needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headway.files import read_json
from headway.layout import Layout
from headway.registry.promotion import MODEL_TAG, Registry
from headway.serving import package

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


def candidate_scores(layout: Layout) -> dict[str, dict[str, Any]]:
    """Test metrics of the candidate and of the linear baseline, of the same rows."""
    return {
        CANDIDATE: read_json(layout.metrics("test"), made_by="evaluate"),
        BASELINE: read_json(layout.metrics("baseline"), made_by="baseline")["test"],
    }
