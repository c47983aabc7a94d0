"""Registered models through MLflow's client, which reads every database and artifact store that MLflow supports."""

from __future__ import annotations

from contextlib import suppress

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from headway.errors import HeadwayError
from headway.registry.about import LOGGED_MODEL, VersionFacts
from headway.registry.download import fetch_files, find_version
from headway.registry.unusable_version import loading
from headway.serving.live.model import ServedModel, load
from headway.serving.live.scratch import scratch_folder


class ClientSource:
    """A version by its number, or the version that an alias names.

    Args:
        uri: MLflow's tracking URI.
        model_name: of the registered model.
        where: number of a version, or an alias.
    """

    def __init__(self, uri: str, model_name: str, where: str) -> None:
        self._uri, self._model_name, self._where = uri, model_name, where
        self.moves = not where.isdigit()

    def newest(self) -> str:
        """The key of the version; for the errors see :class:`headway.serving.live.source.ModelSource`."""
        _, version = find_version(self._uri, self._model_name, self._where)
        return _facts(version, {}).key

    def fetch(self, key: str) -> ServedModel:
        """The version with a key; for the errors see :class:`headway.serving.live.source.ModelSource`."""
        client, version = find_version(self._uri, self._model_name, key.partition("/")[0])
        facts = _facts(version, _metrics(client, version))
        if facts.key != key:
            raise HeadwayError(f"{facts.label} was replaced by another model of this number; it is fetched again")
        with scratch_folder() as folder:
            package = fetch_files(client, version, folder)
            with loading(facts.label, package):
                return load(package, facts.name, facts.number, facts.about())


def _metrics(client: MlflowClient, version: ModelVersion) -> dict[str, float]:
    """Metrics of the version's logged model; none if there is no such model."""
    source = str(version.source)
    if not source.startswith(LOGGED_MODEL):
        return {}
    with suppress(MlflowException):  # if the model is gone, fetching its files says so
        return {one.key: one.value for one in client.get_logged_model(source.removeprefix(LOGGED_MODEL)).metrics or ()}
    return {}


def _facts(version: ModelVersion, metrics: dict[str, float]) -> VersionFacts:
    return VersionFacts(
        name=version.name,
        number=str(version.version),
        source=str(version.source),
        created=int(version.creation_timestamp or 0),
        run_id=version.run_id or "",
        description=version.description or "",
        tags=version.tags,
        metrics=metrics,
    )
