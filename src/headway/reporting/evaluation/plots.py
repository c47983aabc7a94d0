"""Plots as PNG files: they open anywhere, offline, and the same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headway.reporting.figures import ACCENT, INK, MUTED, new_figure, save_png


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Counts of true label (rows) against predicted label (columns); numbers are written for up to 20 classes."""
    n = len(classes)
    figure = new_figure(width=max(4.5, min(12, 2.5 + 0.5 * n)), height=max(4, min(12, 2 + 0.5 * n)))
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if n <= 50:
        axes.set_xticks(range(n), classes, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(n), classes, parse_math=False)
    if n <= 20:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else INK
            axes.text(column, row, f"{count:,}\n{shares[row, column]:.1%}", ha="center", va="center", color=colour, size=9)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"Test split, {counts.sum():,} rows")
    save_png(figure, path)


def learning_curve(history: Sequence[dict[str, float]], path: Path) -> None:
    """Losses and validation accuracy by epoch."""
    epochs = [entry["epoch"] for entry in history]
    figure = new_figure(width=8, height=3.5)
    losses, accuracy = figure.subplots(1, 2)
    losses.plot(epochs, [entry["train_loss"] for entry in history], "o-", color=ACCENT, label="training")
    losses.plot(epochs, [entry["validation_loss"] for entry in history], "o-", color=MUTED, label="validation")
    losses.set_ylabel("loss")
    losses.legend(frameon=False)
    accuracy.plot(epochs, [entry["validation_accuracy"] for entry in history], "o-", color=MUTED)
    accuracy.set_ylabel("validation accuracy")
    for axes in (losses, accuracy):
        axes.set_xlabel("epoch")
        axes.set_xticks([int(epoch) for epoch in epochs])
    save_png(figure, path)
