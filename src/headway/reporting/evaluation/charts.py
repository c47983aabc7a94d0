"""The figures of the evaluation page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay

from headway.evaluation.calibration import BINS, bins_of, confidences
from headway.evaluation.predictions import Predictions
from headway.evaluation.resampling import ranked_classes
from headway.reporting.figures import BLUE, GREY, GRID, INK, RED, new_figure, plain_text
from headway.reporting.formatting import shorten
from headway.search.goals import KEPT_BY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: With more classes, only the largest ones have a curve of their own.
MAX_CURVES = 10
#: With more classes, the cells of the confusion matrix have no numbers, or its rows and columns no names.
MAX_NUMBERED, MAX_NAMED = 20, 50
BIN_EDGES = np.linspace(0, 1, 41).tolist()


def confusion_matrix(predictions: Predictions) -> Figure:
    """Rows by true and predicted label, coloured by the share of the true label's rows."""
    n = len(predictions.classes)
    known = predictions.labels >= 0
    counts = np.zeros((n, n), dtype=int)
    np.add.at(counts, (predictions.labels[known], predictions.predicted[known]), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(width=max(4.5, min(12, 2.5 + 0.5 * n)), height=max(4, min(12, 2 + 0.5 * n)))
    axes = figure.add_subplot()
    display = ConfusionMatrixDisplay(shares, display_labels=[shorten(name) for name in predictions.classes])
    display.plot(
        ax=axes,
        cmap="Blues",
        values_format=".1%",
        include_values=n <= MAX_NUMBERED,
        xticks_rotation=45,
        colorbar=False,
        im_kw={"vmin": 0, "vmax": 1},
        text_kw={"size": 9},
    )
    if n <= MAX_NUMBERED:
        for text, count in zip(display.text_.flat, counts.flat, strict=True):
            text.set_text(f"{count:,}\n{text.get_text()}")
    if n > MAX_NAMED:
        axes.set(xticks=[], yticks=[])
    plain_text([*axes.get_xticklabels(), *axes.get_yticklabels()])
    axes.set_title(f"Test split, {counts.sum():,} rows")
    return figure


def roc(predictions: Predictions, metrics: Mapping[str, Any]) -> Figure:
    """ROC curve of the positive class, or of each class against the rest with their micro-average."""
    figure, axes = _square("ROC-AUC", metrics["roc_auc"], "false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=GRID)
    _curves(axes, predictions, RocCurveDisplay.from_predictions)
    return figure


def precision_recall(predictions: Predictions, metrics: Mapping[str, Any]) -> Figure:
    """Precision-recall curve of the positive class, or of each class against the rest with their micro-average."""
    figure, axes = _square("Average precision", metrics["average_precision"], "recall", "precision")
    _curves(axes, predictions, PrecisionRecallDisplay.from_predictions)
    return figure


def reliability(predictions: Predictions, metrics: Mapping[str, Any], confidence: float) -> Figure:
    """Accuracy at each confidence, in bins of equally many rows, with Wilson's intervals."""
    predictions = _finite(predictions)
    predicted, correct = confidences(predictions), predictions.correct
    bin_of = bins_of(predicted, BINS) if len(predicted) else np.empty(0, dtype=int)
    error = metrics["expected_calibration_error"]
    figure, axes = _square("Calibration error", error, "probability of the predicted class", "accuracy")
    axes.plot([0, 1], [0, 1], color=GRID)
    for index in np.unique(bin_of):
        mask = bin_of == index
        rows, hits = int(mask.sum()), int(correct[mask].sum())
        bounds = binomtest(hits, rows).proportion_ci(confidence, method="wilson")
        axes.vlines(predicted[mask].mean(), bounds.low, bounds.high, color=BLUE, linewidth=1)
        axes.plot(predicted[mask].mean(), hits / rows, "o", color=BLUE)
    axes.set_xlim(max(0, predicted.min(initial=1) - 0.05), 1.02)
    return figure


def scores(predictions: Predictions) -> Figure:
    """Histograms of probabilities.

    With two classes: the probability of the positive class, by true label. With more: the probability of the predicted
    class, of correct and of wrong predictions.
    """
    predictions = _finite(predictions)
    figure = new_figure(width=6, height=4)
    axes = figure.add_subplot()
    if len(predictions.classes) == 2:
        negative, positive = predictions.classes
        values = predictions.probabilities[:, 1]
        parts = [(negative, predictions.labels == 0, RED), (positive, predictions.labels == 1, BLUE)]
        axes.set_xlabel(f"probability of {shorten(positive)}", parse_math=False)
    else:
        values = predictions.probabilities.max(axis=1)
        parts = [("wrong", ~predictions.correct, RED), ("correct", predictions.correct, BLUE)]
        axes.set_xlabel("probability of the predicted class")
    for name, mask, colour in parts:
        axes.hist(values[mask], BIN_EDGES, color=colour, alpha=0.45, label=_label(name, mask))
    axes.set_ylabel("rows")
    axes.set_yscale("symlog", linthresh=10)
    _legend(axes)
    return figure


def learning_curve(history: Sequence[Mapping[str, float]]) -> Figure:
    """Losses and validation accuracy of the attention part at each evaluation, with a line at the one whose weights are kept.

    For a frozen pretrained encoder: the validation loss of its linear layer with each regularisation; none are tried, and the
    history is empty, if the training rows have one class.
    """
    if not history or "inverse_regularisation" in history[0]:
        return _regularisation(history)
    epochs = [entry["epoch"] for entry in history]
    kept = min(history, key=lambda entry: entry[KEPT_BY])["epoch"]
    figure = new_figure(width=8, height=3.5)
    losses, accuracy = figure.subplots(1, 2)
    losses.plot(epochs, [entry["train_loss"] for entry in history], "o-", color=BLUE, label="training")
    losses.plot(epochs, [entry["validation_loss"] for entry in history], "o-", color=RED, label="validation")
    losses.plot(epochs, [entry[KEPT_BY] for entry in history], ":", color=RED, label="validation, calibrated")
    losses.set_ylabel("loss")
    losses.legend(frameon=False)
    accuracy.plot(epochs, [entry["validation_accuracy"] for entry in history], "o-", color=RED)
    accuracy.set_ylabel("validation accuracy")
    for axes in (losses, accuracy):
        axes.axvline(kept, color=GREY, linewidth=0.8, zorder=0)
        axes.set_xlabel("epoch")
    return figure


def _regularisation(history: Sequence[Mapping[str, float]]) -> Figure:
    """The validation loss of fits with ascending inverse regularisation, with a line at the one that is kept."""
    strengths = [entry["inverse_regularisation"] for entry in history]
    figure = new_figure(width=5, height=3.5)
    axes = figure.subplots()
    axes.plot(strengths, [entry[KEPT_BY] for entry in history], "o-", color=RED)
    if history:
        kept = min(history, key=lambda entry: entry[KEPT_BY])["inverse_regularisation"]
        axes.axvline(kept, color=GREY, linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    axes.set_xlabel("inverse regularisation of the linear layer")
    axes.set_ylabel("validation loss, calibrated")
    return figure


def _finite(predictions: Predictions) -> Predictions:
    """The rows whose probabilities are all finite. Others cannot be drawn."""
    return predictions.take(np.flatnonzero(np.isfinite(predictions.probabilities).all(axis=1)))


def _curves(axes: Axes, predictions: Predictions, draw: Callable[..., Any]) -> None:
    """A curve of the positive class; or one of each of the largest classes, and the micro-average of all classes."""
    predictions = _finite(predictions)
    one_hot = {index: predictions.labels == index for index in ranked_classes(predictions)}
    one_hot = {index: positive for index, positive in one_hot.items() if not positive.all()}
    largest = sorted(one_hot, key=lambda index: (-int(one_hot[index].sum()), index))[:MAX_CURVES]
    binary = len(predictions.classes) == 2
    for index in sorted(largest):
        style: dict[str, Any] = {"color": BLUE} if binary else {"linewidth": 0.9, "alpha": 0.8}
        name, values = _label(predictions.classes[index], one_hot[index]), predictions.probabilities[:, index]
        draw(one_hot[index], values, ax=axes, name=name, curve_kwargs=style, drop_intermediate=True)
    if len(one_hot) > 1:
        positive = np.column_stack(list(one_hot.values())).ravel()
        values = predictions.probabilities[:, list(one_hot)].ravel()
        name, style = f"micro-average of {len(one_hot):,} classes", {"color": INK, "linewidth": 2}
        draw(positive, values, ax=axes, name=name, curve_kwargs=style, drop_intermediate=True)
    if one_hot:
        _legend(axes)


def _square(name: str, value: float | None, x: str, y: str) -> tuple[Figure, Axes]:
    """Axes from 0 to 1 in both directions, under a metric as their title."""
    figure = new_figure(width=5.5, height=5)
    axes = figure.add_subplot(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)
    axes.set_title(f"{name}: undefined" if value is None else f"{name} {value:.4f}")
    return figure, axes


def _label(name: str, rows: np.ndarray) -> str:
    """A class with its number of rows. The first character is invisible: Matplotlib hides labels that begin with "_"."""
    return f"\u200b{shorten(name, 24)}, {rows.sum():,} rows"


def _legend(axes: Axes) -> None:
    plain_text(axes.legend(frameon=False, fontsize=8, labelcolor=GREY).get_texts())
