"""Environment variables set before the libraries that read them are imported: telemetry off, network off, PATH."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: Set by ``headway --debug``, and inherited by child processes: errors are shown with their traceback.
DEBUG = "HEADWAY_DEBUG"
VARIABLES = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The embedded server starts in seconds, but takes longer on a busy or new machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Models are copied between local folders; a progress bar is noise.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "true",
}


def configure() -> None:
    """Set the variables that are not set yet, and put the folder of this Python first on PATH.

    DVC and others find programs such as ``uvicorn`` through PATH; they must find those of this environment.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    programs = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "").split(os.pathsep)
    if path[0] != programs:
        os.environ["PATH"] = os.pathsep.join([programs, *path])
