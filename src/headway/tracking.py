"""Everything that talks to MLflow tracking: one parent run per pipeline execution, with nested runs for search and training.

No run id is stored. Each run is tagged with a key, a hash of its inputs, by which a restarted stage finds the run to continue and
a cached stage the run that it made. The parent run is RUNNING from a flow's first nested run to the flow's end; without a flow it
is RUNNING while a stage works under it. The process that opened a run closes it; if that process is gone, the next process marks
the run as KILLED.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import psutil
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from headway import tracking_database, tracking_labels
from headway.errors import Unreachable, redact_credentials
from headway.files import read_json
from headway.layout import Layout
from headway.lineage import AFTERWARDS, execution_key, trace
from headway.mlflow_connection import require_answer
from headway.mlflow_errors import URI_VARIABLE as URI_VARIABLE
from headway.params import Params, flatten
from headway.tracking_run import RunningRun as RunningRun
from headway.tracking_run import reachable as reachable

#: Where ``headway ui`` serves MLflow's pages unless it is given another port.
UI_ADDRESS = "http://127.0.0.1:5000/"
#: Set by a flow for its stages: JSON of the tags that identify the flow's process.
FLOW_VARIABLE = "HEADWAY_FLOW"
#: MLflow logs every new table, and a traceback for every failed statement; the error itself is reported once.
NOISY = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "mlflow.store.db.utils": logging.CRITICAL}


def tracking_uri(layout: Layout) -> str:
    """The URI in MLFLOW_TRACKING_URI, else that of a SQLite file in the project, with its absolute path."""
    return os.environ.get(URI_VARIABLE) or layout.tracking_uri


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
            self.experiment_id = self.open_experiment(params.registry.experiment, tracking_labels.experiment_tags(params))

    def open_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """Id of an experiment; created, or restored after deletion, if necessary. Tags that it has already are kept."""
        with reachable(self.uri):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                origin = tracking_labels.provenance("pipeline", self.lineage_tags())
                location = self.layout.artifacts.as_uri() if self.own else None
                try:
                    return self.client.create_experiment(name, artifact_location=location, tags={**origin, **tags})
                except MlflowException as error:
                    found = self.client.get_experiment_by_name(name)
                    if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                        raise
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            for tag, value in tags.items():
                if tag not in found.tags or found.tags[tag].endswith(tracking_labels.INFERRED):
                    try:
                        self.client.set_experiment_tag(found.experiment_id, tag, value)
                    except MlflowException as error:  # of a user who may only read, for whom the rest works
                        if error.error_code != "PERMISSION_DENIED":
                            raise
            return str(found.experiment_id)

    @property
    def pages(self) -> str:
        """Address of MLflow's pages, without a password: the server's, or that of ``headway ui``; "" for another database."""
        if self.own:
            return UI_ADDRESS
        return redact_credentials(self.uri).rstrip("/") + "/" if self.uri.startswith("http") else ""

    def run_path(self, run_id: str, artifact: str = "") -> str:
        """The part of a run's address after that of MLflow's pages; with a file among its artifacts, the file's."""
        return f"{self._path}/runs/{run_id}" + (f"/artifacts/{artifact}" if artifact else "") + tracking_labels.VIEW

    @property
    def runs_path(self) -> str:
        """The part of the address of the list of runs."""
        return f"{self._path}/runs{tracking_labels.VIEW}"

    @property
    def _path(self) -> str:
        return f"#/experiments/{self.experiment_id}"

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
            run = self._run_of("pipeline", "pipeline", found.info.run_id)
            lineage = self.lineage_tags()
            run.set_tags({**lineage, **tracking_labels.commit_tags(lineage)})
        else:
            run = self._create("pipeline", "pipeline", key, parent=None)
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
                run = self._run_of(kind, name, found.info.run_id, continued=True)
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
        shown, lineage = tracking_labels.run_name(kind, name, self.params), self.lineage_tags()
        tags = {
            MLFLOW_RUN_NAME: shown,
            tracking_labels.NOTE: tracking_labels.RUN_NOTES[kind],
            "headway.kind": kind,
            "headway.key": key,
            **_process_tags(),
            **lineage,
            **tracking_labels.provenance(kind, lineage),
        }
        if parent:
            tags[MLFLOW_PARENT_RUN_ID] = parent
        with reachable(self.uri):
            run = self.client.create_run(self.experiment_id, tags=tags, run_name=shown)
        return self._run_of(kind, name, run.info.run_id)

    def _run_of(self, kind: str, name: str, run_id: str, continued: bool = False) -> RunningRun:
        """A run to write to, whose name gets its score."""
        shown = tracking_labels.run_name(kind, name, self.params)
        return RunningRun(self.client, run_id, self.uri, continued, shown, tracking_labels.SCORES[kind])

    def lineage_tags(self) -> dict[str, str]:
        """Commit, lock, data and params of this execution, as tags."""
        return trace(self.params, self.layout).as_tags()


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
