"""What the forked processes run. The process that they are forked from imports this module, and with it whatever they need."""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module
from pathlib import Path

from headway import environment

environment.configure()

from flows import pipeline  # noqa: E402 - the environment is configured first, as the command line does
from flows.execution import exclusive  # noqa: E402
from headway import cli  # noqa: E402
from headway.layout import Layout  # noqa: E402
from headway.params import load  # noqa: E402
from headway.tracking import Tracker  # noqa: E402

#: Imported by commands and libraries only when they are needed.
LATE = (
    "headway.stages.ingest",
    "headway.stages.prepare",
    "headway.stages.tokenize",
    "headway.stages.baseline",
    "headway.stages.tune",
    "headway.stages.tune.trials",
    "headway.stages.train",
    "headway.stages.evaluate",
    "headway.stages.report",
    "headway.search.objective",
    "headway.search.study",
    "headway.reporting.study.live",
    "headway.reporting.training",
    "headway.promotion.promote",
    "headway.promotion.commands",
    "headway.champion_monitor.auto_rollback",
    "headway.champion_monitor.monitor",
    "headway.champion_monitor.publication",
    "headway.serving.batch.inputs",
    "headway.serving.log.batch",
    "headway.serving.log.label_files",
    "headway.serving.http.app",
    "headway.serving.http.server",
    "headway.registry.sources",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "sklearn.linear_model",
    "scipy.stats",
    "benchmarks.kills.outcomes",
    "benchmarks.kills.processes",
)
for _name in LATE:
    import_module(_name)


def nothing() -> None:
    """Does nothing: the first process waits until everything is imported."""


def headway(*words: str) -> None:
    """The command line."""
    sys.argv = ["headway", *words]
    cli.main()


def gate() -> None:
    """What the flow does after its stages, by the flow's own function, without Prefect."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s", force=True)
    vars(pipeline)["get_run_logger"] = lambda: logging.getLogger("gate")  # there is no flow run
    layout = Layout.find()
    params = load(layout.params)
    with exclusive(layout):
        tracker = Tracker(params, layout)
        with tracker.execution():
            outcome = pipeline.gate.fn(params, layout, tracker)
    print(outcome.result)  # noqa: T201


def settle() -> None:
    """Open MLflow's database, which follows a project that was copied to another folder."""
    layout = Layout.find()
    Tracker(load(layout.params), layout)


def observe(kind: str, out: Path) -> None:
    """Write what a job has left in this folder, see :mod:`benchmarks.kills.outcomes`, as JSON."""
    outcomes = import_module("benchmarks.kills.outcomes")
    out.write_text(json.dumps(outcomes.OUTCOMES[kind](Path.cwd())), encoding="utf-8")
