"""Commands about models: label texts, explain a prediction, show the last search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.project import project, registry

if TYPE_CHECKING:
    from headway.serving.package import ModelPackage

app = typer.Typer()
PANEL = "Model"


@app.command(rich_help_panel=PANEL)
def predict(texts: Annotated[list[str], typer.Argument(help="One or more texts, each in quotes.")]) -> None:
    """Label texts with the champion.

    Prints one line per text: label, probability and text, separated by tabs.
    """
    package = _champion()
    for text, probabilities in zip(texts, package.predict_proba(texts), strict=True):
        best = int(probabilities.argmax())
        print(f"{package.classes[best]}\t{probabilities[best]:.4f}\t{text}")


@app.command(rich_help_panel=PANEL)
def explain(
    text: Annotated[str, typer.Argument(help="The text, in quotes.")],
    out: Annotated[str, typer.Option(help="File to write the page to; by default .headway/explanation.html.")] = "",
) -> None:
    """Explain the champion's prediction for one text on an HTML page."""
    from headway.layout import Layout
    from headway.reporting.explanation import page as explanation
    from headway.serving.explain import explain as explain_prediction

    explained = explain_prediction(_champion(), text)
    page = Path(out) if out else Layout.find().scratch / "explanation.html"
    explanation.write(page, explained)
    for line in explanation.describe(explained):
        print(line)
    print(f"page: {page}")


@app.command(rich_help_panel=PANEL)
def study() -> None:
    """Show the last search: its trials, its gain and its cost."""
    from rich.console import Console

    from headway.reporting.study.summary import summary_lines, table
    from headway.stages.tune import summary_of, trials_of

    layout, params = project()
    summary, trials = summary_of(layout), trials_of(layout)
    # The objectives that the search used; params.yaml may have been edited since.
    names = ("objective", "second_objective", "second_margin")
    tune = params.tune.model_copy(update={name: getattr(summary, name) for name in names})
    Console().print(table(trials, tune))
    for line in summary_lines(trials, tune):
        print(line)


def _champion() -> ModelPackage:
    from headway.promotion.champion import load_champion

    return load_champion(registry()[1])
