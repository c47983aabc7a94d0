"""Telemetry off, network off, and this environment's programs first: set before any library that reads it is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: Set by ``headway --debug``, for the processes below too: errors come with their traceback.
DEBUG = "HEADWAY_DEBUG"
SWITCHES = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The embedded server needs some seconds, on a busy or new machine many.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Copying a model of our own from one folder to another needs no bar.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "true",
}


def switch_off() -> None:
    """Set the switches that the environment does not set itself, and put this Python's folder first on PATH."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    programs = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "").split(os.pathsep)
    if path[0] != programs:
        os.environ["PATH"] = os.pathsep.join([programs, *path])
