"""The evaluation page with the champion, drawn after the gate: no stage knows the champion.

What the gate computed of the champion is kept in the project's scratch folder, so that the page can be drawn again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from headway.errors import HeadwayError
from headway.evaluation.predictions import Predictions
from headway.files import fresh_folder, read_json, write_text
from headway.layout import Layout
from headway.params import EvaluationParams, Params
from headway.promotion.check import Frozen
from headway.reporting.index.page import EVALUATION

if TYPE_CHECKING:
    from headway.promotion.gate import GateInput
    from headway.reporting.evaluation.page import Champion

#: The page that the stage report draws, of the candidate and the baseline.
WITHOUT_CHAMPION = "candidate"
UNKNOWN = "No comparison of this candidate with a champion on these test rows is kept on this machine."


class KeptChampion(Frozen):
    """What the gate knew of the champion when it decided on the stages' candidate.

    Attributes:
        candidate: fingerprint of the candidate's package.
        evaluation, seed: the params that intervals were computed with.
        note: a sentence about the champion, or why it has no results.
        metrics, slices, coverage: as stage evaluate computes them for the candidate; None or empty without results.
    """

    candidate: str
    evaluation: EvaluationParams
    seed: int
    note: str
    metrics: dict[str, Any] | None
    slices: dict[str, dict[str, Any]]
    coverage: list[dict[str, Any]]


def keep(params: Params, layout: Layout, given: GateInput, number: str | None, metrics: dict[str, Any] | None) -> None:
    """Keep what the gate was given of the champion.

    Args:
        given: what the gate decided on, for the candidate that the stages produced.
        number: of the champion's version; None without a champion.
        metrics: the champion's on the test rows; None if it could not be scored.
    """
    from headway.evaluation.coverage import coverage_curve
    from headway.evaluation.metrics import evaluate_slices

    champion = given.champion if isinstance(given.champion, Predictions) else None
    note = "There was no champion to compare with."
    if isinstance(given.champion, HeadwayError):
        note = f"The champion, version {number}, could not be scored: {given.champion}."
    elif champion:
        note = f"The champion is the one that the gate compared the candidate with, version {number}."
    found = KeptChampion(
        candidate=_candidate(layout),
        evaluation=params.evaluation,
        seed=params.seed,
        note=note,
        metrics=metrics,
        slices=evaluate_slices(champion, given.slices, params.evaluation, params.seed) if champion else {},
        coverage=coverage_curve(champion, params.evaluation.confidence) if champion else [],
    )
    with fresh_folder(_folder(layout)) as folder:
        if champion:
            champion.save(folder / "test.parquet")
        write_text(folder / "champion.json", found.model_dump_json(indent=2) + "\n")


def write(params: Params, layout: Layout) -> None:
    """Draw the page, unless it is there and nothing that it shows has changed.

    Without the stage's own page there is nothing to draw it from.
    """
    own, page, kept = layout.page(WITHOUT_CHAMPION), layout.page(EVALUATION), _folder(layout) / "champion.json"
    if not own.is_file():
        return
    # The stage's own page changes with the candidate, its results and the look of pages.
    parts = [own.read_bytes(), kept.read_bytes() if kept.is_file() else b""]
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    if page.is_file() and key in page.read_text(encoding="utf-8"):
        return
    # Imported here, so that a flow with nothing to draw does not wait for Matplotlib.
    from headway.stages.report import evaluation

    write_text(page, evaluation(params, layout, _champion(params, layout), key).html)


def _champion(params: Params, layout: Layout) -> Champion:
    from headway.reporting.evaluation.page import Champion, Evaluated

    folder = _folder(layout)
    try:
        kept = KeptChampion.model_validate_json((folder / "champion.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return Champion(UNKNOWN)
    if (kept.candidate, kept.evaluation, kept.seed) != (_candidate(layout), params.evaluation, params.seed):
        return Champion(UNKNOWN)
    if kept.metrics is None:
        return Champion(kept.note)
    predictions = Predictions.load(folder / "test.parquet", made_by="the gate")
    if predictions.ids != Predictions.load(layout.evaluation / "test.parquet", made_by="evaluate").ids:
        return Champion(UNKNOWN)
    return Champion(kept.note, Evaluated(kept.metrics, predictions, kept.slices, kept.coverage))


def _candidate(layout: Layout) -> str:
    """Fingerprint of the model that stage evaluate has scored."""
    return str(read_json(layout.evaluated_model, made_by="evaluate")["sha256"])


def _folder(layout: Layout) -> Path:
    return layout.scratch / "champion"
