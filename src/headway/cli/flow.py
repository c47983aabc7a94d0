"""Commands about the whole project: run it, schedule it, check its params, browse its experiments."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from typing import Annotated

import typer

from headway.cli.monitor import warn
from headway.cli.project import flows, project, tracker
from headway.cli.streams import say

app = typer.Typer()
PANEL = "Project"


@app.command(rich_help_panel=PANEL)
def run() -> None:
    """Run every stage that is out of date, then decide on the candidate."""
    flows("pipeline").main()


@app.command(rich_help_panel=PANEL)
def retrain(
    if_needed: Annotated[
        bool, typer.Option("--if-needed", help="Monitor the champion first, and run only if there is a reason, see retrain.")
    ] = False,
) -> None:
    """Run every stage that is out of date, with the labelled answers that have arrived; with --if-needed only for a reason.

    For cron, where no Prefect server schedules runs.
    """
    if if_needed and not _is_needed():
        return
    flows("pipeline").main()


def _is_needed() -> bool:
    """Print the reasons for a retraining, or why there is none."""
    from headway.champion_monitor.feedback import collect_feedback
    from headway.champion_monitor.monitor import monitor_log
    from headway.champion_monitor.publication import publish
    from headway.champion_monitor.triggers import labels_since, reasons_to_retrain
    from headway.promotion import history
    from headway.promotion.history_queries import current_champion
    from headway.promotion.project import Project
    from headway.registry.registry import Registry
    from headway.serving.log.store import located
    from headway.serving.log.writer import open_log

    layout, params = project()
    found = Project(params, layout, Registry(tracker(params, layout)))
    decisions = history.decisions(found.registry)
    record, labels = None, 0
    if params.serving.log.folder:
        since = datetime.fromisoformat(decisions[-1].when) if decisions else None
        labels = labels_since(open_log(located(params.serving.log, layout.root)), since)
        if current_champion(decisions) is not None:
            record = monitor_log(found)
            publish(found, record, warn)
    reasons = reasons_to_retrain(params.retrain, decisions, record, labels)
    if not reasons:
        unmonitored = "there is no champion" if params.serving.log.folder else "serving.log.folder is empty"
        status = f"monitoring: {record.status}" if record else f"nothing is monitored, because {unmonitored}"
        say(f"no retraining: {status}; {labels:,} labels since the last decision")
        return False
    execution = flows("execution")
    with execution.exclusive(layout):
        if params.data.feedback:
            collect_feedback(found)
        changed = execution.changed_stages(layout)
    if changed == set():
        say(
            f"no retraining: {'; '.join(reasons)}; but a run would change nothing, because data, params and code are the same"
        )
        return False
    say(f"retraining: {'; '.join(reasons)}")
    return True


@app.command(rich_help_panel=PANEL)
def schedule(
    cron: Annotated[str, typer.Option(help='When to retrain, as a cron expression such as "0 3 * * *".')],
    timezone: Annotated[
        str | None, typer.Option(help="Time zone of the schedule, such as Europe/Berlin; by default this machine's.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Local port of the Prefect server that is started; by default 4200 or a free one.")
    ] = None,
    monitor: Annotated[
        str,
        typer.Option(help='When to monitor the champion too, such as "0 * * * *". An alarm starts a retraining at once.'),
    ] = "",
) -> None:
    """Retrain on a schedule.

    Runs in this process until Ctrl+C. A run that would overlap another is cancelled. Starts a Prefect server, unless
    PREFECT_API_URL names one or `headway server` is running.
    """
    flows("deploy").serve(cron, timezone, port, monitor)


@app.command(rich_help_panel=PANEL)
def server(
    port: Annotated[int | None, typer.Option(help="Local port to serve on; by default 4200 or a free one.")] = None,
) -> None:
    """Run a Prefect server for this project: for workers, and to browse flow runs.

    It is reachable from this machine only and asks for a password, which is kept with the address in a file that only you can
    read. Ends with Ctrl+C.
    """
    flows("deploy").run_server(port)


@app.command(name="params", rich_help_panel=PANEL)
def show_params(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema instead.")] = False,
) -> None:
    """Check params.yaml and print its values."""
    from headway.params import Params

    if schema:
        print(json.dumps(Params.model_json_schema(), indent=2))
        return
    from ruamel.yaml import YAML

    _, params = project()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(params.model_dump(), sys.stdout)


@app.command(rich_help_panel=PANEL)
def ui(port: Annotated[int, typer.Option(help="Local port to serve on.")] = 5000) -> None:
    """Browse experiments and model versions in MLflow's web interface."""
    from headway.errors import redact_credentials

    layout, params = project()
    connection = tracker(params, layout)
    uri = connection.uri
    if not uri.startswith("sqlite"):
        say(f"MLFLOW_TRACKING_URI is set: browse {redact_credentials(uri)}")
        return
    if layout.page("index").is_file():
        say(f"Pages of the last run: {layout.page('index')}")
    print(f"MLflow: http://127.0.0.1:{port}/{connection.runs_path} (Ctrl+C to stop)", flush=True)
    hosts = [f"127.0.0.1:{port}", f"localhost:{port}"]
    command = ["mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # By default, MLflow answers under any private address too. Pages that programs on this machine serve are always accepted.
    pinned = ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(f"http://{host}" for host in hosts)]
    os.execvp("mlflow", [*command, *pinned])
