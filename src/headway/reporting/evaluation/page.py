"""The evaluation page: the candidate's metrics, slices, classes, curves and worst mistakes on the test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway.evaluation.headlines import HEADLINES
from headway.evaluation.metrics import OF_CLASS
from headway.evaluation.predictions import Predictions
from headway.params import EvaluationParams
from headway.reporting import pages
from headway.reporting.evaluation import charts
from headway.reporting.pages import Page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("page.html")
#: The figures in their order on the page: a title, and how to read the figure.
CAPTIONS = {
    "confusion_matrix": ("Confusion matrix", "True labels by row, predicted labels by column."),
    "reliability": (
        "Calibration",
        "Each point is a bin of about equally many rows, with its interval. On the diagonal, confidence equals accuracy.",
    ),
    "scores": ("Predicted probabilities", "The axis of rows is logarithmic above 10."),
    "roc": ("ROC curve", "True positive rate at each false positive rate."),
    "precision_recall": ("Precision and recall", "Precision at each recall."),
    "learning_curve": (
        "Learning curve",
        "Loss and validation accuracy of the attention part at each evaluation, or the loss of a frozen encoder's linear "
        "layer with each regularisation; the grey line marks the one that is kept.",
    ),
}


def evaluation_page(
    metrics: Mapping[str, Any],
    predictions: Predictions,
    slices: Mapping[str, Mapping[str, Any]],
    mistakes: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, float]],
    params: EvaluationParams,
) -> Page:
    """Draw the page.

    Args:
        metrics: from :func:`headway.evaluation.metrics.evaluate`.
        slices: from :func:`headway.evaluation.metrics.evaluate_slices`.
        mistakes: from :func:`headway.evaluation.mistakes.worst_mistakes`.
        params: how the intervals were computed, and which slices are small.
    """
    figures: dict[str, Figure] = {
        "confusion_matrix": charts.confusion_matrix(predictions),
        "reliability": charts.reliability(predictions, metrics, params.confidence),
        "scores": charts.scores(predictions),
        "roc": charts.roc(predictions, metrics),
        "precision_recall": charts.precision_recall(predictions, metrics),
        "learning_curve": charts.learning_curve(history),
    }
    return pages.render(
        TEMPLATE,
        {name: (figures[name], title) for name, (title, _) in CAPTIONS.items()},
        metrics=metrics,
        headlines=HEADLINES,
        of_class=OF_CLASS,
        slices=slices,
        mistakes=mistakes,
        captions=CAPTIONS,
        confidence=params.confidence,
        bootstrap_samples=params.bootstrap_samples,
        min_slice_rows=params.min_slice_rows,
    )
