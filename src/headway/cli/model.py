"""Commands about models: label texts, explain a prediction, show the last search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headway.cli.project import project, registry
from headway.cli.streams import say
from headway.foreign_text import one_line

if TYPE_CHECKING:
    from headway.serving.package import ModelPackage

app = typer.Typer()
PANEL = "Model"


Version = Annotated[str, typer.Option("--version", help="Number of a registered version, instead of the champion.")]
Candidate = Annotated[bool, typer.Option("--candidate", help="Use the model that was trained last, in models/candidate.")]


@app.command(rich_help_panel=PANEL)
def predict(
    texts: Annotated[list[str], typer.Argument(help="One or more texts, each in quotes.")],
    version: Version = "",
    candidate: Candidate = False,
) -> None:
    """Label texts with the champion, or with another version.

    Prints one line per text: label, probability and text, separated by tabs. Line breaks, tabs and control characters in a
    label or text are written as escapes, such as ``\\n``.
    """
    from headway.serving.package import require_text

    for number, text in enumerate(texts, 1):
        require_text(text, f"text {number} of {len(texts)}")
    package = _model(version, candidate)
    for text, probabilities in zip(texts, package.predict_proba(texts), strict=True):
        best = int(probabilities.argmax())
        print(f"{one_line(package.classes[best])}\t{probabilities[best]:.4f}\t{one_line(text)}")


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
    explained = explain_prediction(_model(version, candidate), text)
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


def _model(version: str, candidate: bool) -> ModelPackage:
    """The champion, a version by its number, or the candidate, for which MLflow is not needed."""
    from headway.errors import HeadwayError
    from headway.layout import Layout
    from headway.serving.package import ModelPackage

    if version and candidate:
        raise HeadwayError("--version and --candidate name different models; pass one of them")
    if candidate:
        folder = Layout.find().candidate
        if not folder.is_dir():
            raise HeadwayError(f"{folder}: there is no candidate yet; `headway run` trains one")
        return ModelPackage.load(folder)
    from headway.promotion.champion import load_champion

    _, registered = registry()
    if not version:
        return load_champion(registered)
    found = registered.version(version)
    if found is None:
        raise HeadwayError(f"{registered.name} has no version {version}; `headway history` lists the versions decided on")
    return registered.load(found)
