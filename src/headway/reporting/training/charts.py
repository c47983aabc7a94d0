"""The learning curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from headway.reporting.figures import BLUE, RED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_curve(history: Sequence[Mapping[str, float]]) -> Figure:
    """Losses and validation accuracy of the attention part, by epoch."""
    epochs = [entry["epoch"] for entry in history]
    figure = new_figure(width=8, height=3.5)
    losses, accuracy = figure.subplots(1, 2)
    losses.plot(epochs, [entry["train_loss"] for entry in history], "o-", color=BLUE, label="training")
    losses.plot(epochs, [entry["validation_loss"] for entry in history], "o-", color=RED, label="validation")
    losses.set_ylabel("loss")
    losses.legend(frameon=False)
    accuracy.plot(epochs, [entry["validation_accuracy"] for entry in history], "o-", color=RED)
    accuracy.set_ylabel("validation accuracy")
    for axes in (losses, accuracy):
        axes.set_xlabel("epoch")
        axes.set_xticks([int(epoch) for epoch in epochs])
    return figure
