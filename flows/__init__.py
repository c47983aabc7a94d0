"""Flows: the stage graph as Prefect runs it, then the gate and promotion; and how retraining is scheduled.

Importing this package settles Prefect's environment, which has to happen before Prefect itself is imported.
"""

import os
from pathlib import Path

from headway import environment


def _keep_prefect_in_the_project() -> None:
    """Without a server or a profile of the user's own, Prefect's database lies in the project, not in the home folder."""
    chosen = {"PREFECT_HOME", "PREFECT_API_URL", "PREFECT_PROFILE"} & os.environ.keys()
    if not chosen and not (Path.home() / ".prefect" / "profiles.toml").exists():
        home = Path(__file__).resolve().parent.parent / ".headway" / "prefect"
        home.mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = str(home)


environment.configure()
_keep_prefect_in_the_project()
