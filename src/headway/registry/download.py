"""Reads the model package of a registered version from MLflow, with every hash checked: no project, no history, no pandas.

It imports MLflow and the packages of the ``serving`` extra, nothing else, so that a service can use it. Nothing is written to
the server, and MLflow's global settings stay as they are.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reads both when it is imported
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError
from yaml import YAMLError

from headway.environment import keep_loopback_off_proxies
from headway.errors import HeadwayError, Unreachable, first_line, redact_credentials
from headway.files import TEMPORARY_PREFIX
from headway.mlflow_connection import require_answer
from headway.mlflow_errors import describe
from headway.registry.about import LOGGED_MODEL, PROXIED
from headway.registry.unusable_version import UnusableVersion, loading
from headway.registry.version_ref import MODEL_TAG
from headway.serving import package
from headway.serving.latency import package_bytes

if TYPE_CHECKING:
    from headway.serving.package import ModelPackage

NOT_FOUND, INVALID = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"
#: What MLflow raises for files that are missing or damaged.
DAMAGE = (MlflowException, OSError, YAMLError, AttributeError, KeyError, TypeError)


def download(uri: str, model_name: str, where: str) -> ModelPackage:
    """The model package of a registered version.

    Args:
        uri: MLflow's tracking URI.
        model_name: name of the registered model.
        where: number of a version, or an alias.

    Raises:
        Unreachable: MLflow or its artifact store does not answer.
        HeadwayError: there is no such version, or its files are missing or altered.
    """
    client, version = find_version(uri, model_name, where)
    return fetch(client, version)[0]


def find_version(uri: str, model_name: str, where: str) -> tuple[MlflowClient, ModelVersion]:
    """A registered version, and the client that found it; for the arguments and errors see :func:`download`."""
    keep_loopback_off_proxies()
    require_answer(uri)
    client = MlflowClient(uri, uri)
    try:
        find = client.get_model_version if where.isdigit() else client.get_model_version_by_alias
        return client, find(model_name, where)
    except MlflowException as error:
        if error.error_code in (NOT_FOUND, INVALID) or _has_no_versions(client, model_name):
            wanted = f"version {where}" if where.isdigit() else where
            raise HeadwayError(
                f"model {model_name} has no {wanted} in MLflow at {redact_credentials(uri)}; "
                "it was never there or was removed, see `headway history`"
            ) from None
        raise Unreachable(describe(error, uri)) from error
    except (SQLAlchemyError, RequestException) as error:
        raise Unreachable(describe(error, uri)) from error


def _has_no_versions(client: MlflowClient, model_name: str) -> bool:
    """Whether there is no such registered model, for which a server with a login answers 403 if a version is asked for."""
    try:
        client.get_registered_model(model_name)
    except MlflowException as error:
        return bool(error.error_code == NOT_FOUND)
    return False


def fetch(client: MlflowClient, version: ModelVersion) -> tuple[ModelPackage, int]:
    """A version's package, and the size of its files in bytes.

    Raises:
        Unreachable: its files cannot be fetched, which does not mean that they are lost.
        UnusableVersion: its files were fetched, or are gone for good, and there is no such package in them.
    """
    return _fetch(client, f"version {version.version} of {version.name}", str(version.source), version.tags.get(MODEL_TAG))


def fetch_into(client: MlflowClient, version: ModelVersion, folder: Path) -> Path:
    """Fetch a version's files into an empty folder, check them, and return the folder of the package; errors as above."""
    what = f"version {version.version} of {version.name}"
    return _checked(client, what, str(version.source), version.tags.get(MODEL_TAG), str(folder))[2]


def fetch_files(client: MlflowClient, version: ModelVersion, folder: Path) -> Path:
    """Fetch a version's files into an empty folder, compare the fingerprint, and return the folder of the package.

    It is for a caller that loads the package, see :func:`headway.registry.unusable_version.loading`; the errors are those of
    :func:`fetch`.
    """
    what = f"version {version.version} of {version.name}"
    with loading(what, folder, *DAMAGE):
        return _package_folder(_files(client, what, str(version.source), str(folder)), version.tags.get(MODEL_TAG))


def is_intact(client: MlflowClient, model: LoggedModel, fingerprint: str) -> bool:
    """Whether the files of a logged model are complete and hold the package with this fingerprint.

    Raises:
        Unreachable: the files cannot be fetched, so this is unknown.
    """
    with suppress(UnusableVersion):
        _fetch(client, f"logged model {model.model_id}", str(model.artifact_location), fingerprint)
        return True
    return False


def _fetch(client: MlflowClient, what: str, source: str, recorded: str | None) -> tuple[ModelPackage, int]:
    """The package at an address, and its size; the errors are those of :func:`fetch`."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
        return _checked(client, what, source, recorded, folder)[:2]


def _checked(
    client: MlflowClient, what: str, source: str, recorded: str | None, folder: str
) -> tuple[ModelPackage, int, Path]:
    """The package at an address, its size, and where it is below ``folder``; the errors are those of :func:`fetch`."""
    with loading(what, Path(folder), *DAMAGE):
        found = _package_folder(_files(client, what, source, folder), recorded)
        return package.ModelPackage.load(found), package_bytes(found), found


def _files(client: MlflowClient, what: str, source: str, folder: str) -> Path:
    """Fetch the files at an address. Missing files raise MLflow's own error, or are noticed when the package is read."""
    try:
        if source.startswith(LOGGED_MODEL):  # resolved here, because MLflow resolves it by its global settings
            source = str(client.get_logged_model(source.removeprefix(LOGGED_MODEL)).artifact_location)
        return Path(mlflow.artifacts.download_artifacts(source, dst_path=folder, tracking_uri=client.tracking_uri))
    except Exception as error:  # every store's client raises its own types
        if isinstance(error, FileNotFoundError) or getattr(error, "error_code", "") == NOT_FOUND:
            raise
        if _is_empty_on_server(client, source):
            raise FileNotFoundError("its files are gone from MLflow's artifact store") from error
        raise Unreachable(
            f"the files of {what} cannot be fetched ({first_line(error)}); "
            "check that MLflow and its artifact store answer, then run again"
        ) from error


def _is_empty_on_server(client: MlflowClient, source: str) -> bool:
    """Whether a server that passes artifacts on answers, and has no files at this address.

    It is asked only after a failed download: MLflow reports missing files and a failing server with the same error.
    """
    if not source.startswith(PROXIED):
        return False
    try:
        return not mlflow.artifacts.list_artifacts(artifact_uri=source, tracking_uri=client.tracking_uri)
    except (MlflowException, OSError):
        return False


def _package_folder(model: Path, recorded: str | None) -> Path:
    """The package's folder in the files of an MLflow model; HeadwayError if its fingerprint is known and differs."""
    folder = Path(model / Model.load(str(model)).flavors["python_function"]["data"])
    if not folder.resolve().is_relative_to(model.resolve()):
        raise HeadwayError("its MLmodel names a folder outside of it")
    if recorded and package.fingerprint(folder) != recorded:
        raise HeadwayError("its SHA-256 differs from that of the registered model")
    return folder
