"""The decision page: one decision with its checks, scores and inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from headway.reporting import pages
from headway.reporting.formatting import measured
from headway.reporting.learning import findings

if TYPE_CHECKING:
    from headway.promotion.decision import Decision

TEMPLATE = Path(__file__).with_name("page.html")


def render(record: Decision) -> str:
    """The page as HTML. It loads nothing from outside itself."""
    scores = {model: {one.name: one for one in measured(values)} for model, values in record.scores.items()}
    return pages.render(
        TEMPLATE,
        filters={"as_json": lambda value: json.dumps(value, indent=2, ensure_ascii=False)},
        record=record,
        scores=scores,
        metrics=list(dict.fromkeys(name for values in scores.values() for name in values)),
        findings=findings(record.training),
        origins=[("the candidate", record.lineage), ("the project at the decision", record.project)],
    ).html
