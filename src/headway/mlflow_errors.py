"""What went wrong with MLflow and what to do about it, in one line for each kind of failure.

MLflow is not imported: an error is recognised by the messages of the errors that caused it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from headway.errors import first_line, redact_credentials

URI_VARIABLE = "MLFLOW_TRACKING_URI"
#: Free bytes below which an error of the disk means that it is full.
FULL = 1 << 20

FULL_DISK = "the disk is full", "free space on the disk of {place}, then run again"
NO_ACCESS = "no permission to read and write its files", "make {place} readable and writable for you, then run again"
DAMAGED = "the database file is damaged", "restore {file} from a backup"
NEWER = "a newer MLflow than {mlflow} made the database", "install the version of Headway or MLflow that made it"
OLDER = (
    "an older MLflow than {mlflow} made the database",
    "back it up and run `{upgrade}`, or use the version of Headway that made it",
)
LOGIN = (
    "the server asks for a user and a password",
    "{set} MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, then run again",
)
NO_MLFLOW = "there is no MLflow server at this address", "correct {variable}"

#: For each kind of failure a pattern of the errors' messages, the cause and the remedy. The first match counts.
#: ``{found}`` is what the pattern's group matched.
FAILURES: tuple[tuple[str, str, str], ...] = (
    # A server over HTTP.
    ("Invalid Host header", "the server refuses the host name {host}", "add {host} to the server's --allowed-hosts"),
    ("error code 401|401 Client Error|UNAUTHENTICATED", *LOGIN),
    (
        "error code 403|403 Client Error|PERMISSION_DENIED",
        "the server refuses access to this user",
        "ask its administrator for access, or {set} MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
    ),
    (r"experiments/get-by-name failed with error code 404|not in a valid JSON format", *NO_MLFLOW),
    (
        r"API request to endpoint (\S+) failed with error code 404",
        "the server has no {found}, so it is older than {mlflow}",
        "upgrade the server",
    ),
    (
        r"(?:too many |failed with error code )(5\d\d)|(5\d\d) Server Error",
        "the server answers with error {found}",
        "see the server's log, then run again",
    ),
    # A database.
    ("database or disk is full|No space left on device|Disk quota exceeded|File too large", *FULL_DISK),
    ("disk I/O error", "the disk reports an error", "check free space, quota and health of the disk of {place}"),
    ("file is not a database|disk image is malformed", *DAMAGED),
    (
        "database is locked",
        "another process keeps the database locked",
        "wait for that process or end it, then run again",
    ),
    ("readonly database|unable to open database file|Permission denied|Read-only file system", *NO_ACCESS),
    ("Can't locate revision", *NEWER),
    (
        "password authentication failed|no password supplied",
        "the database refuses the user or the password",
        "set PGPASSWORD, or add the database to ~/.pgpass, then run again",
    ),
    (r'database "([^"]+)" does not exist', "the server has no database {found}", "create it, or correct {variable}"),
    # Either.
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted", "set REQUESTS_CA_BUNDLE to the file of its authority"),
    ("WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE", "the server does not use HTTPS", "begin {variable} with http://"),
    (
        "(Connection refused|Name or service not known|Temporary failure in name resolution|timed out|No route to host"
        "|Network is unreachable|Connection reset by peer|Connection aborted|server closed the connection)",
        "it does not answer ({found})",
        "start that server{or_unset}, then run again",
    ),
    (
        "unsupported URI|is not supported|in maintenance mode|Could not parse SQLAlchemy URL|Can't load plugin"
        "|[Dd]atabricks",
        "Headway cannot use such an address",
        "correct {variable}: expected http://, https://, postgresql:// or sqlite:///",
    ),
)


@dataclass(frozen=True)
class Failure:
    """What is wrong, and what to do about it."""

    cause: str
    remedy: str


def describe(error: BaseException, uri: str) -> str:
    """One line about an error: MLflow's address, the cause and the remedy, without credentials."""
    failure = explain(error, uri)
    return f"MLflow at {redact_credentials(uri)} failed: {failure.cause}; {failure.remedy}"


def explain(error: BaseException, uri: str) -> Failure:
    """The cause of an error of MLflow at this address, and the remedy."""
    text = "\n".join(_messages(error))
    place = _place(uri)
    if schema := re.search(r"out-of-date database schema \(found version (\w+)", text):
        return schema_failure(schema[1], uri)
    if "disk I/O error" in text and place and shutil.disk_usage(place).free < FULL:
        return _filled(FULL_DISK, uri)
    for pattern, *words in FAILURES:
        if found := re.search(pattern, text):
            return _filled((words[0], words[1]), uri, next(filter(None, found.groups()), ""))
    return _filled(
        (first_line(error).replace("{", "{{").replace("}", "}}"), "run the command with --debug to see the whole error"), uri
    )


def schema_failure(revision: str, uri: str) -> Failure:
    """Why a database of another revision of MLflow's schema cannot be used, and the remedy."""
    return _filled(OLDER if revision in _revisions() else NEWER, uri)


def latest_revision() -> str:
    """The revision of the database schema that the installed MLflow uses, "" if that cannot be told."""
    earlier = {before for before in _revisions().values() if before}
    latest = [revision for revision in _revisions() if revision not in earlier]
    return latest[0] if len(latest) == 1 else ""


def _filled(words: tuple[str, str], uri: str, found: str = "") -> Failure:
    """A cause and a remedy with their placeholders filled in."""
    named = bool(os.environ.get(URI_VARIABLE))
    values = {
        "found": redact_credentials(found),
        "host": urlsplit(uri).netloc.rpartition("@")[2],
        "file": str(database_file(uri) or "it"),
        "place": str(_place(uri) or "the server"),
        "mlflow": f"MLflow {importlib.metadata.version('mlflow')}",
        "set": "check" if os.environ.get("MLFLOW_TRACKING_USERNAME") else "set",
        "variable": URI_VARIABLE,
        "or_unset": f" or unset {URI_VARIABLE}" if named else "",
        # With a password in it, the address is not shown.
        "upgrade": f"mlflow db upgrade {shlex.quote(uri) if uri == redact_credentials(uri) else f'${URI_VARIABLE}'}",
    }
    return Failure(*(one.format(**values) for one in words))


def database_file(uri: str) -> Path | None:
    """The file of a SQLite database, None for any other address."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def _place(uri: str) -> Path | None:
    """The folder of a SQLite database, or the nearest one above that exists; None for any other address."""
    file = database_file(uri)
    return next((folder for folder in file.absolute().parents if folder.is_dir()), None) if file else None


def _messages(error: BaseException | None) -> Iterator[str]:
    """The messages of an error and of what caused it, each after the name of its type."""
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__


@cache
def _revisions() -> dict[str, str]:
    """The revisions of the schema that the installed MLflow can upgrade from or uses, each with the one before it."""
    found = importlib.util.find_spec("mlflow")
    if found is None or found.origin is None:
        return {}
    scripts = (Path(found.origin).parent / "store" / "db_migrations" / "versions").glob("*.py")
    texts = (script.read_text(encoding="utf-8") for script in scripts)
    assigned = (dict(re.findall(r"""^(\w+)(?:: .+)? = ["'](\w+)["']""", text, re.MULTILINE)) for text in texts)
    return {one["revision"]: one.get("down_revision", "") for one in assigned if "revision" in one}
