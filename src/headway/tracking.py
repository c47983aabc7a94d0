"""Everything that talks to MLflow tracking: one parent run per pipeline execution, nested runs for trials and training.

Runs are found by content, never by a remembered id: a run carries the key of what it was made from, so a stage that was
killed continues its run, and a cached stage still finds its own. The parent run is RUNNING from the first nested run of
a flow to that flow's end, and without a flow as long as a stage works below it: whoever opened it closes it, and it is KILLED
when that process is gone.
"""

from __future__ import annotations

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
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from headway.errors import Unreachable, first_line, redact_credentials
from headway.files import read_json
from headway.layout import Layout
from headway.lineage import AFTERWARDS, execution_key, trace
from headway.network import check_reachable
from headway.params import Params, flatten

URI_VARIABLE = "MLFLOW_TRACKING_URI"
#: Tells the stages of a flow which process that flow is: the tags of its parent run, as JSON.
FLOW_VARIABLE = "HEADWAY_FLOW"
#: What ends work from outside, which says nothing against the work: a broken pipe is a reader of the output that is gone.
ENDED_FROM_OUTSIDE = (KeyboardInterrupt, SystemExit, BrokenPipeError)
REMEDY = f"start that server or unset {URI_VARIABLE}, then run again"


def tracking_uri(layout: Layout) -> str:
    """The server that MLFLOW_TRACKING_URI names, else a SQLite file in the project, by its absolute path."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{layout.tracking / 'mlflow.db'}"


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Turns MLflow's own failures into one line that names the server.

    Raises:
        Unreachable: MLflow does not answer, or refuses.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, RequestException) as error:
        raise Unreachable(f"MLflow at {redact_credentials(uri)} failed: {first_line(error)}; {REMEDY}") from error


class RunningRun:
    """A run that is being written.

    Args:
        client, run_id, uri: which one, and where.
        continued: it was left unfinished; a metric that it has at a step with the same value is not logged a second time.
    """

    def __init__(self, client: MlflowClient, run_id: str, uri: str, continued: bool = False) -> None:
        self._client = client
        self._uri = uri
        self._continued = continued
        self.id = run_id

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log params; MLflow refuses to change one, so values that stand already are left alone."""
        with reachable(self._uri):
            known = self._client.get_run(self.id).data.params
            new = [Param(key, str(value)) for key, value in values.items() if key not in known]
            if new:
                self._client.log_batch(self.id, params=new)

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at a step."""
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
        """Name the ingested data set as the run's input."""
        dataset = Dataset(
            name=str(manifest["source"]),
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
    """MLflow, as one project uses it.

    Attributes:
        client: MLflow's own client.
        uri: of the tracking server or database.
        experiment_id: of the experiment that params.yaml names.
    """

    def __init__(self, params: Params, layout: Layout) -> None:
        self.params, self.layout = params, layout
        self.uri = tracking_uri(layout)
        if self.uri.startswith("http"):
            # Told at once, not after the minutes that MLflow's own retries take.
            check_reachable(f"{self.uri.rstrip('/')}/health", f"MLflow at {redact_credentials(self.uri)}", REMEDY)
        own = self.uri == f"sqlite:///{layout.tracking / 'mlflow.db'}"
        if own:
            layout.tracking.mkdir(exist_ok=True)
        layout.scratch.mkdir(exist_ok=True)
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # the tables of a new database are not news
        # Processes that create the database at the same time break one another.
        with reachable(self.uri), FileLock(layout.scratch / "tracking.lock"):
            self.client = MlflowClient(self.uri, self.uri)
            name = params.registry.experiment
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                location = (layout.tracking / "artifacts").as_uri() if own else None
                self.experiment_id = self.client.create_experiment(name, artifact_location=location)
            elif experiment.lifecycle_stage == "deleted":
                self.client.restore_experiment(experiment.experiment_id)
                self.experiment_id = experiment.experiment_id
            else:
                self.experiment_id = experiment.experiment_id

    def find(self, **tags: str) -> Run | None:
        """The newest run whose tags ``headway.<name>`` have these values."""
        wanted = " and ".join(f"tags.`headway.{name}` = '{value}'" for name, value in tags.items())
        with reachable(self.uri):
            runs = self.client.search_runs([self.experiment_id], wanted, max_results=1, order_by=["start_time DESC"])
        return runs[0] if runs else None

    def run(self, run_id: str) -> RunningRun:
        """A run that is there already, to write more into it; its status stays."""
        return RunningRun(self.client, run_id, self.uri)

    def pipeline_run(self) -> RunningRun:
        """The parent run of the present execution, made if it is not there yet, with params, data set and lineage.

        Within a flow it is then RUNNING in that flow's name; else its status stays, and a new one is FINISHED.
        """
        key = execution_key(self.params, self.layout)
        flow = os.environ.get(FLOW_VARIABLE)
        found = self.find(kind="pipeline", key=key)
        if found:
            run = self.run(found.info.run_id)
            run.set_tags(trace(self.params, self.layout).as_tags())
        else:
            run = self._new_pipeline_run(key)
        if flow:
            self._open(run, json.loads(flow))
        elif not found:
            self._close([run.id], "FINISHED")
        return run

    def _new_pipeline_run(self, key: str) -> RunningRun:
        run = self._create("pipeline", f"pipeline {key[:8]}", key, parent=None)
        run.log_params(flatten(self.params.model_dump(exclude=AFTERWARDS)))
        manifest = self.layout.raw / "manifest.json"
        if manifest.is_file():
            run.log_dataset(read_json(manifest, made_by="ingest"))
        if self.layout.ingested.is_file():
            run.set_tags({"headway.ingested_at": read_json(self.layout.ingested, made_by="ingest")["when"]})
        return run

    @contextmanager
    def execution(self) -> Iterator[None]:
        """A flow from begin to end: its parent run, where one came to be, tells how it ended."""
        self.close_orphans()
        status = "FAILED"
        me = _process_tags()
        os.environ[FLOW_VARIABLE] = json.dumps(me)
        try:
            yield
            status = "FINISHED"
        except ENDED_FROM_OUTSIDE:
            status = "KILLED"
            raise
        finally:
            del os.environ[FLOW_VARIABLE]
            found = self.find(kind="pipeline", key=execution_key(self.params, self.layout))
            # By the process, too: whoever edits params.yaml or code meanwhile has changed the key.
            opened = [
                run for run in self._running_here() if run.data.tags.items() >= {**me, "headway.kind": "pipeline"}.items()
            ]
            self._close({run.info.run_id for run in [found, *opened] if run}, status)

    @contextmanager
    def nested(self, kind: str, name: str, key: str) -> Iterator[RunningRun]:
        """A run below the pipeline's, closed whatever happens: FINISHED, FAILED, or KILLED when ended from outside.

        Args:
            kind: what the run is of, as ``"train"``.
            name: shown in MLflow.
            key: of what the run consumes; an unfinished run of the same key, left by a kill, is continued.
        """
        with self.parent() as parent:
            found = self.find(kind=kind, key=key)
            left = found if found and found.info.status in ("RUNNING", "KILLED") else None
            if left and left.data.tags.get(MLFLOW_PARENT_RUN_ID) == parent.id:
                run = RunningRun(self.client, left.info.run_id, self.uri, continued=True)
                self._open(run, _process_tags())
            else:
                run = self._create(kind, name, key, parent=parent.id)
            with self._closed(run):
                yield run

    @contextmanager
    def parent(self) -> Iterator[RunningRun]:
        """The pipeline's run, RUNNING while the block runs, and closed as a nested run is by whoever opened it.

        So within a flow, or within another such block, how this block ends says nothing about the pipeline. A run that another
        machine has left RUNNING is taken over: nobody there could be told from somebody killed.
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
        """A run is closed with the block: FINISHED, FAILED, or KILLED when ended from outside."""
        status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except (*ENDED_FROM_OUTSIDE, Unreachable):
            status = "KILLED"
            raise
        finally:
            self._close([run.id], status)

    def close_orphans(self) -> None:
        """Mark as KILLED the runs of this machine whose process is gone: kill -9 gives it no time to say so itself."""
        for run in self._running_here():
            tags = run.data.tags
            if not _is_alive(int(tags["headway.process"]), float(tags["headway.process_started"])):
                self._close([run.info.run_id], "KILLED")

    def _running_here(self) -> list[Run]:
        """The runs of this machine that are RUNNING."""
        wanted = f"attributes.status = 'RUNNING' and tags.`headway.host` = '{socket.gethostname()}'"
        with reachable(self.uri):
            return list(self.client.search_runs([self.experiment_id], wanted))

    def _open(self, run: RunningRun, process: Mapping[str, str]) -> None:
        """RUNNING, in the name of a process."""
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


def _process_tags() -> dict[str, str]:
    me = psutil.Process()
    return {
        "headway.host": socket.gethostname(),
        "headway.process": str(me.pid),
        "headway.process_started": str(me.create_time()),
    }


def _is_alive(pid: int, started: float) -> bool:
    """Whether that very process still runs; a number that another process has got since does not count."""
    try:
        return bool(abs(psutil.Process(pid).create_time() - started) < 1)
    except psutil.NoSuchProcess:
        return False
