"""Opens the source of the model that a service answers with.

It is here and not in :mod:`headway.serving`, because the registry is a layer above: it fetches packages that ``serving`` reads.
Importing this module does not import MLflow.
"""

from __future__ import annotations

import os
from pathlib import Path

from headway import ALIASES
from headway.errors import HeadwayError
from headway.registry.location import is_registered, locate
from headway.serving.live.source import FolderSource, ModelSource

ADVICE = "run it in a project, or set MLFLOW_TRACKING_URI and name the registered model"


def open_source(
    where: str,
    *,
    model_name: str | None = None,
    tracking_uri: str | None = None,
    project: str | os.PathLike[str] | None = None,
) -> ModelSource:
    """The source that a name stands for, by the rule of :func:`headway.load`; no server is asked yet.

    A registered model is read by MLflow's client where MLflow is installed, because it knows all stores, and otherwise through
    the REST API of an MLflow server.

    Args:
        where: ``champion``, ``challenger``, the number of a version, or the folder of a package.
        model_name: of the registered model, by default that in the project's params.yaml.
        tracking_uri: of MLflow, by default that in ``MLFLOW_TRACKING_URI``, otherwise the project's own database.
        project: a folder inside of a project, by default the working directory.

    Raises:
        HeadwayError: there is no such folder, no project, or MLflow is needed and not installed.
    """
    if not is_registered(where):
        folder = Path(where)
        try:
            found = bool(where) and folder.is_dir()
        except OSError as error:
            raise HeadwayError(f"{where[:200]}: cannot be read: {error.strerror}") from None
        if not found:
            raise HeadwayError(f"{where[:200]!r}: not a folder, an alias ({' or '.join(ALIASES)}) or a version number")
        return FolderSource(folder)
    uri, name = locate(project, model_name, tracking_uri, ADVICE)
    try:
        from headway.registry.client_source import ClientSource
    except ModuleNotFoundError as error:
        if not uri.startswith(("http://", "https://")):
            raise HeadwayError(
                f"{uri}: needs the package {error.name}, which is not installed; install MLflow, or set MLFLOW_TRACKING_URI to "
                "the address of an MLflow server"
            ) from None
        from headway.registry.rest_source import RestSource

        return RestSource(uri, name, where)
    return ClientSource(uri, name, where)
