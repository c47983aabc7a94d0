"""The stages and the promotion as a Prefect flow, and scheduled retraining. Only this package imports Prefect.

Importing it sets Prefect's environment, which has to happen before Prefect itself is imported.
"""

import os
from pathlib import Path

from headway import environment


def _keep_prefect_in_the_project() -> None:
    """Put Prefect's files into the project instead of the home folder, unless the user has chosen a folder or a profile.

    The address of a server is no such choice: the file with the password of the project's own server is in this folder.
    """
    chosen = {"PREFECT_HOME", "PREFECT_PROFILE"} & os.environ.keys()
    if not chosen and not (Path.home() / ".prefect" / "profiles.toml").exists():
        home = Path(__file__).resolve().parent.parent / ".headway" / "prefect"
        home.mkdir(parents=True, exist_ok=True)
        os.environ["PREFECT_HOME"] = str(home)


environment.configure()
_keep_prefect_in_the_project()
