"""Reads the model package of a registered version from MLflow, with every hash checked: no project, no history, no pandas.

It imports MLflow and the packages of the ``serving`` extra, nothing else, so that a service can use it. Nothing is written to
the server, and MLflow's global settings stay as they are.
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
from mlflow.models import Model
from yaml import YAMLError

from headway.errors import HeadwayError, Unreachable, first_line, redact_credentials
from headway.network import check_reachable
from headway.registry.version_ref import MODEL_TAG
from headway.serving import package
from headway.serving.latency import package_bytes
from headway.serving.package import ModelPackage

NOT_FOUND, INVALID = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"
LOGGED_MODEL = "models:/"


class UnusableVersion(HeadwayError):
    """A version's files are lost or damaged, or belong to another model than the registered one."""


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
    find = client.get_model_version if where.isdigit() else client.get_model_version_by_alias
    try:
        version = find(model_name, where)
    except MlflowException as error:
        if error.error_code in (NOT_FOUND, INVALID):
            wanted = f"version {where}" if where.isdigit() else where
            raise HeadwayError(f"model {model_name} has no {wanted} in {server}; see `headway history`") from None
        raise Unreachable(f"{server} failed: {first_line(error)}") from error
    return fetch(client, version)[0]


def fetch(client: MlflowClient, version: ModelVersion) -> tuple[ModelPackage, int]:
    """A version's package, and the size of its files in bytes.

    Raises:
        Unreachable: its files cannot be fetched, which does not mean that they are lost.
        UnusableVersion: its files were fetched, or are gone for good, and there is no such package in them.
    """
    with tempfile.TemporaryDirectory(prefix="headway-") as folder:
        try:
            return _read(_files(client, version, folder), version.tags.get(MODEL_TAG))
        except Unreachable:
            raise
        except (HeadwayError, MlflowException, OSError, YAMLError, AttributeError, KeyError, TypeError) as error:
            reason = first_line(error).replace(f"{folder}/", "")
            advice = "use the Headway that made it" if isinstance(error, package.OtherFormat) else "restore its files"
            raise UnusableVersion(
                f"version {version.version} of {version.name} cannot be loaded ({reason}); {advice}"
            ) from None


def _files(client: MlflowClient, version: ModelVersion, folder: str) -> Path:
    """Fetch a version's files. Missing files raise MLflow's own error, or are noticed when the package is read."""
    try:
        source = str(version.source)
        if source.startswith(LOGGED_MODEL):  # resolved here, because MLflow resolves it by its global settings
            source = str(client.get_logged_model(source.removeprefix(LOGGED_MODEL)).artifact_location)
        return Path(mlflow.artifacts.download_artifacts(source, dst_path=folder, tracking_uri=client.tracking_uri))
    except Exception as error:  # every store's client raises its own types
        if isinstance(error, FileNotFoundError) or getattr(error, "error_code", "") == NOT_FOUND:
            raise
        raise Unreachable(
            f"the files of version {version.version} of {version.name} cannot be fetched ({first_line(error)}); "
            "check that MLflow and its artifact store answer, then run again"
        ) from error


def _read(model: Path, recorded: str | None) -> tuple[ModelPackage, int]:
    """The package in the files of an MLflow model, unless its fingerprint is known and differs."""
    folder = Path(model / Model.load(str(model)).flavors["python_function"]["data"])
    if not folder.resolve().is_relative_to(model.resolve()):
        raise HeadwayError("its MLmodel names a folder outside of it")
    if recorded and package.fingerprint(folder) != recorded:
        raise HeadwayError("its SHA-256 differs from that of the registered model")
    return ModelPackage.load(folder), package_bytes(folder)
