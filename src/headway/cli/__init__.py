"""The command line: one thin subcommand per stage and per verb. Whatever is heavy is imported inside the command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from headway import __version__
from headway.cli import data as cli_data
from headway.cli import registry as cli_registry
from headway.cli.project import flows, project, tracker
from headway.environment import DEBUG, switch_off
from headway.errors import HeadwayError

app = typer.Typer(
    help="Train, prove and promote self-attention text classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

STAGES, VERBS = "Stages (dvc.yaml calls these, in its order)", "Verbs"
app.add_typer(cli_data.app, name="data", rich_help_panel=VERBS)
app.add_typer(cli_registry.app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    trace: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options that stand before any command."""
    if trace:
        os.environ[DEBUG] = "1"  # the stages' own processes inherit it


@app.command(rich_help_panel=STAGES)
def ingest() -> None:
    """Read the source into data/raw."""
    from headway.stages.ingest import ingest as stage

    manifest = _run_stage(stage)
    unreadable = f", {manifest.unreadable:,} unreadable" if manifest.unreadable else ""
    print(f"{manifest.rows:,} rows of {manifest.source}{unreadable}: " + _counts(manifest.label_counts))


@app.command(rich_help_panel=STAGES)
def prepare() -> None:
    """Clean and split into data/prepared."""
    from headway.stages.prepare import prepare as stage

    report = _run_stage(stage)
    gone = {reason: count for reason, count in report["rows_quarantined"].items() if count}
    print(
        f"{report['rows_in']:,} rows in, {report['rows_kept']:,} kept"
        + (f", in quarantine: {_counts(gone)}" if gone else "")
        + f"; splits: {_counts(report['splits'])}"
    )


@app.command(rich_help_panel=STAGES)
def tokenize() -> None:
    """Fit the tokenizer and encode into data/encoded."""
    from headway.stages.tokenize import tokenize as stage

    report = _run_stage(stage)
    train = report["train"]
    print(
        f"vocabulary of {report['vocabulary_size']:,}; {train['tokens']:,} training tokens, "
        f"{report['validation']['unknown_share']:.1%} of the validation split's unknown"
    )


@app.command(rich_help_panel=STAGES)
def baseline() -> None:
    """Fit and score the linear baseline."""
    from headway.stages.baseline import baseline as stage

    test = _run_stage(stage)["test"]
    print(f"linear baseline: test accuracy {_interval(test)}")


@app.command(rich_help_panel=STAGES)
def tune() -> None:
    """Search hyperparameters; an interrupted study continues."""
    from headway.reporting.study.live import LiveProgress
    from headway.search.results import verdict
    from headway.stages.tune import trials_of
    from headway.stages.tune import tune as stage

    _begin_stage()
    layout, params = project()
    with LiveProgress(params.tune) as progress:
        stage(params, layout, lambda: tracker(params, layout), progress)
    for line in verdict(trials_of(layout), params.tune):
        print(line)


@app.command(rich_help_panel=STAGES)
def train() -> None:
    """Train the classifier; an interrupted training continues."""
    from headway.reporting.training.live import training_progress
    from headway.stages.train import train as stage

    _begin_stage()
    layout, params = project()
    report = stage(params, layout, tracker(params, layout), training_progress("train"))
    parts = [f"{name} {report[name]['validation_accuracy']:.4f}" for name in ("ngrams", "attention") if name in report]
    print(f"validation accuracy {report['validation_accuracy']:.4f} ({', '.join(parts)} alone)")


@app.command(rich_help_panel=STAGES)
def evaluate() -> None:
    """Score the candidate on the test split: metrics, slices, mistakes."""
    from headway.stages.evaluate import evaluate as stage

    print(f"candidate: test accuracy {_interval(_run_stage(stage))}")


@app.command(rich_help_panel=STAGES)
def report() -> None:
    """Draw the pages in reports and the plots in plots."""
    from headway.stages.report import report as stage

    print("pages: " + ", ".join(os.path.relpath(page) for page in _run_stage(stage)))


@app.command(rich_help_panel=VERBS)
def init(
    data: Annotated[str, typer.Option(help="Your file or folder, a glob in quotes, or a URL.")],
    text: Annotated[str | None, typer.Option(help="Column of the texts, if not the one proposed.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the labels, if not the one proposed.")] = None,
    test: Annotated[str, typer.Option(help="Glob of files in the folder that are the test split.")] = "",
    unlabelled: Annotated[str, typer.Option(help="Glob of files in the folder that have no labels.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Write params.yaml without asking.")] = False,
) -> None:
    """Look at your own data and fill in params.yaml for it."""
    from headway import init as setup
    from headway.layout import Layout

    layout = Layout.find()
    found = setup.survey(layout, data, text, label, test, unlabelled)
    setup.show(found)
    print("For params.yaml:")
    for knob, value in found.changes.items():
        print(f"  {knob}: {value}")
    if not yes:
        if not sys.stdin.isatty():
            raise HeadwayError("params.yaml stays as it is: nobody is there to ask; add --yes to write without asking")
        typer.confirm("Write these to params.yaml?", default=True, abort=True)
    setup.write(layout, found.changes)
    print("params.yaml is written. Now: make run")


