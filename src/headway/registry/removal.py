"""Removes runs, logged models and versions from MLflow together with their artifacts.

MLflow's REST API cannot purge. In a database that is opened directly, the rows are deleted as ``mlflow gc`` does. On a server,
the artifacts go and the entries are marked as deleted; ``mlflow gc`` on the server removes the entries. That command is not
called here, because it also purges every experiment that somebody deleted.

Artifacts go first. After a kill the entry is still there, so that the next attempt finds it and completes the removal.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.entities import LoggedModel, Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from headway.errors import HeadwayError, Unreachable, first_line, redact_credentials
from headway.files import bytes_of
from headway.registry.download import NOT_FOUND
from headway.registry.record_log import ignoring
from headway.tracking import Tracker, reachable

#: Runs or models per request to MLflow.
PAGE = 1000


def purges(tracker: Tracker) -> bool:
    """Whether entries disappear from the database, which a server does not offer."""
    return hasattr(_store(tracker), "_hard_delete_run")


def all_runs(tracker: Tracker) -> list[Run]:
    """The runs of the project's experiment. Runs that somebody deleted are among them if they can be purged."""
    view = ViewType.ALL if purges(tracker) else ViewType.ACTIVE_ONLY
    return _pages(
        tracker, lambda token: tracker.client.search_runs([tracker.experiment_id], "", view, PAGE, page_token=token)
    )


def all_logged_models(tracker: Tracker) -> list[LoggedModel]:
    """The models that were logged in the project's experiment, registered or not."""
    return _pages(
        tracker,
        lambda token: tracker.client.search_logged_models([tracker.experiment_id], max_results=PAGE, page_token=token),
    )


def all_versions(tracker: Tracker) -> list[ModelVersion]:
    """The versions of all registered models on the server, of this project and of others; without their aliases."""
    return _pages(tracker, lambda token: tracker.client.search_model_versions("", PAGE, page_token=token))


def artifact_bytes(tracker: Tracker, address: str, owner: str) -> int:
    """Size of the artifacts at an address, in bytes; ``owner`` is the id of their run or model.

    Raises:
        HeadwayError: the address is not the owner's alone.
        Unreachable: the artifact store does not answer.
    """
    if folder := _local_folder(address, owner):
        return bytes_of(folder)
    if is_local_uri(address):
        return 0
    _require_own_address(address, owner)
    with _store_errors(f"the artifacts of {owner} cannot be listed"):
        return _remote_bytes(get_artifact_repository(address, tracker.uri), None)


def remove_version(tracker: Tracker, version: ModelVersion) -> None:
    """Delete a version of the registered model; its files are those of a logged model."""
    with reachable(tracker.uri), ignoring(NOT_FOUND):
        tracker.client.delete_model_version(version.name, version.version)


def remove_logged_model(tracker: Tracker, model: LoggedModel) -> None:
    """Remove a logged model with its files."""
    _remove_artifacts(tracker, model.artifact_location, model.model_id)
    with reachable(tracker.uri), ignoring(NOT_FOUND):
        if purges(tracker):
            _store(tracker)._hard_delete_logged_model(model.model_id)
        else:
            tracker.client.delete_logged_model(model.model_id)


def remove_run(tracker: Tracker, run: Run) -> None:
    """Remove a run with its params, metrics and artifacts."""
    _remove_artifacts(tracker, run.info.artifact_uri, run.info.run_id)
    with reachable(tracker.uri), ignoring(NOT_FOUND):
        if purges(tracker):
            _store(tracker)._hard_delete_run(run.info.run_id)
        else:
            tracker.client.delete_run(run.info.run_id)


def _store(tracker: Tracker) -> Any:
    return tracker.client._tracking_client.store


def _pages(tracker: Tracker, search: Callable[[str | None], Any]) -> list[Any]:
    """All results of a search that returns them in pages."""
    found: list[Any] = []
    with reachable(tracker.uri):
        page = search(None)
        found += page
        while page.token:
            page = search(page.token)
            found += page
    return found


def _remove_artifacts(tracker: Tracker, address: str, owner: str) -> None:
    with _store_errors(f"the artifacts of {owner} cannot be removed"):
        if not is_local_uri(address):
            _require_own_address(address, owner)
            get_artifact_repository(address, tracker.uri).delete_artifacts()
        elif folder := _local_folder(address, owner):
            shutil.rmtree(folder)


def _local_folder(address: str, owner: str) -> Path | None:
    """The folder of this machine that holds all artifacts of a run or model, None if there is none.

    Raises:
        HeadwayError: the address is not below a folder of the owner's name, so that it may hold other files too.
    """
    if not is_local_uri(address):
        return None
    path = Path(local_file_uri_to_path(address))
    for folder in (path, *path.parents):
        if folder.name == owner:
            return folder if folder.is_dir() else None
    raise _not_its_own(address, owner)


def _require_own_address(address: str, owner: str) -> None:
    """Check that the owner's name is a folder in a remote address, so that everything there is the owner's."""
    if owner not in address.split("/"):
        raise _not_its_own(address, owner)


def _not_its_own(address: str, owner: str) -> HeadwayError:
    shown = redact_credentials(address)
    return HeadwayError(f"{shown}: expected a folder of its own for the artifacts of {owner}; nothing there was touched")


def _remote_bytes(repository: ArtifactRepository, folder: str | None) -> int:
    return sum(
        _remote_bytes(repository, one.path) if one.is_dir else int(one.file_size or 0)
        for one in repository.list_artifacts(folder)
    )


@contextmanager
def _store_errors(problem: str) -> Iterator[None]:
    """Turn a failure of the artifact store into one line.

    Raises:
        Unreachable: the store does not answer, or refuses.
    """
    try:
        yield
    except HeadwayError:
        raise
    except Exception as error:  # every store's client raises its own types
        raise Unreachable(
            f"{problem} ({first_line(error)}); check that MLflow's artifact store answers and lets you delete, then run again"
        ) from error
