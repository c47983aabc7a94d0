"""Where registered models are: the rule of :func:`headway.load` and ``headway serve``. MLflow is not needed to apply it."""

from __future__ import annotations

import os
from pathlib import Path

from headway import ALIASES
from headway.errors import HeadwayError


def is_registered(where: str) -> bool:
    """Whether a name is an alias or the number of a version; otherwise it is a folder."""
    return where in ALIASES or (where.isascii() and where.isdigit())


def locate(
    project: str | os.PathLike[str] | None, model_name: str | None, tracking_uri: str | None, advice: str
) -> tuple[str, str]:
    """MLflow's tracking URI and the name of the registered model.

    Args:
        project: a folder inside of a project; None for the working directory.
        model_name: if it is given, params.yaml is not read for it.
        tracking_uri: by default that in ``MLFLOW_TRACKING_URI``, otherwise the project's own database.
        advice: what to do where there is no project, for the error.

    Raises:
        HeadwayError: there is no project, or it has no registered models yet.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri and model_name and project is None:
        return uri, model_name
    from headway.layout import Layout

    try:
        layout = Layout.find(None if project is None else Path(project))
    except HeadwayError as error:
        raise HeadwayError(f"{error}; {advice}") from None
    from headway.params import load as load_params

    model_name = model_name or load_params(layout.params).registry.model_name
    if not uri:
        from headway.tracking_database import follow_move

        if not layout.tracking_database.is_file():
            raise HeadwayError(f"{layout.root} has no registered models yet; run `make run` there first")
        follow_move(layout)
        uri = layout.tracking_uri
    return uri, model_name
