"""Checks of MLflow's database or server, without MLflow: whether it answers, and whether its schema is that of this MLflow."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from headway.doctor.check import FAULT, OK, WARNING, Check
from headway.errors import Unreachable, first_line, redact_credentials
from headway.layout import Layout
from headway.mlflow_errors import URI_VARIABLE, database_file, describe, latest_revision, schema_failure
from headway.registry.rest import MlflowServer, NotFound

#: How long a locked SQLite file and a database server are waited for.
LOCK_SECONDS, CONNECT_SECONDS = 1, 5


def tracking_uri(layout: Layout) -> str:
    """MLflow's address: that in MLFLOW_TRACKING_URI, else of the project's own database."""
    return os.environ.get(URI_VARIABLE) or layout.tracking_uri


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def is_missing(uri: str) -> bool:
    """Whether this is a SQLite database that is still to be created."""
    file = database_file(uri)
    return file is not None and not file.exists()


def is_empty(connection: Connection) -> bool:
    """Whether a database has no tables at all: a file of zero bytes, or a database that was just created on a server."""
    return not inspect(connection).get_table_names()


def check_mlflow(layout: Layout) -> Iterator[Check]:
    """Whether MLflow's database or server can be used."""
    uri = tracking_uri(layout)
    shown = redact_credentials(uri)
    if is_server(uri):
        yield from _check_server(uri, shown)
    elif urlsplit(uri).scheme in ("", "file"):
        remedy = f"correct {URI_VARIABLE}: expected http://, https://, postgresql:// or sqlite:///"
        yield Check("mlflow", FAULT, f"{shown}: Headway cannot use such an address", remedy)
    elif is_missing(uri):
        yield Check("mlflow", OK, f"{shown} is not there yet; the first run creates it")
    else:
        yield _check_schema(uri, shown)


def _check_schema(uri: str, shown: str) -> Check:
    with reading(uri) as connection:
        if is_empty(connection):
            return Check("mlflow", OK, f"{shown} is empty; the first run creates its tables")
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    latest = latest_revision()
    if found is None:
        return Check("mlflow", FAULT, f"{shown} has no schema of MLflow", "restore it from a backup")
    if latest and found != latest:
        failure = schema_failure(str(found), uri)
        return Check("mlflow", FAULT, f"{shown}: {failure.cause}", failure.remedy)
    return Check("mlflow", OK, f"{shown}, schema {found} of MLflow {importlib.metadata.version('mlflow')}")


def _check_server(uri: str, shown: str) -> Iterator[Check]:
    server, own = MlflowServer(uri), importlib.metadata.version("mlflow")
    with suppress(NotFound):  # an answer all the same
        server.get("/experiments/get-by-name", {"experiment_name": "Default"})
    version = server.version()
    if version.split(".")[:2] != own.split(".")[:2]:
        found = f"{shown} is MLflow {version}, here is {own}"
        yield Check(
            "mlflow", WARNING, found, f"install MLflow {own} on the server, or the Headway that was made for {version}"
        )
        return
    yield Check("mlflow", OK, f"{shown} answers, MLflow {version}")


@contextmanager
def reading(uri: str) -> Iterator[Connection]:
    """A connection to MLflow's database that writes nothing.

    Raises:
        Unreachable: it does not answer, is locked or damaged, or does not have the tables that are asked for.
    """
    file = database_file(uri)
    try:
        if file is not None:
            address = f"sqlite:///file:{quote(str(file.absolute()))}?mode=ro&uri=true"
            engine = create_engine(address, poolclass=NullPool, connect_args={"timeout": LOCK_SECONDS})
        else:
            options = {"connect_timeout": CONNECT_SECONDS} if uri.startswith("postgresql") else {}
            engine = create_engine(uri, poolclass=NullPool, connect_args=options)
        with engine.connect() as connection:
            yield connection
        engine.dispose()
    except (SQLAlchemyError, OSError, ImportError) as error:
        if "no such table" in str(error) or "UndefinedTable" in str(error):
            where = redact_credentials(uri)
            raise Unreachable(
                f"{where} does not have MLflow's tables ({first_line(error)}); restore it from a backup"
            ) from None
        raise Unreachable(describe(error, uri)) from None


def local_folder(location: str, layout: Layout) -> Path | None:
    """The folder of artifacts at an address of MLflow's in the project, wherever the project was at that time; None elsewhere."""
    _, found, below = location.partition(f"/{layout.artifacts.relative_to(layout.root).as_posix()}/")
    return layout.artifacts / unquote(below) if found and location.startswith(("file:", "/")) else None
