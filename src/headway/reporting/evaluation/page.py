"""The evaluation page: the candidate's metrics, slices, classes, curves, confusions and worst mistakes, beside other models."""

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
from headway.reporting.evaluation.charts import BASELINE, CANDIDATE, CHAMPION
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
        "Loss and validation accuracy of the attention part at each evaluation; the grey line marks the one that is kept.",
    ),
}
#: The caption of the learning curve of a frozen encoder.
OF_FROZEN = (
    "Validation loss of the linear layer on the frozen encoder with each regularisation; the grey line marks the one that is "
    "kept."
)
#: Title and caption of the figure that only data with a time column have.
OVER_TIME = (
    "Accuracy over time",
    "Each point is a bin of about equally many test rows, in the order of their times, with its interval.",
)
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
        over_time: from :func:`headway.evaluation.over_time.accuracy_over_time`; empty if it is not known.
    """

    metrics: Mapping[str, Any]
    predictions: Predictions
    slices: Mapping[str, Mapping[str, Any]]
    coverage: Sequence[Mapping[str, float]]
    over_time: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Champion:
    """What is known of the champion that the gate compared the candidate with.

    Attributes:
        note: a sentence about the champion, or why there is nothing to show of it.
        results: on the same test rows, None if there are none.
    """

    note: str
    results: Evaluated | None = None


def evaluation_page(
    candidate: Evaluated,
    baseline: Evaluated,
    champion: Champion,
    mistakes: Sequence[Mapping[str, Any]],
    confusions: Sequence[Mapping[str, Any]],
    history: Sequence[Mapping[str, float]],
    params: EvaluationParams,
    origin: Mapping[str, str],
    key: str = "",
) -> Page:
    """Draw the page.

    Args:
        candidate, baseline, champion: results on the same test rows.
        mistakes: of the candidate, from :func:`headway.evaluation.mistakes.worst_mistakes`.
        confusions: of the candidate, from :func:`headway.evaluation.confusions.top_confusions`.
        history: of the candidate's training.
        params: how the intervals were computed, and which slices are small.
        origin: ``model``, the hash of the candidate's package; ``data`` and ``version``, the source and its version or "".
        key: what the page is drawn from, as a hash in the page; "" if nothing asks for it.
    """
    metrics, predictions = candidate.metrics, candidate.predictions
    others = {**({CHAMPION: champion.results} if champion.results else {}), BASELINE: baseline}
    models = {CANDIDATE: candidate, **others}
    predicted = {name: model.predictions for name, model in models.items()}
    slices = _by_model({name: model.slices for name, model in models.items()})
    classes = _by_model({name: model.metrics["classes"] for name, model in models.items()})
    figures: dict[str, Figure] = {
        "coverage": charts.coverage({name: model.coverage for name, model in models.items()}),
        "reliability": charts.reliability(predicted, params.confidence),
        "scores": charts.scores(predictions),
        "roc": charts.roc(predicted),
        "precision_recall": charts.precision_recall(predicted),
        "learning_curve": charts.learning_curve(history),
    }
    captions = dict(CAPTIONS)
    over_time = {name: model.over_time for name, model in models.items() if model.over_time}
    if CANDIDATE in over_time:
        figures["over_time"] = charts.over_time(over_time)
        captions["over_time"] = OVER_TIME
    if not history or "inverse_regularisation" in history[0]:
        captions["learning_curve"] = CAPTIONS["learning_curve"][0], OF_FROZEN
    drawn = {name: (figures[name], title) for name, (title, _) in captions.items()}
    if (matrix := confusion_matrix(predictions)) is not None:
        drawn = {MATRIX: (matrix, f"Confusion matrix of {counted(len(predictions.classes), 'class', 'classes')}"), **drawn}
    return pages.render(
        TEMPLATE,
        drawn,
        {"percent": _percent, "threshold": _threshold},
        others=others,
        models=models,
        note=champion.note,
        key=key,
        metrics=metrics,
        slices=slices,
        classes=classes,
        headlines=HEADLINES,
        of_class=OF_CLASS,
        mistakes=mistakes,
        confusions=confusions,
        shown_confusions=SHOWN_CONFUSIONS,
        thresholds=_thresholds([model.coverage for model in models.values()]),
        captions=captions,
        over_time=over_time,
        origin={**origin, "model": origin["model"][:SHORT_HASH]},
        confidence=params.confidence,
        bootstrap_samples=params.bootstrap_samples,
        min_slice_rows=params.min_slice_rows,
        slice_axis=_axis(slices, "accuracy"),
        class_axis=_axis(classes, "f1"),
    )


def _by_model(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """The results of each slice or class that the candidate has, by model. A model may lack one; it then has no values."""
    absent = {f"{metric}{end}": None for metric in ("accuracy", *OF_CLASS) for end in ("", "_low", "_high")}
    return {row: {model: found.get(row, absent) for model, found in results.items()} for row in results[CANDIDATE]}


def _axis(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], metric: str) -> tuple[float, float]:
    """The ends of an axis that holds every interval of a metric, in tenths."""
    bounds = [entry[f"{metric}_{end}"] for row in rows.values() for entry in row.values() for end in ("low", "high")]
    found = [bound for bound in bounds if bound is not None]
    low, high = math.floor(10 * min(found, default=0)) / 10, math.ceil(10 * max(found, default=1)) / 10
    return (low, high) if low < high else (max(0.0, low - 0.1), min(1.0, low + 0.1))


def _percent(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A share in percent, with its interval if it has one: "91.4% (90.3 to 92.5)"."""
    if value is None:
        return ABSENT
    return f"{100 * value:.1f}%" + ("" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})")


def _threshold(value: float) -> str:
    """A probability to three decimals; near 1 to more, so that it is not shown as 1."""
    decimals = 3 if value >= 1 else max(3, 1 - math.floor(math.log10(1 - value)))
    return f"{value:.{decimals}f}"


def _thresholds(curves: Sequence[Sequence[Mapping[str, float]]]) -> list[list[Mapping[str, float]]]:
    """For each of some shares, the first curve's point nearest to it, once, and the others' points nearest to that."""

    def nearest(points: Sequence[Mapping[str, float]], share: float) -> Mapping[str, float]:
        return min(points, key=lambda point: abs(point["coverage"] - share), default={})

    candidate, *others = curves
    found = {point["coverage"]: point for share in SHOWN_SHARES if (point := nearest(candidate, share))}
    return [[point, *(nearest(other, share) for other in others)] for share, point in found.items()]
