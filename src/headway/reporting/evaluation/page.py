"""The evaluation page: the candidate's metrics, slices, classes, curves, confusions and worst mistakes, beside the baseline's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.evaluation.headlines import HEADLINES
from headway.evaluation.metrics import OF_CLASS
from headway.evaluation.predictions import Predictions
from headway.params import EvaluationParams
from headway.phrases import counted
from headway.reporting import pages
from headway.reporting.evaluation import charts
from headway.reporting.evaluation.matrix import confusion_matrix
from headway.reporting.formatting import ABSENT
from headway.reporting.pages import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("page.html")
#: The figures in their order on the page: a title, and how to read the figure.
CAPTIONS = {
    "coverage": (
        "Accuracy by coverage",
        "How accurate the model is when only the texts of which it is surest are answered. The band is the candidate's interval.",
    ),
    "reliability": (
        "Calibration",
        "Each point is a bin of about equally many rows, with its interval. On the diagonal, confidence equals accuracy.",
    ),
    "scores": ("Predicted probabilities", "Of the candidate. The axis of rows is logarithmic above 10."),
    "roc": ("ROC curve", "True positive rate at each false positive rate."),
    "precision_recall": ("Precision and recall", "Precision at each recall."),
    "learning_curve": (
        "Learning curve",
        "Loss and validation accuracy of the attention part at each evaluation, or the loss of a frozen encoder's linear "
        "layer with each regularisation; the grey line marks the one that is kept.",
    ),
}
MATRIX = "confusion_matrix"
#: Confusions with texts on the page, and shares of the texts in the table of thresholds.
SHOWN_CONFUSIONS, SHOWN_SHARES = 40, (1, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.25, 0.1)
#: Characters of a hash that are shown.
SHORT_HASH = 12


@dataclass(frozen=True)
class Evaluated:
    """What is known of one model on the test split.

    Attributes:
        metrics: from :func:`headway.evaluation.metrics.evaluate`.
        predictions: on all rows.
        slices: from :func:`headway.evaluation.metrics.evaluate_slices`.
        coverage: from :func:`headway.evaluation.coverage.coverage_curve`.
    """

    metrics: Mapping[str, Any]
    predictions: Predictions
    slices: Mapping[str, Mapping[str, Any]]
    coverage: Sequence[Mapping[str, float]]


def evaluation_page(
    candidate: Evaluated,
    baseline: Evaluated,
    mistakes: Sequence[Mapping[str, Any]],
    confusions: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, float]],
    params: EvaluationParams,
    origin: Mapping[str, str],
) -> Page:
    """Draw the page.

    Args:
        mistakes: of the candidate, from :func:`headway.evaluation.mistakes.worst_mistakes`.
        confusions: of the candidate, from :func:`headway.evaluation.confusions.top_confusions`.
        history: of the candidate's training.
        params: how the intervals were computed, and which slices are small.
        origin: ``model``, the hash of the candidate's package; ``data`` and ``version``, the source and its version or "".
    """
    metrics, predictions = candidate.metrics, candidate.predictions
    figures: dict[str, Figure] = {
        "coverage": charts.coverage({"candidate": candidate.coverage, "baseline": baseline.coverage}),
        "reliability": charts.reliability(predictions, params.confidence, baseline.predictions),
        "scores": charts.scores(predictions),
        "roc": charts.roc(predictions, baseline.predictions),
        "precision_recall": charts.precision_recall(predictions, baseline.predictions),
        "learning_curve": charts.learning_curve(history),
    }
    drawn = {name: (figures[name], title) for name, (title, _) in CAPTIONS.items()}
    if (matrix := confusion_matrix(predictions)) is not None:
        drawn = {MATRIX: (matrix, f"Confusion matrix of {counted(len(predictions.classes), 'class', 'classes')}"), **drawn}
    return pages.render(
        TEMPLATE,
        drawn,
        {"percent": _percent},
        candidate=candidate,
        baseline=baseline,
        metrics=metrics,
        headlines=HEADLINES,
        of_class=OF_CLASS,
        mistakes=mistakes,
        confusions=confusions,
        shown_confusions=SHOWN_CONFUSIONS,
        thresholds=_thresholds(candidate.coverage, baseline.coverage),
        captions=CAPTIONS,
        origin={**origin, "model": origin["model"][:SHORT_HASH]},
        confidence=params.confidence,
        bootstrap_samples=params.bootstrap_samples,
        min_slice_rows=params.min_slice_rows,
        slice_axis=_axis([candidate.slices, baseline.slices], "accuracy"),
        class_axis=_axis([candidate.metrics["classes"], baseline.metrics["classes"]], "f1"),
    )


def _axis(models: Sequence[Mapping[str, Mapping[str, Any]]], metric: str) -> tuple[float, float]:
    """The ends of an axis that holds every interval of a metric, in tenths."""
    bounds = [entry[f"{metric}_{end}"] for model in models for entry in model.values() for end in ("low", "high")]
    found = [bound for bound in bounds if bound is not None]
    low, high = math.floor(10 * min(found, default=0)) / 10, math.ceil(10 * max(found, default=1)) / 10
    return (low, high) if low < high else (max(0.0, low - 0.1), min(1.0, low + 0.1))


def _percent(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A share in percent, with its interval if it has one: "91.4% (90.3 to 92.5)"."""
    if value is None:
        return ABSENT
    return f"{100 * value:.1f}%" + ("" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})")


def _thresholds(
    candidate: Sequence[Mapping[str, float]], baseline: Sequence[Mapping[str, float]]
) -> list[tuple[Mapping[str, float], Mapping[str, float]]]:
    """For each of some shares, the candidate's point nearest to it, once, and the baseline's nearest to that."""

    def nearest(points: Sequence[Mapping[str, float]], share: float) -> Mapping[str, float]:
        return min(points, key=lambda point: abs(point["coverage"] - share), default={})

    found = {point["coverage"]: point for share in SHOWN_SHARES if (point := nearest(candidate, share))}
    return [(point, nearest(baseline, share)) for share, point in found.items()]
