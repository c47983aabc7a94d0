"""The decision page: one decision with its checks, scores and inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.reporting import pages
from headway.reporting.decision import checks
from headway.reporting.formatting import measured
from headway.reporting.learning import findings

if TYPE_CHECKING:
    from headway.promotion.changed_texts import ChangedTexts
    from headway.promotion.check import Check
    from headway.promotion.decision import Decision

TEMPLATE = Path(__file__).with_name("page.html")


def render(
    record: Decision, links: Mapping[str, str] | None = None, texts: ChangedTexts | None = None, run_address: str = ""
) -> str:
    """The page as HTML. It loads nothing from outside itself.

    Args:
        links: addresses of other pages by title, if they are in the same folder.
        texts: examples of texts on which the models disagree, if they are known.
        run_address: where a browser shows the candidate's MLflow run, "" if that is unknown.
    """
    scores = {model: {one.name: one for one in measured(values)} for model, values in record.scores.items()}
    return pages.render(
        TEMPLATE,
        filters={"as_json": lambda value: json.dumps(value, indent=2, ensure_ascii=False)},
        record=record,
        links=links or {},
        texts=texts,
        run_address=run_address,
        comparison=_comparison(record),
        checks=[checks.row(check) for check in record.checks],
        scores=scores,
        metrics=list(dict.fromkeys(name for values in scores.values() for name in values)),
        findings=findings(record.training),
        origins=[("the candidate", record.lineage), ("the project at the decision", record.project)],
    ).html


def _comparison(record: Decision) -> dict[str, Any] | None:
    """The difference in accuracy with what it is compared with; None if the gate did not compute one."""
    if record.accuracy_gain is None:
        return None
    opponent, check = record.accuracy_gain
    gain = check.details.get("minimum_gain")
    return {
        "opponent": opponent,
        "check": check,
        "limit": (check.threshold or 0) if gain is None else gain,
        "limit_name": "must stay above" if gain is None else "required gain",
        "conclusion": _conclusion(opponent, check),
        "wins": check.details.get("only_candidate_correct"),
        "losses": check.details.get("only_opponent_correct"),
        "rows": check.details.get("rows"),
    }


def _conclusion(opponent: str, check: Check) -> str:
    """What the interval shows, in a sentence."""
    low, high = check.low or 0.0, check.high or 0.0
    if low > 0:
        enough = "" if check.passed else " The check asks for more, see below."
        return f"The candidate is better than the {opponent}: the whole interval is above zero.{enough}"
    if high < 0:
        within = " It is within the margin that the policy allows." if check.passed else ""
        return f"The candidate is worse than the {opponent}: the whole interval is below zero.{within}"
    if check.passed:
        return f"It is shown that the candidate is hardly worse than the {opponent}, and not shown that it is better."
    return f"It is not shown that the candidate is better than the {opponent}, or hardly worse."
