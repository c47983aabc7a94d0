"""Checks of the registered model, without MLflow: the champion, whether its files are there, and the history's last decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from headway.doctor.check import FAULT, OK, WARNING, Check
from headway.doctor.database import is_empty, is_missing, is_server, local_folder, reading, tracking_uri
from headway.layout import Layout
from headway.params import Params
from headway.phrases import counted
from headway.registry.about import LOGGED_MODEL
from headway.registry.rest import MlflowServer, NotFound
from headway.registry.version_ref import CARRIED_OUT_TAG, RUN_TAG

CHAMPION = "champion"
#: The stage that MLflow gives to a version that was deleted.
DELETED = "Deleted_Internal"


@dataclass(frozen=True)
class Registered:
    """What MLflow has of the registered model.

    Attributes:
        champion: version with the alias, "" if there is none.
        location: address of the champion's files, "" if the version is gone or the address is not known here.
        has_version: whether there is such a version.
        tags: of the model, by name.
        numbers: of the decisions in the history.
    """

    champion: str
    location: str
    has_version: bool
    tags: dict[str, str] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()


def check_registry(layout: Layout, params: Params | None) -> Iterator[Check]:
    """The champion and the history of the registered model that params.yaml names."""
    if params is None:
        yield Check("registry", WARNING, "not checked, because params.yaml cannot be used", "correct params.yaml first")
        return
    uri, name = tracking_uri(layout), params.registry.model_name
    found = None
    if is_server(uri):
        found = _from_server(MlflowServer(uri), name)
    elif not is_missing(uri):
        with reading(uri) as connection:
            found = None if is_empty(connection) else _from_database(connection, name)
    if found is None:
        yield Check("registry", OK, f"no model {name} yet; `make run` promotes one")
        return
    yield from _check_history(name, found)
    yield _check_champion(name, found, layout)


def _check_champion(name: str, found: Registered, layout: Layout) -> Check:
    if not found.champion:
        return Check("champion", OK, f"none of {name}; `make run` promotes one")
    what = f"version {found.champion} of {name}"
    lost = '`headway rollback --reason "files lost"`, or `headway retire --reason "files lost"` and `make run`'
    if not found.has_version:
        return Check("champion", FAULT, f"{what} was deleted from MLflow", f"run {lost}")
    folder = local_folder(found.location, layout)
    if folder is not None and not (folder.is_dir() and any(folder.iterdir())):
        return Check(
            "champion", FAULT, f"the files of {what} are missing in {folder}", f"restore them from a backup, or run {lost}"
        )
    return Check("champion", OK, what)


def _check_history(name: str, found: Registered) -> Iterator[Check]:
    numbers = sorted(found.numbers)
    last = numbers[-1] if numbers else 0
    done = found.tags.get(CARRIED_OUT_TAG, "0").partition(" ")[0]
    carried_out = int(done) if done.isdigit() else 0
    if numbers != list(range(1, len(numbers) + 1)) or carried_out > last:
        missing = next(number for number in range(1, len(numbers) + 2) if number not in numbers)
        remedy = "restore MLflow's database and artifacts from a backup; `headway history --verify` shows what is left"
        yield Check("history", FAULT, f"decision {missing} of {name} is missing", remedy)
        return
    if done.isdigit() and carried_out < last:
        found_words = f"decision {last} of {name} was recorded but not carried out"
        yield Check("history", WARNING, found_words, "`make run` carries it out")
        return
    yield Check("history", OK, f"{counted(len(numbers), 'decision')} on {name}; `headway history --verify` checks each")


def _from_database(connection: Connection, name: str) -> Registered | None:
    def rows(query: str, **values: str | int) -> list[Any]:
        return list(connection.execute(text(query), values))

    if not rows("SELECT 1 FROM registered_models WHERE name = :name", name=name):
        return None
    found = rows("SELECT key, value FROM registered_model_tags WHERE name = :name", name=name)
    tags = {str(key): str(value) for key, value in found}
    keys = [str(key) for (key,) in rows("SELECT key FROM params WHERE run_uuid = :run", run=tags.get(RUN_TAG, ""))]
    numbers = tuple(int(key) for key in keys if key.isdigit())
    champion = rows(
        "SELECT version FROM registered_model_aliases WHERE name = :name AND alias = :alias", name=name, alias=CHAMPION
    )
    if not champion:
        return Registered("", "", False, tags, numbers)
    number = int(champion[0][0])
    sources = rows(
        "SELECT source FROM model_versions WHERE name = :name AND version = :number AND current_stage != :deleted",
        name=name,
        number=number,
        deleted=DELETED,
    )
    location = str(sources[0][0]) if sources else ""
    if location.startswith(LOGGED_MODEL):
        model = location.removeprefix(LOGGED_MODEL)
        logged = rows("SELECT artifact_location FROM logged_models WHERE model_id = :model", model=model)
        location = str(logged[0][0]) if logged else ""
    return Registered(str(number), location, bool(sources), tags, numbers)


def _from_server(server: MlflowServer, name: str) -> Registered | None:
    try:
        model = server.get("/registered-models/get", {"name": name}).get("registered_model", {})
    except NotFound:
        return None
    tags = {str(tag.get("key")): str(tag.get("value", "")) for tag in model.get("tags", [])}
    numbers: tuple[int, ...] = ()
    if RUN_TAG in tags:
        try:
            data = server.get("/runs/get", {"run_id": tags[RUN_TAG]}).get("run", {}).get("data", {})
            numbers = tuple(int(one["key"]) for one in data.get("params", []) if str(one.get("key")).isdigit())
        except NotFound:
            numbers = ()
    aliases = {one.get("alias"): str(one.get("version")) for one in model.get("aliases", [])}
    champion = aliases.get(CHAMPION, "")
    try:
        has_version = bool(champion) and bool(server.get("/model-versions/get", {"name": name, "version": champion}))
    except NotFound:
        has_version = False
    return Registered(champion, "", has_version, tags, numbers)
