"""The project's own MLflow database, a SQLite file: made whole or not at all, and brought along when the project's folder moves.

MLflow creates its tables in many steps, and a database that was left in between can never be opened again. It also keeps the
absolute address of every artifact. This module needs no MLflow, except to create a database.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from headway.errors import HeadwayError, first_line
from headway.layout import Layout
from headway.mlflow_errors import describe

#: Where MLflow keeps addresses of artifacts: table, column, and which of the table's rows.
LOCATIONS = (
    ("experiments", "artifact_location", ""),
    ("runs", "artifact_uri", ""),
    ("logged_models", "artifact_location", ""),
    ("model_versions", "storage_location", ""),
    ("model_versions", "source", ""),
    ("trace_tags", "value", "key = 'mlflow.artifactLocation' AND "),
)
REVISION = "alembic_version"
#: Tables whose rows are somebody's work, and which of the rows: MLflow itself makes experiment 0.
CONTENT = {"runs": "", "registered_models": "", "logged_models": "", "experiments": "WHERE experiment_id != 0"}
#: Queries for the project's own experiments, the surest first.
OWN_EXPERIMENTS = (
    "0",
    "SELECT experiment_id FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid WHERE tags.key = 'headway.kind'",
)
#: Endings of the files that SQLite keeps beside a database.
SIDECARS = ("-journal", "-wal", "-shm")
SECONDS_TO_WAIT = 20.0


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the lock under which the database and the experiment are created, because concurrent creation fails.

    Raises:
        HeadwayError: the folder cannot be written.
    """
    with writable(layout):
        layout.scratch.mkdir(exist_ok=True)
        lock = FileLock(layout.scratch / "tracking.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def prepare(layout: Layout) -> None:
    """Create the database if there is none, and adjust it if the project was moved or copied. The caller holds the lock.

    A database whose creation was killed, by an older Headway or by an ``mlflow`` command, is created anew if it is empty.

    Raises:
        HeadwayError: the folder cannot be written, or the database is damaged.
    """
    database = layout.tracking_database
    if "?" in str(database):
        raise HeadwayError(f"{layout.root}: MLflow cannot open a database below a folder with ? in its name; rename it")
    with writable(layout):
        layout.tracking.mkdir(exist_ok=True)
        for stale in layout.tracking.glob(f"{database.name}.partial*"):
            stale.unlink()
        if not database.is_file() or _is_unfinished(database):
            _create(layout)
    _replace_old_roots(layout)


def follow_move(layout: Layout) -> None:
    """Adjust an existing database if the project was moved or copied; otherwise nothing is written or locked.

    Raises:
        HeadwayError: the database cannot be written, or is damaged.
    """
    with _opened(layout.tracking_database) as connection:
        moved = bool(_old_roots(connection, layout))
    if moved:
        with locked(layout):
            _replace_old_roots(layout)


def unused_bytes(layout: Layout) -> int:
    """Size of the pages of the database file that hold nothing."""
    with _opened(layout.tracking_database) as connection:
        (pages,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_size"))
    return int(pages) * int(size)


def shrink(layout: Layout) -> None:
    """Give unused space of the database file back to the file system; a kill leaves the file as it was.

    Raises:
        HeadwayError: another program uses the database, or the disk is full.
    """
    with locked(layout), _opened(layout.tracking_database) as connection:
        connection.execute("VACUUM")


@contextmanager
def writable(layout: Layout) -> Iterator[None]:
    """Turn a folder or disk that cannot be written into one line.

    Raises:
        HeadwayError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise HeadwayError(
            f"{error.filename or layout.root}: cannot be written ({error.strerror or first_line(error)}); "
            f"make {layout.root} writable for this user, and check that its disk has free space"
        ) from None


def _create(layout: Layout) -> None:
    """Create the database under another name, and rename it once it is complete."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database = layout.tracking_database
    partial = database.with_name(f"{database.name}.partial")
    store = SqlAlchemyStore(f"sqlite:///{partial}", layout.artifacts.as_uri())
    store.engine.dispose()
    with _opened(partial) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # nothing stays in a file beside it
    # An unfinished database goes first: SQLite would apply its journal to the new one.
    for ending in ("", *SIDECARS):
        database.with_name(database.name + ending).unlink(missing_ok=True)
    os.replace(partial, database)


def _is_unfinished(database: Path) -> bool:
    """Whether the creation of a database was interrupted and it holds no runs or models.

    Raises:
        HeadwayError: it is incomplete and holds some, or it is damaged.
    """
    with _opened(database) as connection:
        tables = _tables(connection)
        revision = connection.execute(f"SELECT version_num FROM {REVISION}").fetchone() if REVISION in tables else None
        filled = [table for table, rows in CONTENT.items() if table in tables and _any(connection, f"{table} {rows}")]
    if filled and not revision:
        raise HeadwayError(
            f"{database}: MLflow's tables are incomplete, but there are rows in {' and '.join(filled)}; "
            "restore the file from a backup"
        )
    return not filled and (revision is None or _precedes_this_mlflow(revision[0]))


def _precedes_this_mlflow(revision: str) -> bool:
    """Whether this MLflow would have to migrate a database of this revision. False for one of a newer MLflow."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    scripts = ScriptDirectory.from_config(_get_alembic_config(""))
    known = {script.revision for script in scripts.walk_revisions()}
    return revision in known - set(scripts.get_heads())


def _replace_old_roots(layout: Layout) -> None:
    """Replace the root folder in all addresses of artifacts by the project's, in one transaction."""
    with _opened(layout.tracking_database) as connection:
        if not _old_roots(connection, layout):
            return
        connection.execute("BEGIN IMMEDIATE")
        tables = _tables(connection)
        for old in _old_roots(connection, layout):
            path = unquote(urlsplit(old).path)
            for before, after in ((f"{old}/", f"{layout.root.as_uri()}/"), (f"{path}/", f"{layout.root}/")):
                for table, column, rows in LOCATIONS:
                    if table in tables:
                        connection.execute(
                            f"UPDATE {table} SET {column} = :after || substr({column}, length(:before) + 1) "
                            f"WHERE {rows}substr({column}, 1, length(:before)) = :before",
                            {"before": before, "after": after},
                        )
        connection.execute("COMMIT")


def _old_roots(connection: sqlite3.Connection, layout: Layout) -> list[str]:
    """Addresses of root folders, other than the project's, below which the project's own experiments keep their artifacts.

    Experiment 0 is created together with the database and tells where that was. If somebody removed or relocated it, the
    experiments with runs of Headway do. Other experiments may belong to other folders or stores and are not considered.
    """
    if not {"experiments", "runs", "tags"} <= _tables(connection):
        return []
    ending = f"/{layout.artifacts.relative_to(layout.root).as_posix()}"
    for experiments in OWN_EXPERIMENTS:
        found = connection.execute(
            f"SELECT DISTINCT artifact_location FROM experiments WHERE experiment_id IN ({experiments})"
        )
        locations = [str(location) for (location,) in found]
        if roots := {one.removesuffix(ending) for one in locations if one.startswith("file:") and one.endswith(ending)}:
            return sorted(roots - {layout.root.as_uri()})
    return []


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a database. An error of SQLite becomes one line.

    Raises:
        HeadwayError: the database is damaged, cannot be opened, or stays locked.
    """
    try:
        with closing(sqlite3.connect(database, timeout=SECONDS_TO_WAIT, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise HeadwayError(describe(error, f"sqlite:///{database}")) from None


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _any(connection: sqlite3.Connection, rows: str) -> bool:
    return connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchone() is not None
