"""Registered models through an MLflow server's REST API, for a service that has no MLflow installed.

Only the files of the model package are downloaded. The server has to pass its artifacts on, as ``mlflow server`` does unless it
is started with ``--no-serve-artifacts``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from headway.errors import HeadwayError
from headway.registry.about import LOGGED_MODEL, PROXIED, VersionFacts
from headway.registry.rest import MlflowServer, NotFound, Refused
from headway.registry.unusable_version import NeedsPackage, loading
from headway.registry.version_ref import MODEL_TAG
from headway.serving.live.model import ServedModel, load
from headway.serving.live.scratch import scratch_folder
from headway.serving.package import CONFIG, fingerprint
from headway.serving.package.config import MAX_BYTES, read_config


class RestSource:
    """A version by its number, or the version that an alias names.

    Args:
        uri: of the server, ``http://…`` or ``https://…``.
        model_name: of the registered model.
        where: number of a version, or an alias.
    """

    def __init__(self, uri: str, model_name: str, where: str) -> None:
        self._server = MlflowServer(uri)
        self._model_name, self._where = model_name, where
        self.moves = not where.isdigit()

    def newest(self) -> str:
        """The key of the version; for the errors see :class:`headway.serving.live.source.ModelSource`."""
        return self._version(self._where).key

    def fetch(self, key: str) -> ServedModel:
        """The version with a key; for the errors see :class:`headway.serving.live.source.ModelSource`."""
        version = self._version(key.partition("/")[0])
        if version.key != key:
            raise HeadwayError(f"{version.label} was replaced by another model of this number; it is fetched again")
        with scratch_folder() as folder, loading(version.label, folder):
            location, metrics = self._location(version.source)
            self._download(location, folder, version.tags.get(MODEL_TAG, ""))
            return load(folder, version.name, version.number, replace(version, metrics=metrics).about())

    def _version(self, where: str) -> VersionFacts:
        path, name = ("/model-versions/get", "version") if where.isdigit() else ("/registered-models/alias", "alias")
        try:
            found = self._found(path, {"name": self._model_name, name: where})
        except NotFound:
            wanted = f"version {where}" if where.isdigit() else where
            raise HeadwayError(
                f"model {self._model_name} has no {wanted} in {self._server.name}; it was never there or was removed"
            ) from None
        version = _part(found, "model_version")
        return VersionFacts(
            name=str(version.get("name", self._model_name)),
            number=str(version.get("version", "")),
            source=str(version.get("source", "")),
            created=int(version.get("creation_timestamp", 0)),
            run_id=str(version.get("run_id", "")),
            description=str(version.get("description", "")),
            tags={str(tag.get("key")): str(tag.get("value")) for tag in version.get("tags", [])},
        )

    def _found(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        """The answer about a version. A server with a login refuses if the registered model is missing, so that is asked too."""
        try:
            return self._server.get(path, query)
        except Refused:
            self._server.get("/registered-models/get", {"name": self._model_name})
            raise

    def _location(self, source: str) -> tuple[str, dict[str, float]]:
        """Path of a version's files in the server's artifact store, and the metrics of its logged model."""
        metrics: dict[str, float] = {}
        model_id = source.removeprefix(LOGGED_MODEL)
        if source.startswith(LOGGED_MODEL) and re.fullmatch("[A-Za-z0-9-]+", model_id):
            model = _part(self._server.get(f"/logged-models/{quote(model_id)}", {}), "model")
            source = str(_part(model, "info").get("artifact_uri", ""))
            metrics = {str(one.get("key")): one.get("value") for one in model.get("data", {}).get("metrics", [])}
        address = urlsplit(source)
        path = address.path.strip("/")
        if f"{address.scheme}:" != PROXIED or address.netloc or not path:
            raise NeedsPackage(
                f"its files are at {source[:200]}, which the MLflow server does not pass on; install MLflow beside the service"
            )
        _require_plain(*path.split("/"))
        return path, metrics

    def _download(self, location: str, folder: Path, recorded: str) -> None:
        """Write a package's files into a folder; the fingerprint is compared before the weights are downloaded."""
        data = f"{location}/data"
        folders = [name for name, is_folder in self._names(data).items() if is_folder]
        if len(folders) != 1:
            raise HeadwayError(f"expected one folder with a model package in {data}, found {len(folders)}")
        _require_plain(folders[0])
        stored = f"{data}/{folders[0]}"
        present = self._names(stored)

        def download(name: str, max_bytes: int | None = None) -> None:
            if name not in present:  # the server answers a request for it like a failure of its own
                raise HeadwayError(f"{name} is missing in MLflow's artifact store")
            self._server.download(f"{stored}/{name}", folder / name, max_bytes)

        download(CONFIG, MAX_BYTES)
        if recorded and fingerprint(folder) != recorded:
            raise HeadwayError("its SHA-256 differs from that of the registered model")
        for name in read_config(folder).files:
            download(name)

    def _names(self, path: str) -> dict[str, bool]:
        """What is in a folder of the artifact store, and which of it are folders."""
        return {str(entry.get("path", "")): bool(entry.get("is_dir")) for entry in self._server.list_artifacts(path)}


def _require_plain(*names: str) -> None:
    """Refuse a name of a file or folder that leads out of the folder that it is in."""
    for name in names:
        if name in ("", ".", "..") or re.search(r"[/\\%?#\x00-\x1f]", name):
            raise HeadwayError(f"its artifacts have a name that is not allowed: {name[:80]!r}")


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    part = value.get(name)
    if not isinstance(part, dict):
        raise HeadwayError(f"the MLflow server's answer has no {name}; its version of MLflow is not supported")
    return part
