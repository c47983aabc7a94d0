"""The curves of the evaluation page: the candidate in blue, the champion in gold, the linear baseline dashed and grey."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

from headway.evaluation.calibration import BINS, bins_of, confidences
from headway.evaluation.predictions import Predictions
from headway.evaluation.resampling import ranked_classes
from headway.reporting.figures import BLUE, FONT_SIZE, GOLD, GREY, GRID, INK, RED, legend_above, new_figure, plain_text
from headway.reporting.formatting import shorten
from headway.search.goals import KEPT_BY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: With more classes, only the largest ones have a curve of their own.
MAX_CURVES = 10
#: Width and height of a figure in inches: two fit beside each other on a page, and one on a phone.
SIZE = (5.0, 3.8)
BIN_EDGES = np.linspace(0, 1, 41).tolist()
CANDIDATE, CHAMPION, BASELINE = "candidate", "champion", "baseline"
STYLES: dict[str, dict[str, Any]] = {
    CANDIDATE: {"color": BLUE, "linestyle": "-", "marker": "o"},
    CHAMPION: {"color": GOLD, "linestyle": "-.", "marker": "^"},
    BASELINE: {"color": GREY, "linestyle": "--", "marker": "s"},
}
#: Predictions of the same rows by model: the candidate's first, then those of the champion and the baseline if they are known.
Models = Mapping[str, Predictions]


def roc(models: Models) -> Figure:
    """ROC curve of the positive class, or of each class against the rest with their micro-average."""
    figure, axes = _square("false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=GRID)
    _curves(axes, models, RocCurveDisplay.from_predictions)
    return figure


def precision_recall(models: Models) -> Figure:
    """Precision-recall curve of the positive class, or of each class against the rest with their micro-average."""
    figure, axes = _square("recall", "precision")
    _curves(axes, models, PrecisionRecallDisplay.from_predictions)
    return figure


def reliability(models: Models, confidence: float) -> Figure:
    """Accuracy at each confidence, in bins of equally many rows, with Wilson's intervals."""
    figure, axes = _square("probability of the predicted class", "accuracy")
    axes.plot([0, 1], [0, 1], color=GRID)
    lowest = 1.0
    for name in reversed([*models]):
        model, style = _finite(models[name]), STYLES[name]
        predicted, correct = confidences(model), model.correct
        lowest = min(lowest, predicted.min(initial=1))
        bin_of = bins_of(predicted, BINS) if len(predicted) else np.empty(0, dtype=int)
        for index in np.unique(bin_of):
            mask = bin_of == index
            rows, hits = int(mask.sum()), int(correct[mask].sum())
            bounds = binomtest(hits, rows).proportion_ci(confidence, method="wilson")
            x, label = predicted[mask].mean(), name if index == bin_of.min() else None
            axes.vlines(x, bounds.low, bounds.high, color=style["color"], linewidth=1)
            axes.plot(x, hits / rows, style["marker"], color=style["color"], label=label, markersize=4)
    axes.set_xlim(max(0, lowest - 0.05), 1.02)
    if len(models) > 1 and len(models[CANDIDATE].ids):
        legend_above(axes)
    return figure


