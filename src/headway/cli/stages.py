"""One command per stage of dvc.yaml: run it in the project around the working directory and print one or two lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from headway.cli.project import project, tracker
from headway.cli.streams import say
from headway.cli.workers import Address, Executor, require_ray_for
from headway.phrases import counted, listed
from headway.process import die_with_dvc

if TYPE_CHECKING:
    from headway.layout import Layout
    from headway.params import Params

app = typer.Typer()
Result = TypeVar("Result")
#: Remarks on the data that the stage prepare prints.
SHOWN_REMARKS = ("look_alikes", "label_map_unused", "new_classes", "unmatched", "train_until", "later_classes")
PANEL = "Stages (called by dvc.yaml in this order)"


@app.command(rich_help_panel=PANEL)
def ingest() -> None:
    """Read the labelled texts into data/raw."""
    from headway.stages.ingest import ingest as stage

    manifest = _run(stage)
    unreadable = f", {manifest.unreadable:,} unreadable" if manifest.unreadable else ""
    say(f"{manifest.rows:,} rows of {manifest.source}{unreadable}: " + _counts(manifest.label_counts))
    if manifest.corrections:
        say(f"{counted(manifest.corrections.rows, 'label')} corrected by {listed(manifest.corrections.files, 3)}")


@app.command(rich_help_panel=PANEL)
def prepare(
    workers: Annotated[
        int,
        typer.Option(min=0, help="Processes; 0 for one per core and 50,000 rows, at most 8, or one per CPU with --address."),
    ] = 0,
    executor: Executor = "processes",
    address: Address = "",
) -> None:
    """Clean the rows and split them into data/prepared. The options change the time that it takes, not what it writes."""
    from headway.reporting.data.remarks import remarks
    from headway.stages.prepare import prepare as stage
    from headway.stages.prepare.spread import Workers

    require_ray_for(address, executor)
    report = _run(partial(stage, workers=Workers(workers, executor, address)))
    quarantined = {reason: count for reason, count in report.rows_quarantined.items() if count}
    say(
        f"{report.rows_in:,} rows in, {report.rows_kept:,} kept"
        + (f", in quarantine: {_counts(quarantined)}" if quarantined else "")
        + f"; splits: {_counts(report.splits)}"
    )
    for remark in remarks(report.model_dump()):
        if remark.warning and remark.key in SHOWN_REMARKS:
            say(f"! {remark.words.striptags()}")


@app.command(rich_help_panel=PANEL)
def tokenize() -> None:
    """Fit the tokenizer and encode the splits into data/encoded."""
    from headway.stages.tokenize import tokenize as stage

    report = _run(stage)
    print(
        f"vocabulary of {report.vocabulary_size:,}; {report.splits['train'].tokens:,} training tokens; "
        f"{report.splits['validation'].unknown_share:.1%} of the validation tokens are unknown"
    )


@app.command(rich_help_panel=PANEL)
def baseline() -> None:
    """Fit and score the linear baseline."""
    from headway.stages.baseline import baseline as stage

    print(f"linear baseline: test accuracy {_accuracy(_run(stage)['test'])}")


@app.command(rich_help_panel=PANEL)
def tune() -> None:
    """Search hyperparameters. An interrupted search continues."""
    from headway.reporting.study.live import LiveProgress
    from headway.reporting.study.summary import summary_lines
    from headway.search.found import summary_of
    from headway.stages.tune import tune as stage

    die_with_dvc()
    layout, params = _checked_project()
    with LiveProgress(params.tune) as progress:
        stage(params, layout, lambda: tracker(params, layout), progress)
    for line in summary_lines(summary_of(layout), params.tune):
        say(line)


@app.command(rich_help_panel=PANEL)
def train() -> None:
    """Train the classifier. An interrupted training continues.

    Processes that torchrun starts, on one machine or several, train together; the first one writes the model.
    """
    from headway.model.launch import launched
    from headway.reporting.training import training_progress
    from headway.stages.train import take_part
    from headway.stages.train import train as stage

    die_with_dvc()
    layout, params = _checked_project()
    if (launch := launched()) and launch.rank:
        take_part(params, layout)
        print(f"process {launch.rank} of {launch.size} has taken part; process 0 has the model")
        return
    report = stage(params, layout, tracker(params, layout), training_progress("train"))
    parts = [f"{name} {report[name]['validation_accuracy']:.4f}" for name in ("ngrams", "attention") if name in report]
    print(f"validation accuracy {report['validation_accuracy']:.4f} ({', '.join(parts)} alone)")


@app.command(rich_help_panel=PANEL)
def evaluate() -> None:
    """Score the candidate on the test split: metrics, slices, mistakes."""
    from headway.evaluation.slices import without_rows
    from headway.files import read_json
    from headway.layout import Layout
    from headway.stages.evaluate import evaluate as stage

    print(f"candidate: test accuracy {_accuracy(_run(stage))}")
    if empty := without_rows(read_json(Layout.find().slices, made_by="evaluate")):
        say(empty)


@app.command(rich_help_panel=PANEL)
def report() -> None:
    """Draw the HTML pages in reports/ and the plots in plots/."""
    from headway.stages.report import report as stage

    say("pages: " + ", ".join(os.path.relpath(page) for page in _run(stage)))


def _run(stage: Callable[[Params, Layout], Result]) -> Result:
    die_with_dvc()
    layout, params = _checked_project()
    return stage(params, layout)


def _checked_project() -> tuple[Layout, Params]:
    """The project, whose params are checked before its first stage works, also for ``dvc repro``."""
    from headway.preflight import check_encoder, check_params

    layout, params = project()
    check_params(params)
    check_encoder(params, layout)
    return layout, params


def _counts(counts: Mapping[str, int], most: int = 8) -> str:
    """The largest counts, each with its name."""
    return listed([f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1])], most)


def _accuracy(scores: Mapping[str, Any]) -> str:
    from headway.reporting.formatting import interval, shown

    bounds = interval(scores["accuracy_low"], scores["accuracy_high"])
    return f"{shown(scores['accuracy'])} ({bounds}, {scores['rows']:,} rows)"