@app.command(rich_help_panel=VERBS)
def study() -> None:
    """Show the last search: its trials, its gain and its cost."""
    from rich.console import Console

    from headway.files import read_json
    from headway.reporting.study.table import table
    from headway.search.results import verdict
    from headway.stages.tune import trials_of

    layout, params = project()
    try:
        found, trials = read_json(layout.metrics("search"), made_by="tune"), trials_of(layout)
        # What it was decided by: params.yaml may ask for something else by now.
        by = {"objective": found["objective"], "second_objective": found.get("second_objective", "none")}
        if "second_objective" in found:
            by["second_margin"] = found["second_margin"]
    except (KeyError, TypeError):
        raise HeadwayError(f"{layout.study}: made by another version; run `dvc repro tune`") from None
    scored = params.tune.model_copy(update=by)
    Console().print(table(trials, scored))
    for line in verdict(trials, scored):
        print(line)


@app.command(rich_help_panel=VERBS)
def run() -> None:
    """Run the whole flow: stages, gate, promotion."""
    flows("pipeline").main()


@app.command(rich_help_panel=VERBS)
def schedule(
    cron: Annotated[str, typer.Option(help='When to retrain, as "0 3 * * *".')],
) -> None:
    """Retrain on a schedule (needs a Prefect server).

    Runs in this process until Ctrl+C; a run that would overlap another is cancelled.
    """
    flows("deploy").serve(cron)


@app.command(rich_help_panel=VERBS)
def predict(texts: Annotated[list[str], typer.Argument(help="One or more texts, each in quotes.")]) -> None:
    """Label texts with the champion."""
    from headway.registry.registry import Registry

    layout, params = project()
    package = Registry(tracker(params, layout)).champion_package()
    for text, probabilities in zip(texts, package.predict_proba(texts), strict=True):
        best = int(probabilities.argmax())
        print(f"{package.classes[best]}\t{probabilities[best]:.4f}\t{text}")


@app.command(rich_help_panel=VERBS)
def explain(
    text: Annotated[str, typer.Argument(help="The text, in quotes.")],
    out: Annotated[str, typer.Option(help="The page to write; by default .headway/explanation.html.")] = "",
) -> None:
    """Show on a page why the champion labels a text so."""
    from pathlib import Path

    from headway.registry.registry import Registry
    from headway.reporting.explanation import page as explanation
    from headway.serving import explain

    layout, params = project()
    found = explain.explain(Registry(tracker(params, layout)).champion_package(), text)
    page = Path(out) if out else layout.scratch / "explanation.html"
    explanation.write(page, found)
    for line in explanation.describe(found):
        print(line)
    print(f"page: {page}")


@app.command(name="params", rich_help_panel=VERBS)
def show_params(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema instead.")] = False,
) -> None:
    """Check params.yaml and print the effective values."""
    from headway.params import Params

    if schema:
        print(json.dumps(Params.model_json_schema(), indent=2))
        return
    from ruamel.yaml import YAML

    _, params = project()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(params.model_dump(), sys.stdout)


@app.command(rich_help_panel=VERBS)
def ui(port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000) -> None:
    """Browse experiments and versions in MLflow's own pages."""
    from headway.network import without_password

    layout, params = project()
    uri = tracker(params, layout).uri
    if not uri.startswith("sqlite"):
        print(f"MLFLOW_TRACKING_URI is set: browse {without_password(uri)}")
        return
    print(f"MLflow: http://127.0.0.1:{port} (Ctrl+C ends it)", flush=True)
    command = ["mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    os.execvp("mlflow", [*command, "--port", str(port), "--workers", "1"])


def _begin_stage() -> None:
    from headway.process import RUN_BY_DVC, die_with_parent

    if RUN_BY_DVC in os.environ:
        die_with_parent()


def _run_stage(stage: Callable[..., Any]) -> Any:
    _begin_stage()
    layout, params = project()
    return stage(params, layout)


def _counts(counts: dict[str, int], most: int = 8) -> str:
    shown = [f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1])[:most]]
    return ", ".join(shown) + (f" and {len(counts) - most} more" if len(counts) > most else "")


def _interval(report: dict[str, Any]) -> str:
    return (
        f"{report['accuracy']:.4f} ({report['accuracy_low']:.4f} to {report['accuracy_high']:.4f}, {report['rows']:,} rows)"
    )


def main() -> None:
    """Entry point: a person's mistake is one line and status 2, and loses nothing."""
    switch_off()
    try:
        app()
    except HeadwayError as error:
        if DEBUG in os.environ:
            raise
        print(f"headway: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("headway: interrupted; run it again to continue", file=sys.stderr)
        sys.exit(130)