def coverage(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Accuracy of the surest rows against their share of all rows, with the candidate's interval.

    Args:
        curves: from :func:`headway.evaluation.coverage.coverage_curve`, by model.
    """
    figure, axes = _axes("share of the texts that are answered", "accuracy of the answers")
    for name, points in curves.items():
        style = STYLES[name]
        x, y = [point["coverage"] for point in points], [point["accuracy"] for point in points]
        axes.plot(x, y, label=name, linewidth=2, markersize=3, **style)
        if name == CANDIDATE:
            low, high = ([point[f"accuracy_{end}"] for point in points] for end in ("low", "high"))
            axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.set_xlim(0, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    legend_above(axes)
    return figure


def over_time(bins: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Accuracy of bins of rows at the middle of their times, with the candidate's interval.

    Args:
        bins: from :func:`headway.evaluation.over_time.accuracy_over_time`, by model.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    figure, axes = _axes("", "accuracy")
    for name, found in bins.items():
        style = STYLES[name]
        first, last = (np.array([one[end] for one in found], dtype="datetime64[us]") for end in ("first", "last"))
        middle = first + (last - first) // 2
        axes.plot(middle, [one["accuracy"] for one in found], label=name, linewidth=2, markersize=4, **style)
        if name == CANDIDATE:
            low, high = ([one[f"accuracy_{end}"] for one in found] for end in ("low", "high"))
            axes.vlines(middle, low, high, color=style["color"], linewidth=1)
    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set(color=GREY, size=FONT_SIZE)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    legend_above(axes)
    return figure


def scores(predictions: Predictions) -> Figure:
    """Histograms of probabilities.

    With two classes: the probability of the positive class, by true label. With more: the probability of the predicted
    class, of correct and of wrong predictions.
    """
    predictions = _finite(predictions)
    figure, axes = _axes("", "rows")
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
    axes.set_yscale("symlog", linthresh=10)
    axes.yaxis.set_major_formatter("{x:,.0f}")
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
    figure = new_figure(width=SIZE[0], height=1.6 * SIZE[1])
    losses, accuracy = figure.subplots(2, 1)
    losses.plot(epochs, [entry["train_loss"] for entry in history], "o-", color=BLUE, label="training")
    losses.plot(epochs, [entry["validation_loss"] for entry in history], "o-", color=RED, label="validation")
    losses.plot(epochs, [entry[KEPT_BY] for entry in history], ":", color=RED, label="validation, calibrated")
    losses.set_ylabel("loss")
    _legend(losses)
    accuracy.plot(epochs, [entry["validation_accuracy"] for entry in history], "o-", color=RED)
    accuracy.set_ylabel("validation accuracy")
    for axes in (losses, accuracy):
        axes.axvline(kept, color=GREY, linewidth=0.8, zorder=0)
        axes.set_xlabel("epoch")
        _quiet(axes)
    return figure


def _regularisation(history: Sequence[Mapping[str, float]]) -> Figure:
    """The validation loss of fits with ascending inverse regularisation, with a line at the one that is kept."""
    strengths = [entry["inverse_regularisation"] for entry in history]
    figure, axes = _axes("inverse regularisation of the linear layer", "validation loss, calibrated")
    axes.plot(strengths, [entry[KEPT_BY] for entry in history], "o-", color=RED)
    if history:
        kept = min(history, key=lambda entry: entry[KEPT_BY])["inverse_regularisation"]
        axes.axvline(kept, color=GREY, linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    return figure


def _finite(predictions: Predictions) -> Predictions:
    """The rows whose probabilities are all finite. Others cannot be drawn."""
    return predictions.take(np.flatnonzero(np.isfinite(predictions.probabilities).all(axis=1)))


def _curves(axes: Axes, models: Models, draw: Callable[..., Any]) -> None:
    """A curve of the positive class; or one of each of the candidate's largest classes, and every model's micro-average.

    A model of other classes than the candidate's has no curve.
    """
    labels = axes.get_xlabel(), axes.get_ylabel()
    classes = list(models[CANDIDATE].classes)
    binary = len(classes) == 2
    for name in reversed([name for name, model in models.items() if list(model.classes) == classes]):
        model, style, own = _finite(models[name]), STYLES[name], name == CANDIDATE
        one_hot = {index: model.labels == index for index in ranked_classes(model)}
        one_hot = {index: positive for index, positive in one_hot.items() if not positive.all()}
        largest = sorted(one_hot, key=lambda index: (-int(one_hot[index].sum()), index))[:MAX_CURVES]
        for index in sorted(largest) if binary or own else ():
            look: dict[str, Any] = {"linewidth": 0.9, "alpha": 0.8}
            if binary:
                look = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 2}
            title = name if binary else _label(classes[index], one_hot[index])
            values = model.probabilities[:, index]
            draw(one_hot[index], values, ax=axes, name=title, curve_kwargs=look, drop_intermediate=True)
        if len(one_hot) > 1:
            positive = np.column_stack(list(one_hot.values())).ravel()
            values = model.probabilities[:, list(one_hot)].ravel()
            title = f"{name}, micro-average of {len(one_hot):,} classes"
            look = {"color": INK if own else style["color"], "linestyle": style["linestyle"], "linewidth": 2}
            draw(positive, values, ax=axes, name=title, curve_kwargs=look, drop_intermediate=True)
        if one_hot:
            _legend(axes)
    axes.set(xlabel=labels[0], ylabel=labels[1])


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = new_figure(*SIZE)
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    _quiet(axes)
    return figure, axes


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    """Axes from 0 to 1 in both directions."""
    figure, axes = _axes(x, y)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure, axes


def _quiet(axes: Axes) -> None:
    """Grey axes in the size of the page's small print."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(which="both", colors=GREY, length=0, labelsize=FONT_SIZE)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=GREY, size=FONT_SIZE)


def _label(name: str, rows: np.ndarray) -> str:
    """A class with its number of rows. The first character is invisible: Matplotlib hides labels that begin with "_"."""
    return f"\u200b{shorten(name, 24)}, {rows.sum():,} rows"


def _legend(axes: Axes) -> None:
    plain_text(axes.legend(frameon=False, fontsize=FONT_SIZE - 2, labelcolor=INK).get_texts())
