"""Reads one registered version from MLflow, given a server and a model name alone: no project, no experiment and no history.

It imports MLflow and the packages of the ``serving`` extra, nothing else, so that a service can use it.

Nothing is written to the server, and MLflow's global settings stay as they are.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reads both when it is imported
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from headway.errors import HeadwayError, Unreachable, first_line, redact_credentials
from headway.network import check_reachable
from headway.registry.package_files import MODEL_TAG, read
from headway.serving.package import ModelPackage

NOT_FOUND = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
LOGGED_MODEL = "models:/"


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
    server = f"MLflow at {redact_credentials(uri)}"
    if uri.startswith("http"):  # MLflow's own retries take minutes
        check_reachable(f"{uri.rstrip('/')}/health", server, "start that server or correct MLFLOW_TRACKING_URI")
    client = MlflowClient(uri, uri)
    try:
        version = _find(client, model_name, where)
        location = _artifacts(client, version)
    except MlflowException as error:
        if error.error_code in NOT_FOUND:
            wanted = f"version {where}" if where.isdigit() else where
            raise HeadwayError(f"model {model_name} has no {wanted} in {server}; see `headway history`") from None
        raise Unreachable(f"{server} failed: {first_line(error)}") from error
    with tempfile.TemporaryDirectory(prefix="headway-") as folder:
        try:
            files = Path(mlflow.artifacts.download_artifacts(artifact_uri=location, dst_path=folder, tracking_uri=uri))
        except Exception as error:  # each artifact store's client has exceptions of its own
            raise Unreachable(
                f"the files of version {version.version} of {model_name} cannot be downloaded: {first_line(error)}"
            ) from error
        return _load(files, version)


def _find(client: MlflowClient, model_name: str, where: str) -> ModelVersion:
    if where.isdigit():
        return client.get_model_version(model_name, where)
    return client.get_model_version_by_alias(model_name, where)


def _artifacts(client: MlflowClient, version: ModelVersion) -> str:
    """Where a version's files are stored. ``models:/`` addresses are resolved here, because MLflow resolves them globally."""
    source = str(version.source)
    if source.startswith(LOGGED_MODEL):
        return str(client.get_logged_model(source.removeprefix(LOGGED_MODEL)).artifact_location)
    return source


def _load(files: Path, version: ModelVersion) -> ModelPackage:
    try:
        return read(files, version.tags.get(MODEL_TAG))[0]
    except (HeadwayError, MlflowException, OSError, KeyError) as error:
        reason = first_line(error).replace(f"{files}/", "")
        raise HeadwayError(f"version {version.version} of {version.name} cannot be loaded: {reason}") from None
