"""Everything that talks to MLflow tracking: one parent run per pipeline execution, with nested runs for search and training.

No run id is stored. Each run is tagged with a key, a hash of its inputs, by which a restarted stage finds the run to continue and
a cached stage the run that it made. The parent run is RUNNING from a flow's first nested run to the flow's end; without a flow it
is RUNNING while a stage works under it. The process that opened a run closes it; if that process is gone, the next process marks
the run as KILLED.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from headway import tracking_database
from headway.errors import Unreachable
from headway.files import read_json
from headway.layout import Layout
from headway.lineage import AFTERWARDS, execution_key, trace
from headway.mlflow_connection import require_answer
from headway.mlflow_errors import URI_VARIABLE as URI_VARIABLE
from headway.mlflow_errors import describe
from headway.params import Params, flatten

#: Set by a flow for its stages: JSON of the tags that identify the flow's process.
FLOW_VARIABLE = "HEADWAY_FLOW"
#: A database or artifacts cannot be written: full, no permission, or broken.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
#: MLflow logs every new table, and a traceback for every failed statement; the error itself is reported once.
NOISY = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "mlflow.store.db.utils": logging.CRITICAL}


def tracking_uri(layout: Layout) -> str:
    """The URI in MLFLOW_TRACKING_URI, else that of a SQLite file in the project, with its absolute path."""
    return os.environ.get(URI_VARIABLE) or layout.tracking_uri


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
    """

    def __init__(self, client: MlflowClient, run_id: str, uri: str, continued: bool = False) -> None:
        self._client = client
        self._uri = uri
        self._continued = continued
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


