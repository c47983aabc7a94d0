"""Commands about the whole project: run it, schedule it, check its params, browse its experiments."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

from headway.cli.project import flows, project, tracker

app = typer.Typer()
PANEL = "Project"


@app.command(rich_help_panel=PANEL)
def run() -> None:
    """Run every stage that is out of date, then decide on the candidate."""
    flows("pipeline").main()


@app.command(rich_help_panel=PANEL)
def schedule(
    cron: Annotated[str, typer.Option(help='When to retrain, as a cron expression such as "0 3 * * *".')],
) -> None:
    """Retrain on a schedule (needs a Prefect server).

    Runs in this process until Ctrl+C. A run that would overlap another is cancelled.
    """
    flows("deploy").serve(cron)


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
    uri = tracker(params, layout).uri
    if not uri.startswith("sqlite"):
        print(f"MLFLOW_TRACKING_URI is set: browse {redact_credentials(uri)}")
        return
    print(f"MLflow: http://127.0.0.1:{port} (Ctrl+C to stop)", flush=True)
    command = ["mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    os.execvp("mlflow", [*command, "--port", str(port), "--workers", "1"])
