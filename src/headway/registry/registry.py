"""MLflow's model registry as Headway uses it: versions that hold model packages, and the aliases champion and challenger.

Every step can be repeated: after a kill between any two of them, the next run finds what is done and does the rest.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion as ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, ErrorCode
from yaml import YAMLError

import headway
from headway.errors import HeadwayError, Unreachable, first_line
from headway.promotion.decision import REFUSAL, RETIREMENT, Subject
from headway.promotion.history import GONE, History
from headway.serving import package
from headway.serving.latency import package_bytes
from headway.serving.package import ModelPackage
from headway.serving.pyfunc import TextClassifier
from headway.tracking import Tracker, reachable

CHAMPION, CHALLENGER = "champion", "challenger"
MODEL_TAG = "headway.model"
#: What the packed model imports when it is served, nothing of the training stack.
SERVING_REQUIREMENTS = ("mlflow", "torch", "tokenizers", "safetensors", "numpy", "pandas", "pyarrow", "pydantic")
EXAMPLE = pd.DataFrame({"text": ["A joy from the first scene to the last.", "I wanted my two hours back."]})
NOT_THERE = {GONE, ErrorCode.Name(INVALID_PARAMETER_VALUE)}


class Registry:
    """The registered model that params.yaml names.

    Args:
        tracker: how MLflow is reached.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.client = tracker.client
        self.name: str = tracker.params.registry.model_name
        self.history = History(tracker)

    def champion(self) -> ModelVersion | None:
        """The version in office, None when there is none."""
        return self._by_alias(CHAMPION)

    def champion_package(self) -> ModelPackage:
        """The champion, loaded and checked.

        Raises:
            Unreachable: its files cannot be fetched.
            HeadwayError: there is none, or its files are gone or damaged.
        """
        champion = self.champion()
        if champion is None:
            raise HeadwayError(f"model {self.name} has no champion {self._way_to_one()}")
        return self.load_champion(champion)[0]

    def load_champion(self, champion: ModelVersion) -> tuple[ModelPackage, int]:
        """The same as :meth:`load_and_weigh`; its error says what becomes of the office too."""
        try:
            return self.load_and_weigh(champion)
        except Unreachable:
            raise
        except HeadwayError as error:
            raise HeadwayError(
                f'{error}, or run `headway retire --reason "…"` so that the next run elects a champion anew'
            ) from None

    def load(self, version: ModelVersion) -> ModelPackage:
        """A registered version's package; see :meth:`load_and_weigh`."""
        return self.load_and_weigh(version)[0]

    def load_and_weigh(self, version: ModelVersion) -> tuple[ModelPackage, int]:
        """A registered version's package, and the bytes of its files.

        Raises:
            Unreachable: its files cannot be fetched, which does not say that they are lost.
            HeadwayError: they are gone or damaged, or another model's than the one that was registered.
        """
        with tempfile.TemporaryDirectory(prefix="headway-") as folder, self._addressed():
            try:
                files = _packed(self._download(version, folder))
                known = version.tags.get(MODEL_TAG)
                if known and package.fingerprint(files) != known:
                    raise HeadwayError("it is not the model that was registered: its SHA-256 is another")
                return ModelPackage.load(files), package_bytes(files)
            except Unreachable:
                raise
            except (HeadwayError, MlflowException, OSError, YAMLError, AttributeError, KeyError, TypeError) as error:
                reason = first_line(error).replace(f"{folder}/", "")
                advice = "use the Headway that made it" if isinstance(error, package.OtherFormat) else "bring its files back"
                raise HeadwayError(
                    f"version {version.version} of {self.name} cannot be loaded ({reason}); {advice}"
                ) from None

    def loads(self, version: ModelVersion) -> bool:
        """Whether a version's files are there and whole; one whose files were lost is registered anew.

        Raises:
            Unreachable: nobody can tell, because the files cannot be fetched.
        """
        try:
            self.load(version)
        except Unreachable:
            raise
        except HeadwayError:
            return False
        return True

    def version(self, number: str) -> ModelVersion | None:
        """A version by its number, None when there is none, or no more."""
        if not re.fullmatch("[1-9][0-9]{0,8}", number):
            return None  # MLflow takes "01" and " 1" for 1
        with reachable(self.tracker.uri):
            try:
                return self.client.get_model_version(self.name, number)
            except MlflowException as error:
                if error.error_code in NOT_THERE:
                    return None
                raise

    def holding(self, subject: Subject) -> ModelVersion | None:
        """The version that a record speaks of, None when it was deleted or its number belongs to another model now."""
        version = self.version(subject.version)
        return version if version is not None and version.tags.get(MODEL_TAG, "") == subject.model else None

    def versions(self) -> list[ModelVersion]:
        """All versions with their aliases, the first one first."""
        with reachable(self.tracker.uri):
            model = self.history.model()
            if model is None:
                return []
            found = self.client.search_model_versions(f"name = '{self.name}'")
        for version in found:  # a search leaves the aliases out
            version.aliases = [name for name, number in model.aliases.items() if str(number) == str(version.version)]
        return sorted(found, key=lambda version: int(version.version))

    def with_model(self, fingerprint: str) -> ModelVersion | None:
        """The newest version that holds the model of this fingerprint, None when there is none."""
        with reachable(self.tracker.uri):
            if self.history.model() is None:
                return None
            found = self.client.search_model_versions(f"name = '{self.name}' and tags.`{MODEL_TAG}` = '{fingerprint}'")
        return max(found, key=lambda version: int(version.version), default=None)

    def register(self, folder: Path, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """The version that holds this package, made if it is not there yet, and given the alias ``challenger``.

        Args:
            folder: the model package.
            run_id: of the training run.
            tags: lineage, kept on the version.
        """
        fingerprint = package.fingerprint(folder)
        with self._addressed():
            self.history.begin()
            version = self.with_model(fingerprint)
            if version is None or not self.loads(version):
                version = self.new_version(self._log_model(folder, run_id), run_id, {MODEL_TAG: fingerprint, **tags})
            champion = self.champion()
            if champion is None or str(champion.version) != str(version.version):
                self.client.set_registered_model_alias(self.name, CHALLENGER, version.version)
        return version

    def new_version(self, source: str, run_id: str | None, tags: Mapping[str, str]) -> ModelVersion:
        """Number a logged model; what its ``models:/`` address means is looked up where the module-level functions look."""
        with self._addressed():
            return self.client.create_model_version(self.name, source, run_id, tags=dict(tags))

    def seat(self, version: ModelVersion | None) -> None:
        """Make a version the champion, by one call, or leave the office empty."""
        with self._addressed():
            if version is None:
                self.client.delete_registered_model_alias(self.name, CHAMPION)
                return
            self.client.set_registered_model_alias(self.name, CHAMPION, version.version)
            challenger = self._by_alias(CHALLENGER)
            if challenger is not None and str(challenger.version) == str(version.version):
                self.client.delete_registered_model_alias(self.name, CHALLENGER)

    def _way_to_one(self) -> str:
        """Why there is none and what elects one: a run, or what the gate asks for when it refused the last candidate."""
        last = next(iter(reversed(self.history.records())), None)
        if last is not None and last.kind == RETIREMENT:
            return (
                f"since version {last.candidate.version} was retired ({last.reason}); `make run` elects another model, "
                "or this one made again if its files are lost"
            )
        if last is None or last.kind != REFUSAL or not last.failed:
            return "yet; `make run` elects one"
        return (
            f"yet; version {last.candidate.version} was refused: {last.failed[0].explanation}; "
            "bring more rows or a better model, or loosen gate.* in params.yaml, then `make run`"
        )

    def _download(self, version: ModelVersion, folder: str) -> Path:
        """Fetch a version's files; that some are missing is found by whoever reads them, or said by the error that passes."""
        try:
            return Path(mlflow.artifacts.download_artifacts(version.source, dst_path=folder))
        except Exception as error:  # every store's client raises kinds of its own
            if isinstance(error, FileNotFoundError) or getattr(error, "error_code", "") == GONE:
                raise
            raise Unreachable(
                f"the files of version {version.version} of {self.name} cannot be fetched ({first_line(error)}); "
                "see that MLflow and the store of its artifacts answer, then run again"
            ) from error

    @contextmanager
    def _addressed(self) -> Iterator[None]:
        """MLflow's module-level functions speak to our server too, until the block ends."""
        before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
        with reachable(self.tracker.uri):
            mlflow.set_tracking_uri(self.tracker.uri)
            mlflow.set_registry_uri(self.tracker.uri)
            try:
                yield
            finally:
                mlflow.set_tracking_uri(before["MLFLOW_TRACKING_URI"])  # type: ignore[arg-type]  # None forgets it
                mlflow.set_registry_uri(before["MLFLOW_REGISTRY_URI"])  # type: ignore[arg-type]
                # Setting them also sets the environment, from which later trackers and child processes would take them.
                for name, value in before.items():
                    os.environ.pop(name, None)
                    if value is not None:
                        os.environ[name] = value

    def _by_alias(self, alias: str) -> ModelVersion | None:
        with reachable(self.tracker.uri):
            try:
                return self.client.get_model_version_by_alias(self.name, alias)
            except MlflowException as error:
                if error.error_code in NOT_THERE:
                    return None
                raise

    def _log_model(self, folder: Path, run_id: str) -> str:
        """Log the package as a pyfunc model that carries Headway's own code; returns where it lies."""
        output = TextClassifier(ModelPackage.load(folder)).predict(EXAMPLE)
        run = mlflow.start_run(run_id=run_id)
        with run:
            info = mlflow.pyfunc.log_model(
                name="model",
                loader_module="headway.serving.pyfunc",
                data_path=str(folder),
                code_paths=[str(Path(headway.__file__).parent)],
                signature=infer_signature(EXAMPLE, output),
                input_example=EXAMPLE,
                pip_requirements=[f"{name}=={_version(name)}" for name in SERVING_REQUIREMENTS],
            )
        return str(info.model_uri)


def _packed(model: Path) -> Path:
    """Where the package lies in a model's files, as MLflow logs them."""
    data: Path = model / Model.load(str(model)).flavors["python_function"]["data"]
    if not data.resolve().is_relative_to(model.resolve()):
        raise HeadwayError("its MLmodel names a folder outside of it")
    return data


def _version(distribution: str) -> str:
    """The installed version, without a local part such as ``+cpu`` that only one index knows."""
    return importlib.metadata.version(distribution).split("+")[0]
