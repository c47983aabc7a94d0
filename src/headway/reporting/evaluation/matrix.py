"""The confusion matrix as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headway.evaluation.predictions import Predictions
from headway.reporting.figures import BLUE, FONT_SIZE, GRID, INK, PALETTE, RED, new_figure
from headway.reporting.formatting import shorten, width_in_ems

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: With more classes, cells have no share or no number, or the matrix is not drawn.
MAX_SHARES, MAX_NUMBERED, MAX_DRAWN = 8, 20, 100
PAPER = PALETTE["card"][0]


def confusion_counts(predictions: Predictions) -> np.ndarray:
    """Rows by true and predicted class, int, (classes, classes). Rows of a label unknown to the model are left out."""
    n = len(predictions.classes)
    known = predictions.labels >= 0
    counts = np.zeros((n, n), dtype=int)
    np.add.at(counts, (predictions.labels[known], predictions.predicted[known]), 1)
    return counts


def confusion_matrix(predictions: Predictions) -> Figure | None:
    """Rows by true class, in rows, and predicted class, in columns; None with more than ``MAX_DRAWN`` classes.

    Correct predictions are blue and wrong ones red, the stronger the larger their share of the true class.
    """
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    n = len(predictions.classes)
    if n > MAX_DRAWN:
        return None
    counts = confusion_counts(predictions)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cell, size = (0.72, FONT_SIZE) if n <= MAX_SHARES else (0.42, FONT_SIZE) if n <= MAX_NUMBERED else (0.155, 9)
    names = [shorten(name, 14) for name in predictions.classes]
    em = size / 72
    left = top = em * (max(map(width_in_ems, names)) + 3)
    if n <= MAX_NUMBERED:  # the names above are slanted
        top, right = 0.75 * top + em, 0.75 * top
    else:
        right = em
    width, height = left + cell * n + right, top + cell * n + em
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((left / width, em / height, cell * n / width, cell * n / height))
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    for row, column in np.argwhere(counts):
        weight = shares[row, column] if row == column else np.sqrt(shares[row, column])
        colour = to_rgba(BLUE if row == column else RED, 0.1 + 0.9 * weight)
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, linewidth=0))
        if n <= MAX_NUMBERED:
            words = f"{counts[row, column]:,}" + (f"\n{shares[row, column]:.1%}" if n <= MAX_SHARES else "")
            ink = PAPER if weight > 0.5 else INK
            axes.text(column, row, words, ha="center", va="center", color=ink, size=size - 1, parse_math=False)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=GRID, linewidth=0.8 if n <= MAX_NUMBERED else 0.3)
    axes.set_axisbelow(False)
    axes.tick_params(which="both", length=0, labelsize=size, labelcolor=INK, pad=3)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    slanted: dict[str, Any] = (
        {"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if n <= MAX_NUMBERED else {"rotation": 90}
    )
    axes.set_xticks(range(n), names, parse_math=False, **slanted)
    axes.set_yticks(range(n), names, parse_math=False)
    axes.spines[:].set_color(GRID)
    return figure
