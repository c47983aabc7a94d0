"""Writing to one MLflow run; every error of MLflow is one line."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from headway.errors import Unreachable
from headway.mlflow_errors import describe

#: A database or artifacts cannot be written: full, no permission, or broken.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Turn errors of MLflow, and of the disk it writes to, into one line: address, cause and remedy.

    Raises:
        Unreachable: MLflow does not answer, or reports an error.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, RequestException) as error:
        raise Unreachable(describe(error, uri)) from error
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise Unreachable(describe(error, uri)) from error


class RunningRun:
    """A run to write to.

    Args:
        continued: the run was interrupted before, so a metric that it already has at a step is not logged again.
        name, score: the run's name, to which the metric ``score`` is added once that is logged, as in ``train · imdb · 0.9178``.
    """

    def __init__(
        self, client: MlflowClient, run_id: str, uri: str, continued: bool = False, name: str = "", score: str = ""
    ) -> None:
        self._client = client
        self._uri = uri
        self._continued = continued
        self._name, self._score = name, score
        self.id = run_id

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log params. Existing ones are skipped, because MLflow refuses to change them."""
        with reachable(self._uri):
            known = self._client.get_run(self.id).data.params
            new = [Param(key, str(value)) for key, value in values.items() if key not in known]
            if new:
                self._client.log_batch(self.id, params=new)

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step."""
        now = int(time.time() * 1000)
        with reachable(self._uri):
            metrics = [Metric(key, float(value), now, step) for key, value in values.items()]
            if self._continued:
                metrics = [metric for metric in metrics if not self._has(metric)]
            self._log(metrics)
            if self._score in values:
                self._client.update_run(self.id, name=f"{self._name} · {values[self._score]:.4f}")

    def log_model_metrics(self, model_id: str, values: Mapping[str, float]) -> None:
        """Log metrics that a logged model has in this run, and list the model among the run's. Both are done once only."""
        now = int(time.time() * 1000)
        with reachable(self._uri):
            known = [
                (one.key, one.value)
                for one in self._client.get_logged_model(model_id).metrics or []
                if one.run_id == self.id
            ]
            new = {key: float(value) for key, value in values.items() if (key, float(value)) not in known}
            self._log([Metric(key, value, now, 0, model_id=model_id) for key, value in new.items()])
            outputs = self._client.get_run(self.id).outputs
            if outputs is None or model_id not in {one.model_id for one in outputs.model_outputs}:
                self._client.log_outputs(self.id, [LoggedModelOutput(model_id, step=0)])

    def _log(self, metrics: list[Metric]) -> None:
        if metrics:
            self._client.log_batch(self.id, metrics=metrics)

    def _has(self, new: Metric) -> bool:
        history = self._client.get_metric_history(self.id, new.key)
        return any((known.step, known.value) == (new.step, new.value) for known in history)

    def set_tags(self, values: Mapping[str, str]) -> None:
        with reachable(self._uri):
            self._client.log_batch(self.id, tags=[RunTag(key, value) for key, value in values.items()])

    def log_artifacts(self, paths: Sequence[Path], folder: str | None = None) -> None:
        """Copy files into the run's artifacts."""
        with reachable(self._uri):
            for path in paths:
                self._client.log_artifact(self.id, str(path), folder)

    def log_dataset(self, manifest: Mapping[str, Any]) -> None:
        """Log the ingested data set, described by its manifest, as the run's input."""
        dataset = Dataset(
            name=str(manifest["source"])[:500],  # MLflow refuses longer ones
            digest=str(manifest["rows_sha256"])[:32],
            source_type="local",
            source=json.dumps({"uri": manifest["source"], "version": manifest["version"]}),
            profile=json.dumps({"rows": manifest["rows"], "labels": len(manifest["label_counts"])}),
        )
        with reachable(self._uri):
            inputs = self._client.get_run(self.id).inputs
            if not inputs or not inputs.dataset_inputs:
                tags = [InputTag(MLFLOW_DATASET_CONTEXT, "train, validation and test")]
                self._client.log_inputs(self.id, datasets=[DatasetInput(dataset, tags)])
