"""Whether MLflow answers at an address. This is asked first, because MLflow's own retries take minutes."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlsplit

from sqlalchemy import create_engine
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from headway.errors import Unreachable, redact_credentials
from headway.mlflow_errors import URI_VARIABLE, database_file, describe
from headway.network import check_reachable

REMEDY = f"start that server, or correct or unset {URI_VARIABLE}, then run again"


def require_answer(uri: str) -> None:
    """Return if MLflow's server or database at this address answers. A file that is still to be created is left alone.

    Raises:
        Unreachable: it does not answer, or fails.
    """
    if uri.startswith("http"):
        server = f"MLflow at {redact_credentials(uri)}"
        status = check_reachable(f"{uri.rstrip('/')}/health", server, REMEDY)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unreachable(f"{server} answers with error {status}; see its log, then run again")
        return
    try:
        _connect(uri)
    except (SQLAlchemyError, OSError) as error:
        raise Unreachable(describe(error, uri)) from error


def _connect(uri: str) -> None:
    """Connect to a database once, and disconnect."""
    file = database_file(uri)
    if urlsplit(uri).scheme in ("", "file") or (file and not file.exists()):
        return
    try:
        engine = create_engine(uri, poolclass=NullPool)
    except ModuleNotFoundError as error:
        raise ArgumentError(f"Can't load plugin {error.name}") from error
    with engine.connect():
        pass
    engine.dispose()
