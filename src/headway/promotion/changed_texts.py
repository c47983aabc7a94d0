"""Test texts on which candidate and opponent disagree, one of them being right: examples for people, beside the record.

They are no part of the decision record, which holds no texts. They are kept in the project's scratch folder, for the last
decision only; but the page that shows them is uploaded to the pipeline's MLflow run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from headway.data.text.excerpts import excerpt
from headway.errors import HeadwayError
from headway.evaluation.metrics import likelihood_by_row
from headway.evaluation.mistakes import EXCERPT
from headway.evaluation.predictions import Predictions
from headway.files import write_text
from headway.layout import Layout
from headway.promotion.check import Frozen
from headway.promotion.decision import Decision
from headway.promotion.paired_predictions import PairedPredictions, pair

#: Texts of each side.
MOST = 10


class ChangedText(Frozen):
    """A text, cut after :data:`EXCERPT` characters, with its true label, and each model's label and its probability."""

    text: str
    label: str
    candidate: str
    candidate_probability: float
    opponent: str
    opponent_probability: float


class ChangedTexts(Frozen):
    """Examples of both sides, and the id of the decision that they belong to."""

    decision: str
    opponent: str
    only_candidate_correct: tuple[ChangedText, ...]
    only_opponent_correct: tuple[ChangedText, ...]


def keep(
    layout: Layout, decision: Decision, candidate: Predictions, opponent: Predictions, name: str, texts: Sequence[str]
) -> None:
    """Keep the examples of a decision. Models that cannot be compared have none.

    Args:
        candidate, opponent: predictions of the test rows.
        name: of the opponent.
        texts: of the candidate's rows.
    """
    with suppress(HeadwayError):
        compared = pair(candidate, opponent)
        won, lost = compared.only_candidate_correct, compared.only_opponent_correct
        sides = [_examples(compared, rows, texts) for rows in (won, lost)]
        found = ChangedTexts(
            decision=decision.id, opponent=name, only_candidate_correct=sides[0], only_opponent_correct=sides[1]
        )
        write_text(_file(layout), found.model_dump_json(indent=2) + "\n")


def kept(layout: Layout, decision: Decision) -> ChangedTexts | None:
    """The examples of a decision, None if there are none."""
    try:
        found = ChangedTexts.model_validate_json(_file(layout).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None
    # An answer to an approval request is about the same comparison.
    return found if found.decision in (decision.id, decision.request and decision.request.id) else None


def _file(layout: Layout) -> Path:
    return layout.scratch / "changed_texts.json"


def _examples(compared: PairedPredictions, rows: np.ndarray, texts: Sequence[str]) -> tuple[ChangedText, ...]:
    """Some of the rows, those first on which the models differ most in the probability of the true label."""
    of_truth = [np.exp(-likelihood_by_row(one)) for one in (compared.candidate, compared.opponent)]
    chosen = np.flatnonzero(rows)
    order = np.argsort(-np.abs(of_truth[0] - of_truth[1])[chosen], kind="stable")[:MOST]
    candidate, opponent = compared.predicted
    return tuple(
        ChangedText(
            text=excerpt(texts[compared.order[row]], EXCERPT),
            label=compared.classes[compared.labels[row]],
            candidate=compared.classes[candidate[row]],
            candidate_probability=float(compared.candidate.probabilities[row].max()),
            opponent=compared.classes[opponent[row]],
            opponent_probability=float(compared.opponent.probabilities[row].max()),
        )
        for row in chosen[order].tolist()
    )
