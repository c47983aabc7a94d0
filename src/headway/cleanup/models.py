"""What of MLflow stays: what a rollback, the history or the current work needs, and the newest versions and runs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from headway.cleanup.group import Group
from headway.lineage import execution_key
from headway.promotion import history
from headway.promotion import history_queries as queries
from headway.promotion.decision import Decision
from headway.promotion.project import Project
from headway.registry import removal
from headway.registry.about import LOGGED_MODEL
from headway.registry.version_ref import MODEL_TAG
from headway.serving import package

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

KIND, KEY, PARENT = "headway.kind", "headway.key", "mlflow.parentRunId"
#: Kinds of run: one that holds the history of a registered model, and the parent run of a pipeline execution.
HISTORY, PIPELINE = "history", "pipeline"
#: Age in seconds from which a logged model without a version counts as left over, not as being registered right now.
LEFT_OVER = 24 * 3600


def plan(project: Project, keep: int) -> list[Group]:
    """Versions, logged models and runs that stay or go.

    Runs and models that Headway did not log, and those of versions of other registered models, are not considered.

    Args:
        keep: number of the newest versions, and of the newest pipeline runs, that stay in any case.

    Raises:
        HeadwayError: the history is broken, so that former champions are unknown.
        Unreachable: MLflow or its artifact store does not answer.
    """
    registry, tracker = project.registry, project.registry.tracker
    versions = registry.versions()
    others = [one for one in removal.all_versions(tracker) if one.name != registry.name]
    addresses = {str(one.source) for one in others}
    named = _names([*others, *(one for one in versions if f"{LOGGED_MODEL}{one.name}/{one.version}" in addresses)])
    needed = _needed_versions(project, versions, history.decisions(registry), keep)
    unneeded = [version for version in versions if version not in needed]
    runs = {run.info.run_id: run for run in removal.all_runs(tracker) if KIND in run.data.tags}
    logged = removal.all_logged_models(tracker)
    of_versions = {str(version.run_id) for version in needed} | named
    of_versions |= {str(model.source_run_id) for model in logged if model.model_id in named}
    old = _old_runs(project, runs, of_versions, keep)
    models = {model.model_id: model for model in logged if model.source_run_id in runs and model.model_id not in named}
    kept = [models[one] for one in _sources(needed) if one in models]
    dropped = [models[one] for one in _sources(unneeded) - _sources(needed) if one in models]
    orphans = [models[one] for one in models.keys() - _sources(versions) if _is_left_over(models[one], old)]

    def model_bytes(some: Iterable[LoggedModel]) -> int:
        return sum(removal.artifact_bytes(tracker, str(one.artifact_location), str(one.model_id)) for one in some)

    def run_bytes(some: Iterable[Run]) -> int:
        return sum(removal.artifact_bytes(tracker, one.info.artifact_uri, one.info.run_id) for one in some)

    def removing_models(some: Iterable[LoggedModel]) -> list[partial[None]]:
        return [partial(removal.remove_logged_model, tracker, one) for one in some]

    goes = [*(partial(removal.remove_version, tracker, one) for one in unneeded), *removing_models(dropped)]
    return [
        Group("versions", len(needed), model_bytes(kept), "champion, former champions, candidates, the newest"),
        Group("versions", len(unneeded), model_bytes(dropped), "never were champion", tuple(goes)),
        Group("models", len(orphans), model_bytes(orphans), "not registered", tuple(removing_models(orphans))),
        Group(
            "runs",
            len(runs) - len(old),
            run_bytes(run for run_id, run in runs.items() if run_id not in old),
            "the history, runs of the versions that stay, the newest",
        ),
        Group(
            "runs",
            len(old),
            run_bytes(old.values()),
            "of no version that stays",
            tuple(partial(removal.remove_run, tracker, run) for run in old.values()),
        ),
    ]


def _needed_versions(
    project: Project, versions: Sequence[ModelVersion], decisions: Sequence[Decision], keep: int
) -> list[ModelVersion]:
    """Versions with an alias, that are or were champion or wait for approval, that hold the project's current candidate, and
    the newest."""
    champions = {(one.candidate.version, one.candidate.model) for one in decisions if one.appoints}
    champions |= {(one.champion.version, one.champion.model) for one in decisions if one.champion is not None}
    if (request := queries.open_request(decisions)) is not None:
        champions.add((request.candidate.version, request.candidate.model))  # it may become one
    candidate = project.layout.candidate
    current = package.fingerprint(candidate) if candidate.is_dir() else None
    newest = versions[len(versions) - keep :] if keep else []

    def is_needed(version: ModelVersion) -> bool:
        model = version.tags.get(MODEL_TAG, "")
        return bool(version.aliases) or (str(version.version), model) in champions or model == current or version in newest

    return [version for version in versions if is_needed(version)]


def _old_runs(project: Project, runs: Mapping[str, Run], of_versions: set[str], keep: int) -> dict[str, Run]:
    """Runs that go, nested ones before their parents. A pipeline's runs stay or go together."""
    current = execution_key(project.params, project.layout)
    pipelines = [run for run in runs.values() if run.data.tags[KIND] == PIPELINE]
    newest = sorted(pipelines, key=lambda run: run.info.start_time, reverse=True)[:keep]
    stay = {run.info.run_id for run in newest}
    stay |= {
        run_id
        for run_id, run in runs.items()
        if run_id in of_versions
        or run.info.status == "RUNNING"
        or run.data.tags[KIND] == HISTORY
        or run.data.tags.get(KEY) == current
    }
    roots = {run_id: _root(run_id, runs) for run_id in runs}
    trees = {roots[run_id] for run_id in stay}
    old = [run_id for run_id in runs if roots[run_id] not in trees]
    return {run_id: runs[run_id] for run_id in sorted(old, key=lambda run_id: roots[run_id] == run_id)}


def _root(run_id: str, runs: Mapping[str, Run]) -> str:
    """The outermost run that a run is nested in, itself if it is nested in none."""
    parent = runs[run_id].data.tags.get(PARENT, "")
    return _root(parent, runs) if parent in runs else run_id


def _sources(versions: Iterable[ModelVersion]) -> set[str]:
    """Ids of the logged models whose files versions have."""
    return {str(version.source).removeprefix(LOGGED_MODEL) for version in versions}


def _names(versions: Iterable[ModelVersion]) -> set[str]:
    """Every id of a run or logged model in the addresses of versions, whatever program registered them."""
    found = {part for version in versions for part in re.split("[:/]", str(version.source))}
    return found | {str(one) for version in versions for one in (version.run_id, version.model_id)}


def _is_left_over(model: LoggedModel, old: Mapping[str, Run]) -> bool:
    return model.source_run_id in old or model.creation_timestamp / 1000 < time.time() - LEFT_OVER
