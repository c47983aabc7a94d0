"""MLflow's model registry as Headway uses it: register a candidate, record its decision, move the aliases.

Every step can be repeated: after a kill between any two of them, the next run finds what is done and does the rest.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from yaml import YAMLError

import headway
from headway.errors import HeadwayError, Unreachable
from headway.files import sha256_of_json
from headway.network import without_password
from headway.serving import package
from headway.serving.package import ModelPackage
from headway.serving.pyfunc import TextClassifier
from headway.tracking import Tracker, reachable

CHAMPION, CHALLENGER = "champion", "challenger"
MODEL_TAG, DECISION_TAG, VERDICT_TAG = "headway.model", "headway.decision", "headway.verdict"
RECORD_VERSION = 1
#: What the packed model imports when it is served, nothing of the training stack.
SERVING_REQUIREMENTS = ("mlflow", "torch", "tokenizers", "safetensors", "numpy", "pandas", "pyarrow", "pydantic")
EXAMPLE = pd.DataFrame({"text": ["A joy from the first scene to the last.", "I wanted my two hours back."]})
GONE = ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)
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
            raise HeadwayError(f"model {self.name} has no champion yet; {self._way_to_one()}")
        return self.load(champion)

    def load(self, version: ModelVersion) -> ModelPackage:
        """A registered version's package.

        Raises:
            Unreachable: its files cannot be fetched, which does not say that they are lost.
            HeadwayError: they are gone or damaged.
        """
        with tempfile.TemporaryDirectory(prefix="headway-") as folder, self._addressed():
            try:
                local = self._download(version, folder)
                data = Model.load(str(local)).flavors["python_function"]["data"]
                return ModelPackage.load(local / data)
            except Unreachable:
                raise
            except (HeadwayError, MlflowException, OSError, YAMLError, AttributeError, KeyError, TypeError) as error:
                reason = _first_line(error).replace(f"{folder}/", "")
                raise HeadwayError(
                    f"version {version.version} of {self.name} cannot be loaded ({reason}); bring its files back, or run "
                    f'`headway retire --reason "…"` so that the next run elects a champion anew'
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

    def register(self, folder: Path, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """The version that holds this package, made if it is not there yet, and given the alias ``challenger``.

        Args:
            folder: the model package.
            run_id: of the training run.
            tags: lineage, kept on the version.
        """
        fingerprint = package.fingerprint(folder)
        with self._addressed():
            version = self._with_model(fingerprint)
            if version is None or not self.loads(version):
                source = self._log_model(folder, run_id)
                if not self._exists():
                    self.client.create_registered_model(self.name)
                version = self.client.create_model_version(self.name, source, run_id, tags={MODEL_TAG: fingerprint, **tags})
            champion = self.champion()
            if champion is None or str(champion.version) != str(version.version):
                self.client.set_registered_model_alias(self.name, CHALLENGER, version.version)
        return version

    def record(self, version: ModelVersion, run_id: str, record: Mapping[str, Any]) -> None:
        """Attach a decision record to the version and to the training run."""
        text = json.dumps(record, indent=2, ensure_ascii=False)
        with self._addressed():
            self.client.log_text(run_id, text, f"decisions/version-{version.version}-{record['id'][:12]}.json")
            self.client.set_model_version_tag(self.name, version.version, DECISION_TAG, text)
            self.client.set_model_version_tag(self.name, version.version, VERDICT_TAG, record["verdict"])
            self.client.update_model_version(self.name, version.version, description="\n".join(record["summary"]))

    def promote(self, version: ModelVersion, instead_of: ModelVersion | None) -> None:
        """Make a version the champion: the last thing done, by one call.

        Args:
            version: the candidate.
            instead_of: the champion that it was compared with.

        Raises:
            HeadwayError: another version became champion since.
        """
        with self._addressed():
            champion = self.champion()
            if (champion and str(champion.version)) != (instead_of and str(instead_of.version)):
                now = f"version {champion.version} is champion" if champion else "there is no champion"
                raise HeadwayError(f"the champion changed while the gate compared ({now} now); run again to compare with it")
            challenger = self._by_alias(CHALLENGER)
            if challenger is not None and str(challenger.version) == str(version.version):
                self.client.delete_registered_model_alias(self.name, CHALLENGER)
            self.client.set_registered_model_alias(self.name, CHAMPION, version.version)

    def retire(self, reason: str) -> str:
        """Take the champion out of office and keep why with its version; returns its number.

        Raises:
            HeadwayError: there is no champion.
        """
        champion = self.champion()
        if champion is None:
            raise HeadwayError(f"model {self.name} has no champion to retire")
        with self._addressed():
            self.client.set_model_version_tag(self.name, champion.version, "headway.retired", f"{_now()}: {reason}")
            self.client.delete_registered_model_alias(self.name, CHAMPION)
        return str(champion.version)

    def _way_to_one(self) -> str:
        """What elects a champion: a run, or what the gate asks for when it refused the last candidate."""
        challenger = self._by_alias(CHALLENGER)
        record = json.loads(challenger.tags.get(DECISION_TAG, "{}")) if challenger else {}
        failed = [check["explanation"] for check in record.get("checks", []) if not check["passed"]]
        if challenger is None or not failed:
            return "`make run` elects one"
        return (
            f"version {challenger.version} was refused: {failed[0]}; "
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
                f"the files of version {version.version} of {self.name} cannot be fetched ({_first_line(error)}); "
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

    def _exists(self) -> bool:
        return bool(self.client.search_registered_models(f"name = '{self.name}'"))

    def _with_model(self, fingerprint: str) -> ModelVersion | None:
        if not self._exists():
            return None
        found = self.client.search_model_versions(f"name = '{self.name}' and tags.`{MODEL_TAG}` = '{fingerprint}'")
        return max(found, key=lambda version: int(version.version), default=None)

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


def decision_record(decision: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The decision as it is kept: verdict, every check, and what was decided on.

    Args:
        decision: verdict and checks, from :meth:`headway.registry.gate.Decision.as_dict`.
        facts: candidate, champion, policy and lineage.
    """
    content = {"record_version": RECORD_VERSION, **decision, **facts}
    summary = [f"{decision['verdict']}:"] + [
        f"{'✓' if check['passed'] else '✗'} {check['name']}: {check['explanation']}" for check in decision["checks"]
    ]
    return {"id": sha256_of_json(content), **content, "summary": summary, "decided_at": _now()}


def _version(distribution: str) -> str:
    """The installed version, without a local part such as ``+cpu`` that only one index knows."""
    return importlib.metadata.version(distribution).split("+")[0]


def _first_line(error: Exception) -> str:
    """What an error says, fit for one line."""
    said = without_password(str(error).strip()) or type(error).__name__
    return said.splitlines()[0][:200]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
