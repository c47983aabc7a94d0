"""One registered model in MLflow: its versions with their packages, and the aliases ``champion`` and ``challenger``.

Every operation is idempotent: after a kill between two steps, the next run finds what is done and does the rest.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import LifecycleStage
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from yaml import YAMLError

from headway.errors import HeadwayError, Unreachable, first_line
from headway.registry import package_files, packages
from headway.registry.package_files import MODEL_TAG as MODEL_TAG
from headway.registry.record_log import NOT_FOUND, RecordLog, storing
from headway.registry.version_ref import ModelVersionRef
from headway.serving import package
from headway.serving.package import ModelPackage
from headway.tracking import Tracker, reachable

CHAMPION, CHALLENGER = "champion", "challenger"
ABSENT = {NOT_FOUND, ErrorCode.Name(INVALID_PARAMETER_VALUE)}
#: Characters that MLflow stores of a version's description.
MAX_DESCRIPTION = 5000
MAX_RUNS = 50_000


@dataclass(frozen=True)
class RunInfo:
    """An MLflow run of the project's experiment.

    Attributes:
        id, name, status: as MLflow shows them.
        parent: id of the run that this one is nested in, "" if none.
        tags: all tags of the run.
    """

    id: str
    name: str
    status: str
    parent: str
    tags: Mapping[str, str]


class Registry:
    """The registered model that params.yaml names.

    Args:
        tracker: the connection to MLflow.

    Attributes:
        log: the records of decisions, see :mod:`headway.promotion.history`.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.client = tracker.client
        self.name: str = tracker.params.registry.model_name
        self.log = RecordLog(tracker)

    # Versions.
    def version(self, number: str) -> ModelVersion | None:
        """A version by its number, None if there is none."""
        if not re.fullmatch("[1-9][0-9]{0,8}", number):
            return None  # MLflow takes "01" and " 1" for 1
        with reachable(self.tracker.uri):
            try:
                return self.client.get_model_version(self.name, number)
            except MlflowException as error:
                if error.error_code in ABSENT:
                    return None
                raise

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

    def with_model(self, fingerprint: str) -> ModelVersion | None:
        """The newest version that holds the model with this fingerprint, None if there is none."""
        with reachable(self.tracker.uri):
            if self.log.model() is None:
                return None
            found = self.client.search_model_versions(f"name = '{self.name}' and tags.`{MODEL_TAG}` = '{fingerprint}'")
        return max(found, key=lambda version: int(version.version), default=None)

    def register(self, folder: Path, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """Return the version that holds a package, creating it if needed, and give it the alias ``challenger``.

        Args:
            folder: the model package.
            run_id: the training run.
            tags: lineage, stored with the version.
        """
        fingerprint = package.fingerprint(folder)
        with packages.module_functions_use(self.tracker.uri):
            self.log.create()
            version = self.with_model(fingerprint)
            if version is None or not self.loads(version):
                version = self.new_version(packages.log(folder, run_id), run_id, {MODEL_TAG: fingerprint, **tags})
            champion = self.champion()
            if champion is None or str(champion.version) != str(version.version):
                self.client.set_registered_model_alias(self.name, CHALLENGER, version.version)
        return version

    def new_version(self, source: str, run_id: str | None, tags: Mapping[str, str]) -> ModelVersion:
        """Create a version of a logged model, whose ``models:/`` address MLflow resolves by its module-level functions."""
        with packages.module_functions_use(self.tracker.uri):
            return self.client.create_model_version(self.name, source, run_id, tags=dict(tags))

    def annotate(self, version: ModelVersion, tags: Mapping[str, str], description: str, files: Mapping[str, str]) -> None:
        """Store a decision with a version: files with its run if that still exists, then tags and description.

        Args:
            version: the version.
            tags: tags of the version.
            description: text of the version, cut to the length that MLflow takes.
            files: texts by their paths among the run's artifacts.

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
            self.client.update_model_version(self.name, number, description=description[:MAX_DESCRIPTION])

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

    # Packages.
    def champion_package(self) -> ModelPackage:
        """The champion's package; :func:`headway.promotion.champion.load_champion` also says why there is no champion.

        Raises:
            Unreachable: its files cannot be fetched.
            HeadwayError: there is no champion, or its files are lost or damaged.
        """
        champion = self.champion()
        if champion is None:
            raise HeadwayError(f"model {self.name} has no champion; `headway history` shows why, `make run` promotes one")
        return self.load(champion)

    def load(self, version: ModelVersion) -> ModelPackage:
        """A version's package; see :meth:`load_with_size`."""
        return self.load_with_size(version)[0]

    def load_with_size(self, version: ModelVersion) -> tuple[ModelPackage, int]:
        """A version's package, and the size of its files in bytes.

        Raises:
            Unreachable: its files cannot be fetched, which does not mean that they are lost.
            HeadwayError: the files are lost or damaged, or belong to another model than the registered one.
        """
        with tempfile.TemporaryDirectory(prefix="headway-") as folder, packages.module_functions_use(self.tracker.uri):
            try:
                return package_files.read(self._download(version, folder), version.tags.get(MODEL_TAG))
            except Unreachable:
                raise
            except (HeadwayError, MlflowException, OSError, YAMLError, AttributeError, KeyError, TypeError) as error:
                reason = first_line(error).replace(f"{folder}/", "")
                advice = "use the Headway that made it" if isinstance(error, package.OtherFormat) else "restore its files"
                raise HeadwayError(
                    f"version {version.version} of {self.name} cannot be loaded ({reason}); {advice}"
                ) from None

    def loads(self, version: ModelVersion) -> bool:
        """Whether a version's files are complete and undamaged.

        Raises:
            Unreachable: the files cannot be fetched, so this is unknown.
        """
        try:
            self.load(version)
        except Unreachable:
            raise
        except HeadwayError:
            return False
        return True

    # Runs.
    def has_run(self, run_id: str) -> bool:
        """Whether a run exists and can be written to."""
        with reachable(self.tracker.uri):
            try:
                return bool(self.client.get_run(run_id).info.lifecycle_stage == LifecycleStage.ACTIVE)
            except MlflowException as error:
                if error.error_code == NOT_FOUND:
                    return False
                raise

    def runs(self) -> dict[str, RunInfo]:
        """The runs of the project's experiment, by id."""
        with reachable(self.tracker.uri):
            found = self.client.search_runs([self.tracker.experiment_id], max_results=MAX_RUNS)
        infos = (
            RunInfo(
                str(run.info.run_id),
                str(run.info.run_name),
                str(run.info.status),
                str(run.data.tags.get(MLFLOW_PARENT_RUN_ID, "")),
                run.data.tags,
            )
            for run in found
        )
        return {info.id: info for info in infos}

    def _by_alias(self, alias: str) -> ModelVersion | None:
        with reachable(self.tracker.uri):
            try:
                return self.client.get_model_version_by_alias(self.name, alias)
            except MlflowException as error:
                if error.error_code in ABSENT:
                    return None
                raise

    def _download(self, version: ModelVersion, folder: str) -> Path:
        """Fetch a version's files. Missing files raise MLflow's own error, or are noticed when the package is read."""
        try:
            return Path(mlflow.artifacts.download_artifacts(version.source, dst_path=folder))
        except Exception as error:  # every store's client raises its own types
            if isinstance(error, FileNotFoundError) or getattr(error, "error_code", "") == NOT_FOUND:
                raise
            raise Unreachable(
                f"the files of version {version.version} of {self.name} cannot be fetched ({first_line(error)}); "
                "check that MLflow and its artifact store answer, then run again"
            ) from error


def ref_of(version: ModelVersion) -> ModelVersionRef:
    """A version as decisions refer to it."""
    return ModelVersionRef(version=str(version.version), model=version.tags.get(MODEL_TAG, ""), run=version.run_id or "")
