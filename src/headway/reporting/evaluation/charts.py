"""Plots of how probabilities rank rows, how sure they are, and how often they are right; PNG files like those in plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_curve, roc_curve

from headway.evaluation.calibration import BINS, bins_of, confidences
from headway.evaluation.predictions import Predictions
from headway.evaluation.resampling import ranked_classes
from headway.reporting.figures import ACCENT, GREY, GRID, INK, MUTED, new_figure
from headway.reporting.formatting import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Of more classes only so many, the largest, have a curve of their own.
MAX_CURVES = 10
GRID_POINTS = np.linspace(0, 1, 201)

Curve = tuple[np.ndarray, np.ndarray]


def confusion_matrix(predictions: Predictions) -> Figure:
    """Counts of true label (rows) against predicted label (columns); numbers are written for up to 20 classes."""
    n, names = len(predictions.classes), [shorten(name) for name in predictions.classes]
    known = predictions.labels >= 0
    counts = np.zeros((n, n), dtype=int)
    np.add.at(counts, (predictions.labels[known], predictions.predicted[known]), 1)
    figure = new_figure(width=max(4.5, min(12, 2.5 + 0.5 * n)), height=max(4, min(12, 2 + 0.5 * n)))
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if n <= 50:
        axes.set_xticks(range(n), names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(n), names, parse_math=False)
    if n <= 20:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else INK
            axes.text(column, row, f"{count:,}\n{shares[row, column]:.1%}", ha="center", va="center", color=colour, size=9)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"Test split, {counts.sum():,} rows")
    return figure


def roc(predictions: Predictions, metrics: Mapping[str, Any]) -> Figure:
    """True against false positives, of the second of two classes, or of each class against the rest and their mean."""
    figure, axes = _square("false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=GRID)
    axes.set_title(_title("ROC, area", metrics["roc_auc"]))
    _draw(axes, _whole(predictions), _roc_of, rising=True)
    return figure


def precision_recall(predictions: Predictions, metrics: Mapping[str, Any]) -> Figure:
    """Precision against recall, likewise."""
    figure, axes = _square("recall", "precision")
    axes.set_title(_title("Average precision", metrics["average_precision"]))
    _draw(axes, _whole(predictions), _precision_of, rising=False)
    return figure


def reliability(predictions: Predictions, metrics: Mapping[str, Any], confidence: float) -> Figure:
    """How often the likeliest class is right against how sure it is, in bins of equally many rows, with Wilson's intervals."""
    predictions = _whole(predictions)
    sure, right = confidences(predictions), predictions.correct
    bin_of = bins_of(sure, BINS) if len(sure) else np.empty(0, dtype=int)
    figure, axes = _square("probability of the likeliest class", "share that is right")
    axes.plot([0, 1], [0, 1], color=GRID)
    for index in np.unique(bin_of):
        mask = bin_of == index
        rows, hits = int(mask.sum()), int(right[mask].sum())
        bounds = binomtest(hits, rows).proportion_ci(confidence, method="wilson")
        axes.plot([sure[mask].mean()] * 2, [bounds.low, bounds.high], color=ACCENT, linewidth=1)
        axes.plot(sure[mask].mean(), hits / rows, "o", color=ACCENT)
    axes.set_xlim(max(0, sure.min(initial=1) - 0.05), 1.02)
    axes.set_title(_title("Calibration error", metrics["expected_calibration_error"]))
    return figure


def scores(predictions: Predictions) -> Figure:
    """Histograms: of two classes the probability of the second by true class, of more that of the likeliest by right or wrong."""
    predictions = _whole(predictions)
    figure = new_figure(width=6, height=4)
    axes = figure.add_subplot()
    if len(predictions.classes) == 2:
        values, negative, positive = predictions.probabilities[:, 1], predictions.labels == 0, predictions.labels == 1
        parts = [(predictions.classes[0], negative, MUTED), (predictions.classes[1], positive, ACCENT)]
        axes.set_xlabel(f"probability of {shorten(predictions.classes[1])}", parse_math=False)
    else:
        values, right = predictions.probabilities.max(axis=1), predictions.correct
        parts = [("wrong", ~right, MUTED), ("right", right, ACCENT)]
        axes.set_xlabel("probability of the likeliest class")
    edges = np.linspace(0, 1, 41)
    for name, mask, colour in parts:
        axes.stairs(np.histogram(values[mask], edges)[0], edges, color=colour, fill=True, alpha=0.45)
        axes.plot([], [], color=colour, linewidth=6, alpha=0.45, label=_quiet(f"{name}, {mask.sum():,} rows"))
    axes.set_ylabel("rows")
    axes.set_yscale("symlog", linthresh=10)
    _legend(axes)
    return figure


def _whole(predictions: Predictions) -> Predictions:
    """The rows whose probabilities are numbers; others can be told, but not drawn."""
    return predictions.take(np.flatnonzero(np.isfinite(predictions.probabilities).all(axis=1)))


def _draw(axes: Axes, predictions: Predictions, curve_of: Callable[..., Curve], rising: bool) -> None:
    """The curve of the one ranked class; or of up to ten, thin, and the mean of all, thick."""
    curves = {}
    for index in ranked_classes(predictions):
        positive = predictions.labels == index
        if not positive.all():
            curves[index] = curve_of(positive, predictions.probabilities[:, index])
    rows = {index: int((predictions.labels == index).sum()) for index in curves}
    largest = sorted(curves, key=lambda index: (-rows[index], index))[:MAX_CURVES]
    alone = len(predictions.classes) == 2
    for index in sorted(largest):
        style: dict[str, Any] = {"color": ACCENT} if alone else {"linewidth": 0.9, "alpha": 0.8}
        axes.plot(*curves[index], label=_quiet(f"{predictions.classes[index]}, {rows[index]:,} rows"), **style)
    if len(curves) > 1:
        mean = np.mean([_on_grid(*curve, rising) for curve in curves.values()], axis=0)
        axes.plot(GRID_POINTS, mean, color=INK, linewidth=2, label=f"mean of {len(curves):,} classes")
    if curves:
        _legend(axes)


def _roc_of(positive: np.ndarray, values: np.ndarray) -> Curve:
    false, true, _ = roc_curve(positive, values)
    return false, true


def _precision_of(positive: np.ndarray, values: np.ndarray) -> Curve:
    precision, recall, _ = precision_recall_curve(positive, values, drop_intermediate=True)
    return recall[::-1], precision[::-1]


def _on_grid(x: np.ndarray, y: np.ndarray, rising: bool) -> np.ndarray:
    """A curve's value at each grid point: what is reached by there (``rising``), or where that much is reached first."""
    place = np.searchsorted(x, GRID_POINTS, side="right") - 1 if rising else np.searchsorted(x, GRID_POINTS, side="left")
    return y[np.clip(place, 0, len(y) - 1)]


def _title(name: str, value: float | None) -> str:
    return f"{name}: undefined" if value is None else f"{name} {value:.4f}"


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure = new_figure(width=5.5, height=5)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    return figure, axes


def _legend(axes: Axes) -> None:
    legend = axes.legend(frameon=False, fontsize=8, labelcolor=GREY)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _quiet(label: str) -> str:
    """A label no wider than the plot. Matplotlib leaves labels that begin with "_" out of a legend, so none may."""
    return "\u200b" + shorten(label, 24)