class Tracker:
    """The MLflow experiment of one project; created, or restored after deletion, if necessary."""

    def __init__(self, params: Params, layout: Layout) -> None:
        self.params, self.layout = params, layout
        self.uri = tracking_uri(layout)
        #: Whether MLflow's database is the project's own file.
        self.own = self.uri == layout.tracking_uri
        for name, level in NOISY.items():
            logging.getLogger(name).setLevel(level)
        if not self.own:
            require_answer(self.uri)
        with reachable(self.uri), tracking_database.locked(layout):
            if self.own:
                tracking_database.prepare(layout)
            self.client = MlflowClient(self.uri, self.uri)
            name = params.registry.experiment
            experiment = self.client.get_experiment_by_name(name)
            if experiment and experiment.lifecycle_stage == "deleted":
                self.client.restore_experiment(experiment.experiment_id)
            location = layout.artifacts.as_uri() if self.own else None
            self.experiment_id = (
                experiment.experiment_id if experiment else self.client.create_experiment(name, artifact_location=location)
            )

    def find(self, **tags: str) -> Run | None:
        """The newest run whose tags ``headway.<name>`` have the given values."""
        wanted = " and ".join(f"tags.`headway.{name}` = '{value}'" for name, value in tags.items())
        with reachable(self.uri):
            runs = self.client.search_runs([self.experiment_id], wanted, max_results=1, order_by=["start_time DESC"])
        return runs[0] if runs else None

    def run(self, run_id: str) -> RunningRun:
        """An existing run, to write more to; its status does not change."""
        return RunningRun(self.client, run_id, self.uri)

    def pipeline_run(self) -> RunningRun:
        """The parent run of the current execution, with params, data set and lineage; created if it does not exist.

        Within a flow the run becomes RUNNING and belongs to the flow's process. Otherwise its status does not change, and a new
        run is FINISHED.
        """
        key = execution_key(self.params, self.layout)
        flow = os.environ.get(FLOW_VARIABLE)
        found = self.find(kind="pipeline", key=key)
        if found:
            run = self.run(found.info.run_id)
            run.set_tags(trace(self.params, self.layout).as_tags())
        else:
            run = self._create("pipeline", f"pipeline {key[:8]}", key, parent=None)
            run.log_params(flatten(self.params.model_dump(exclude=AFTERWARDS)))
            manifest = self.layout.raw / "manifest.json"
            if manifest.is_file():
                run.log_dataset(read_json(manifest, made_by="ingest"))
            if self.layout.ingested.is_file():
                run.set_tags({"headway.ingested_at": read_json(self.layout.ingested, made_by="ingest")["when"]})
        if flow:
            self._open(run, json.loads(flow))
        elif not found:
            self._close([run.id], "FINISHED")
        return run

    @contextmanager
    def execution(self) -> Iterator[None]:
        """The duration of a flow; its parent run, if there is one, is closed with the flow's outcome."""
        self.close_orphans()
        status = "FAILED"
        own_tags = _process_tags()
        os.environ[FLOW_VARIABLE] = json.dumps(own_tags)
        try:
            yield
            status = "FINISHED"
        except BaseException as error:
            status = _status_after(error)
            raise
        finally:
            del os.environ[FLOW_VARIABLE]
            found = self.find(kind="pipeline", key=execution_key(self.params, self.layout))
            # Also by process: an edit of params.yaml or code during the flow changes the key.
            opened = [
                run
                for run in self._running_here()
                if run.data.tags.items() >= {**own_tags, "headway.kind": "pipeline"}.items()
            ]
            self._close({run.info.run_id for run in [found, *opened] if run}, status)

    @contextmanager
    def nested(self, kind: str, name: str, key: str) -> Iterator[RunningRun]:
        """A run nested in the pipeline's, closed as FINISHED, FAILED, or KILLED if interrupted.

        Args:
            kind: of the run, such as ``"training"``.
            key: hash of the run's inputs; an interrupted run with the same key is continued.
        """
        with self.parent() as parent:
            found = self.find(kind=kind, key=key)
            interrupted = found and found.info.status in ("RUNNING", "KILLED")
            if found and interrupted and found.data.tags.get(MLFLOW_PARENT_RUN_ID) == parent.id:
                run = RunningRun(self.client, found.info.run_id, self.uri, continued=True)
                self._open(run, _process_tags())
            else:
                run = self._create(kind, name, key, parent=parent.id)
            with self._closed(run):
                yield run

    @contextmanager
    def parent(self) -> Iterator[RunningRun]:
        """The pipeline's run, RUNNING during the block.

        If this block opened the run, it closes it with the block's outcome; within a flow or another such block it does not. A
        run that another machine left RUNNING is taken over, because this machine cannot tell whether its process is alive.
        """
        self.close_orphans()
        run = self.pipeline_run()
        with reachable(self.uri):
            found = self.client.get_run(run.id)
        if found.info.status == "RUNNING" and found.data.tags.get("headway.host") == socket.gethostname():
            yield run
            return
        self._open(run, _process_tags())
        with self._closed(run):
            yield run

    @contextmanager
    def _closed(self, run: RunningRun) -> Iterator[None]:
        """Close a run after the block: FINISHED, FAILED, or KILLED if interrupted."""
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except BaseException as error:
            status = "KILLED" if isinstance(error, Unreachable) else _status_after(error)
            raise
        finally:
            self._close([run.id], status)

    def close_orphans(self) -> None:
        """Mark this machine's RUNNING runs whose process is gone as KILLED; after kill -9 a process cannot do so itself."""
        for run in self._running_here():
            tags = run.data.tags
            if not _is_alive(int(tags["headway.process"]), float(tags["headway.process_started"])):
                self._close([run.info.run_id], "KILLED")

    def _running_here(self) -> list[Run]:
        """This machine's RUNNING runs."""
        wanted = f"attributes.status = 'RUNNING' and tags.`headway.host` = '{socket.gethostname()}'"
        with reachable(self.uri):
            return list(self.client.search_runs([self.experiment_id], wanted))

    def _open(self, run: RunningRun, process: Mapping[str, str]) -> None:
        """Mark a run as RUNNING, as a run of the process with these tags."""
        run.set_tags(process)
        with reachable(self.uri):
            self.client.update_run(run.id, status="RUNNING")

    def _close(self, run_ids: Iterable[str], status: str) -> None:
        with reachable(self.uri):
            for run_id in run_ids:
                self.client.set_terminated(run_id, status)

    def _create(self, kind: str, name: str, key: str, parent: str | None) -> RunningRun:
        tags = {
            MLFLOW_RUN_NAME: name,
            "headway.kind": kind,
            "headway.key": key,
            **_process_tags(),
            **trace(self.params, self.layout).as_tags(),
        }
        if parent:
            tags[MLFLOW_PARENT_RUN_ID] = parent
        with reachable(self.uri):
            run = self.client.create_run(self.experiment_id, tags=tags, run_name=name)
        return self.run(run.info.run_id)


def _status_after(error: BaseException) -> str:
    """KILLED after an interruption from outside, else FAILED.

    Interruptions are Ctrl+C, signals (Prefect has an exception of its own for SIGTERM), and a broken pipe: the reader of the
    output has exited.
    """
    return "FAILED" if isinstance(error, Exception) and not isinstance(error, BrokenPipeError) else "KILLED"


def _process_tags() -> dict[str, str]:
    process = psutil.Process()
    return {
        "headway.host": socket.gethostname(),
        "headway.process": str(process.pid),
        "headway.process_started": str(process.create_time()),
    }


def _is_alive(pid: int, started: float) -> bool:
    """Whether the process is still running; its start time tells it from a later process with the same id."""
    try:
        return bool(abs(psutil.Process(pid).create_time() - started) < 1)
    except psutil.NoSuchProcess:
        return False
