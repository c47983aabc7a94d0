"""One registered model in MLflow: its versions with their packages, and the aliases ``champion`` and ``challenger``.

Every operation is idempotent: after a kill between two steps, the next run finds what is done and does the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import LifecycleStage, LoggedModelStatus, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from headway.registry import ownership, packages
from headway.registry.about import LOGGED_MODEL
from headway.registry.download import INVALID, NOT_FOUND, fetch, fetch_into, is_intact
from headway.registry.record_log import RecordLog, ignoring, storing
from headway.registry.unusable_version import UnusableVersion
from headway.registry.version_ref import MODEL_TAG as MODEL_TAG
from headway.registry.version_ref import MONITORING_TAG, ModelVersionRef
from headway.serving import package
from headway.tracking import Tracker, reachable
from headway.tracking_labels import NOTE, PACKAGE_NOTE, data_name, model_description, provenance

if TYPE_CHECKING:
    from headway.serving.package import ModelPackage

CHAMPION, CHALLENGER = "champion", "challenger"
#: Characters that MLflow stores of a description.
MAX_DESCRIPTION = 5000
MAX_RUNS = 50_000


class Registry:
    """The registered model that params.yaml names, and the log of its decisions, see :mod:`headway.promotion.history`."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.client = tracker.client
        self.name: str = tracker.params.registry.model_name
        self.log = RecordLog(tracker)

    def require_own(self) -> None:
        """Refuse a registered model that belongs to another project; see :mod:`headway.registry.ownership`.

        Raises:
            HeadwayError: it does.
        """
        with reachable(self.tracker.uri):
            ownership.require_own(self.log.model(), self.tracker)

    # Versions.
    def version(self, number: str) -> ModelVersion | None:
        """A version by its number, None if there is none."""
        if not re.fullmatch("[1-9][0-9]{0,8}", number):
            return None  # MLflow takes "01" and " 1" for 1
        with reachable(self.tracker.uri), ignoring(NOT_FOUND, INVALID):
            return self.client.get_model_version(self.name, number) if self._is_there() else None
        return None

    def find(self, ref: ModelVersionRef) -> ModelVersion | None:
        """The version that a decision refers to, None if it was deleted or its number belongs to another model now."""
        version = self.version(ref.version)
        return version if version is not None and version.tags.get(MODEL_TAG, "") == ref.model else None

    def versions(self) -> list[ModelVersion]:
        """All versions with their aliases, in the order of their numbers."""
        with reachable(self.tracker.uri):
            model = self.log.model()
            if model is None:
                return []
            found = self.client.search_model_versions(f"name = '{self.name}'")
        for version in found:  # a search leaves out the aliases
            version.aliases = [name for name, number in model.aliases.items() if str(number) == str(version.version)]
        return sorted(found, key=lambda version: int(version.version))

    def register(self, folder: Path, run_id: str, tags: Mapping[str, str], becomes_challenger: bool = True) -> ModelVersion:
        """Return the version that holds a package, creating it if needed, and give it the alias ``challenger``.

        The tags, its lineage, are stored with a new version. With ``becomes_challenger=False`` the alias stays where it is,
        because another version waits for approval.

        Raises:
            HeadwayError: the registered model belongs to another project.
        """
        self.require_own()
        params, fingerprint = self.tracker.params, package.fingerprint(folder)
        with packages.module_functions_use(self.tracker.uri):
            model = self.log.create()
            ownership.claim(model, self.tracker)
            if not model.description:
                described = model_description(params, self.tracker.layout)
                self.client.update_registered_model(self.name, described[:MAX_DESCRIPTION])
            wanted = f"name = '{self.name}' and tags.`{MODEL_TAG}` = '{fingerprint}'"
            version = max(self.client.search_model_versions(wanted), key=lambda one: int(one.version), default=None)
            if version is None or not self.loads(version):
                origin = {MODEL_TAG: fingerprint, **provenance("training", tags)}
                logged = self._logged_model(fingerprint, run_id)
                if logged is None:
                    name = f"{data_name(params)}-{fingerprint[:8]}"
                    logged = packages.log(folder, run_id, {**origin, NOTE: PACKAGE_NOTE}, name)
                else:
                    # MLflow opens a run again to log a model with it, so the process that was killed has left it open.
                    self.client.set_terminated(run_id)
                version = self.new_version(logged, run_id, {**origin, **tags}, "A candidate, not decided on yet.")
            self._link(version)
            champion = self.champion()
            if becomes_challenger and (champion is None or str(champion.version) != str(version.version)):
                self.client.set_registered_model_alias(self.name, CHALLENGER, version.version)
        return version

    def new_version(
        self, source: str, run_id: str | None, tags: Mapping[str, str], description: str | None = None
    ) -> ModelVersion:
        """Create a version of a logged model, whose ``models:/`` address MLflow resolves by its module-level functions.

        A server over HTTP takes such an address only together with the id of the logged model.
        """
        model_id = source.removeprefix(LOGGED_MODEL) if source.startswith(LOGGED_MODEL) else None
        with packages.module_functions_use(self.tracker.uri):
            return self.client.create_model_version(
                self.name, source, run_id, tags=dict(tags), description=description, model_id=model_id
            )

    def logged_model(self, version: ModelVersion) -> str | None:
        """Id of the logged model that a version was made from; None if MLflow no longer has it, or there was none."""
        if not str(version.source).startswith(LOGGED_MODEL):
            return None
        model_id = str(version.source).removeprefix(LOGGED_MODEL)
        with reachable(self.tracker.uri), ignoring(NOT_FOUND, INVALID):
            return str(self.client.get_logged_model(model_id).model_id)
        return None

    def _link(self, version: ModelVersion) -> None:
        """List a version among those of its logged model, as ``mlflow.register_model`` and MLflow's server do."""
        model_id = self.logged_model(version)
        if model_id is None:
            return
        listed = json.loads(self.client.get_logged_model(model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
        if not any((one["name"], str(one["version"])) == (self.name, str(version.version)) for one in listed):
            listed.append({"name": self.name, "version": str(version.version)})
            self.client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(listed)})

    def _logged_model(self, fingerprint: str, run_id: str) -> str | None:
        """Address of an undamaged package that was logged with a run before, by a process that did not get to register it."""
        wanted = f"tags.`{MODEL_TAG}` = '{fingerprint}' AND source_run_id = '{run_id}'"
        for found in self.client.search_logged_models([self.tracker.experiment_id], wanted):
            if found.status == LoggedModelStatus.READY and is_intact(self.client, found, fingerprint):
                return f"{LOGGED_MODEL}{found.model_id}"
        return None

    def annotate(self, version: ModelVersion, tags: Mapping[str, str], description: str, files: Mapping[str, str]) -> None:
        """Store a decision with a version: files with its run if that still exists, then tags and description.

        The description is cut to the length that MLflow takes. Files are texts by their paths among the run's artifacts.

        Raises:
            Unreachable: the artifact store or MLflow does not answer.
        """
        number = version.version
        with reachable(self.tracker.uri), storing(f"the decision on version {number} of {self.name}"):
            for path, text in files.items():
                assert version.run_id is not None, "files need a run"
                self.client.log_text(version.run_id, text, path)
            for tag, value in tags.items():
                self.client.set_model_version_tag(self.name, number, tag, value[:MAX_DESCRIPTION])
            shown = description[:MAX_DESCRIPTION]
            if shown != description:  # not in the middle of a line
                shown = shown.rpartition("\n")[0] or shown
            self.client.update_model_version(self.name, number, description=shown)

    def store_monitoring(
        self, version: ModelVersion, metrics: Mapping[str, float], step: int, summary: str, files: Mapping[str, str]
    ) -> None:
        """Store what was found about a version at work: metrics and files with its run if that still exists, and a tag.

        Raises:
            Unreachable: the artifact store or MLflow does not answer.
        """
        number = version.version
        with reachable(self.tracker.uri), storing(f"what was found about version {number} of {self.name}"):
            if version.run_id and self.has_run(version.run_id):
                self.tracker.run(version.run_id).log_metrics(metrics, step)
                for path, text in files.items():
                    self.client.log_text(version.run_id, text, path)
            self.client.set_model_version_tag(self.name, number, MONITORING_TAG, summary[:MAX_DESCRIPTION])

    # Aliases.
    def champion(self) -> ModelVersion | None:
        """The version with the alias ``champion``, None if there is none."""
        return self._by_alias(CHAMPION)

    def set_champion(self, version: ModelVersion | None) -> None:
        """Give the alias ``champion`` to a version, or remove the alias: one call to MLflow either way."""
        with packages.module_functions_use(self.tracker.uri):
            if version is None:
                self.client.delete_registered_model_alias(self.name, CHAMPION)
                return
            self.client.set_registered_model_alias(self.name, CHAMPION, version.version)
            challenger = self._by_alias(CHALLENGER)
            if challenger is not None and str(challenger.version) == str(version.version):
                self.client.delete_registered_model_alias(self.name, CHALLENGER)

    def set_challenger(self, version: ModelVersion) -> None:
        """Give the alias ``challenger`` to a version."""
        with packages.module_functions_use(self.tracker.uri):
            self.client.set_registered_model_alias(self.name, CHALLENGER, version.version)

    def remove_challenger(self, ref: ModelVersionRef) -> None:
        """Remove the alias ``challenger`` from a version, if it has it."""
        with packages.module_functions_use(self.tracker.uri):
            challenger = self._by_alias(CHALLENGER)
            if challenger is not None and ref_of(challenger) == ref:
                self.client.delete_registered_model_alias(self.name, CHALLENGER)

    # Packages.
    def load(self, version: ModelVersion) -> ModelPackage:
        """A version's package; for the errors see :func:`headway.registry.download.fetch`."""
        return self.load_with_size(version)[0]

    def load_with_size(self, version: ModelVersion) -> tuple[ModelPackage, int]:
        """A version's package, and the size of its files in bytes; for the errors see :meth:`load`."""
        return fetch(self.client, version)

    def fetch_into(self, version: ModelVersion, folder: Path) -> Path:
        """A version's package in a folder, see :func:`headway.registry.download.fetch_into`."""
        return fetch_into(self.client, version, folder)

    def loads(self, version: ModelVersion) -> bool:
        """Whether a version's files are complete and undamaged.

        Raises:
            Unreachable: the files cannot be fetched, so this is unknown.
        """
        with suppress(UnusableVersion):
            self.load(version)
            return True
        return False

    # Runs.
    def has_run(self, run_id: str) -> bool:
        """Whether a run exists and can be written to."""
        with reachable(self.tracker.uri), ignoring(NOT_FOUND):
            return bool(self.client.get_run(run_id).info.lifecycle_stage == LifecycleStage.ACTIVE)
        return False

    def runs(self) -> dict[str, Run]:
        """The runs of the project's experiment, by id."""
        with reachable(self.tracker.uri):
            found = self.client.search_runs([self.tracker.experiment_id], max_results=MAX_RUNS)
        return {run.info.run_id: run for run in found}

    def _by_alias(self, alias: str) -> ModelVersion | None:
        with reachable(self.tracker.uri), ignoring(NOT_FOUND, INVALID):
            return self.client.get_model_version_by_alias(self.name, alias) if self._is_there() else None
        return None

    def _is_there(self) -> bool:
        """Whether the registered model exists. If not, a server with a login answers 403 when a version of it is asked for."""
        return self.log.model() is not None


def ref_of(version: ModelVersion) -> ModelVersionRef:
    """A version as decisions refer to it."""
    return ModelVersionRef(version=str(version.version), model=version.tags.get(MODEL_TAG, ""), run=version.run_id or "")
