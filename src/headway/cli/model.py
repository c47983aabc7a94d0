"""Commands about models: explain a prediction, show the last search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headway.cli.project import project
from headway.cli.streams import say
from headway.cli.which_model import Candidate, Version, load_model

app = typer.Typer()
PANEL = "Model"


@app.command(rich_help_panel=PANEL)
def explain(
    text: Annotated[str, typer.Argument(help="The text, in quotes.")],
    out: Annotated[str, typer.Option(help="File to write the page to; by default .headway/explanation.html.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out if it exists.")] = False,
    version: Version = "",
    candidate: Candidate = False,
) -> None:
    """Explain the champion's prediction for one text, or another version's, on an HTML page."""
    from headway.chosen_file import require_writable, write_chosen
    from headway.layout import Layout
    from headway.reporting.explanation import page as explanation
    from headway.serving.explain import explain as explain_prediction
    from headway.serving.package import require_text

    require_text(text, "the text")
    if out:  # before the work
        require_writable(Path(out), "page", force)
    explained = explain_prediction(load_model(version, candidate), text)
    page = Path(out) if out else Layout.find().scratch / "explanation.html"
    if out:
        write_chosen(page, explanation.render(explained), "page", force)
    else:
        explanation.write(page, explained)
    for line in explanation.describe(explained):
        print(line)
    say(f"page: {page}")


@app.command(rich_help_panel=PANEL)
def study() -> None:
    """Show the last search: its trials, its gain and its cost."""
    from rich.console import Console

    from headway.reporting.study.summary import summary_lines, table
    from headway.search.found import summary_of, trials_of

    layout, params = project()
    summary, trials = summary_of(layout), trials_of(layout)
    # The objectives that the search used; params.yaml may have been edited since.
    names = ("objective", "second_objective", "second_margin")
    tune = params.tune.model_copy(update={name: getattr(summary, name) for name in names})
    Console().print(table(trials, summary.winner, tune))
    for line in summary_lines(summary, tune):
        say(line)
