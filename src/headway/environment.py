"""What is set before other libraries are imported: their environment variables (telemetry off, network off, proxies, PATH), and
logs without credentials and control characters."""

from __future__ import annotations

import logging
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from headway.credentials import redact_credentials
from headway.foreign_text import lines

#: Set by ``headway --debug``, and inherited by child processes: errors are shown with their traceback.
DEBUG = "HEADWAY_DEBUG"
VARIABLES = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Models are copied between local folders; a progress bar is noise.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # These lines would show the tracking server's address with its password.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    # Files go through MLflow's server. Its client would fetch them at a bucket's own address, which only the server may reach.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "true",
    # PyTorch warns each process of a training that looking for unused parameters takes time, which is known.
    "TORCH_CPP_LOG_LEVEL": "ERROR",
}

#: How often a thread of GNU's OpenMP, which PyTorch uses on Linux, looks whether the others are ready before it sleeps. By
#: default it looks 300,000 times, which is fastest on a quiet machine. But if another process has the core of one thread, the
#: others spin until it runs again, and training falls to a sixth. benchmarks/notes.md has the measurements.
SPINNING = "GOMP_SPINCOUNT"
#: Variables of OpenMP libraries that set the same; a user's own value wins.
WAITING = (SPINNING, "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
#: Set beside our own value of SPINNING, so that a child process can decide again.
CHOSEN = "HEADWAY_SPINNING"
#: Where Linux reports how many threads run or wait for a core right now, and how often that is read, in seconds.
RUNNING, SAMPLES, INTERVAL = Path("/proc/loadavg"), 15, 0.002
#: Cores that training needs for itself: the default of training.threads.
NEEDED = 2

#: Variables that name a proxy. Libraries read them in either case.
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy")
#: The names of this machine's loopback interface, which no proxy can reach.
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def limit_spinning() -> None:
    """If other processes use the cores, let OpenMP's threads sleep while they wait; results do not depend on it.

    Nothing changes if the user sets a variable in WAITING, or if PyTorch has loaded OpenMP already. Importing the package calls
    this, so it holds in every process that imports Headway first.
    """
    is_ours = CHOSEN in os.environ and os.environ.get(SPINNING) == "0"
    if "torch" in sys.modules or (not is_ours and any(name in os.environ for name in WAITING)):
        return
    if is_busy():
        os.environ[SPINNING] = "0"
        os.environ[CHOSEN] = "busy when started"
    elif is_ours:
        del os.environ[SPINNING], os.environ[CHOSEN]


def is_busy() -> bool:
    """Whether other processes leave fewer cores free than training needs; False where the system does not tell at once."""
    others = []
    try:
        for sample in range(SAMPLES):
            if sample:
                time.sleep(INTERVAL)
            running = RUNNING.read_text(encoding="ascii").split()[3].partition("/")[0]
            others.append(int(running) - 1)  # the reader runs too
    except (OSError, ValueError, IndexError):
        return False
    return statistics.median(others) > (os.cpu_count() or 1) - NEEDED


def configure() -> None:
    """Set the variables that are not set yet, put the folder of this Python first on PATH, and guard the logs.

    DVC and others find programs such as ``uvicorn`` through PATH; they must find those of this environment.
    """
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    guard_logs()
    keep_loopback_off_proxies()
    programs = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "").split(os.pathsep)
    if path[0] != programs:
        os.environ["PATH"] = os.pathsep.join([programs, *path])


def guard_logs() -> None:
    """Remove credentials and control characters from the messages and tracebacks of all loggers, whichever library logs and
    wherever to."""
    create = logging.getLogRecordFactory()
    if getattr(create, "guards", False):
        return

    def guarded(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = create(*args, **kwargs)
        if record.exc_info and record.exc_info[0]:
            traceback = logging.Formatter().formatException(record.exc_info)
            if (clean := lines(redact_credentials(traceback))) != traceback:
                record.exc_text = clean  # formatters take it instead of formatting exc_info
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # the handler reports that arguments and format disagree
            return record
        if (clean := lines(redact_credentials(message))) != message:
            record.msg, record.args = clean, None
        return record

    guarded.guards = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(guarded)


def keep_loopback_off_proxies() -> None:
    """Add the loopback names to NO_PROXY if there is a proxy. The entries of both spellings are kept, in both spellings.

    Without a proxy nothing is set, because on macOS a NO_PROXY alone makes Python ignore the system's proxies.
    """
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in PROXIES):
        return
    listed = ",".join(os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")).split(",")
    exempt = ",".join(dict.fromkeys([*filter(None, map(str.strip, listed)), *LOOPBACK]))
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = "*" if "*" in exempt.split(",") else exempt
