"""Reads a model package from the files of an MLflow model, with every hash checked. Light to import: no tracker, no pandas."""

from __future__ import annotations

from pathlib import Path

from mlflow.models import Model

from headway.errors import HeadwayError
from headway.serving.latency import package_bytes
from headway.serving.package import ModelPackage, fingerprint

#: Tag of a version: fingerprint of its model package.
MODEL_TAG = "headway.model"


def read(model: Path, recorded: str | None) -> tuple[ModelPackage, int]:
    """The package in the files of an MLflow model, and its size in bytes.

    Args:
        model: folder with the file ``MLmodel``.
        recorded: fingerprint that the version was registered with, None or "" if unknown.

    Raises:
        HeadwayError: the package is damaged, is not the registered one, or lies outside the folder.
        OSError, KeyError, TypeError, AttributeError, YAMLError, MlflowException: ``MLmodel`` is missing or damaged.
    """
    folder = Path(model / Model.load(str(model)).flavors["python_function"]["data"])
    if not folder.resolve().is_relative_to(model.resolve()):
        raise HeadwayError("its MLmodel names a folder outside of it")
    if recorded and fingerprint(folder) != recorded:
        raise HeadwayError("its SHA-256 differs from that of the registered model")
    return ModelPackage.load(folder), package_bytes(folder)
