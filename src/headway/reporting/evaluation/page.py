"""The evaluation report: one page that opens anywhere, offline, and the same numbers give the same bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headway.evaluation.headlines import HEADLINES
from headway.evaluation.metrics import OF_CLASS
from headway.params import EvaluationParams
from headway.reporting import pages
from headway.reporting.data.charts import clip, visible

TEMPLATE = Path(__file__).with_name("page.html")
#: What is said of each plot; they stand in this order.
CAPTIONS = {
    "confusion_matrix": "True labels by row, predicted ones by column.",
    "reliability": "Each point is a bin of about equally many rows, its line the interval; on the diagonal a model is right as "
    "often as it is sure.",
    "scores": "How sure the model is. The axis of rows is logarithmic above 10.",
    "roc": "How many rows of a class are found for how many of the others are taken for it.",
    "precision_recall": "How pure what is called a class is, for how much of it is found.",
}


def render(
    metrics: Mapping[str, Any],
    slices: Mapping[str, Mapping[str, Any]],
    mistakes: Sequence[Mapping[str, Any]],
    plots: Mapping[str, Path],
    params: EvaluationParams,
) -> str:
    """The page, as HTML that refers to nothing outside itself.

    Args:
        metrics: as :func:`headway.evaluation.metrics.evaluate` gives them.
        slices: as :func:`headway.evaluation.metrics.evaluate_slices` gives them.
        mistakes: as :func:`headway.evaluation.mistakes.worst_mistakes` gives them.
        plots: name to PNG file.
        params: what the intervals are.
    """
    return pages.render(
        TEMPLATE,
        {"visible": visible, "clip": clip, "number": _number, "per_cent": "{:.0%}".format},
        metrics=metrics,
        headlines=HEADLINES,
        of_class=OF_CLASS,
        slices=slices,
        mistakes=mistakes,
        plots={name: base64.b64encode(plots[name].read_bytes()).decode() for name in CAPTIONS},
        captions=CAPTIONS,
        params=params,
    )


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
