"""An append-only log of records, kept in one MLflow run for as long as the registered model exists.

MLflow never changes a run's parameter, so "parameter n is the id of record n" can be written only once: of two concurrent
writers one succeeds, and the other gets :class:`LogConflict`. The record itself is an artifact named by its id, written
first. After a kill at any point the record is either part of the log or an unused artifact.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import LifecycleStage
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from headway import tracking_labels
from headway.errors import HeadwayError, Unreachable, first_line
from headway.files import TEMPORARY_PREFIX
from headway.registry import ownership
from headway.registry.download import INVALID, NOT_FOUND
from headway.registry.version_ref import CARRIED_OUT_TAG as CARRIED_OUT_TAG
from headway.registry.version_ref import RUN_TAG as RUN_TAG
from headway.tracking import Tracker, reachable

FOLDER = "records"


class LogConflict(HeadwayError):
    """Another process appended a record first, so this one was not appended."""


@dataclass(frozen=True)
class Entries:
    """The content of the log.

    Attributes:
        ids: ids of the records by their numbers, counted from 1.
        carried_out: number and id of the record that was carried out last; (0, "") if none was.
        lost_run: id of the log's run if MLflow no longer has it, else "".
    """

    ids: dict[int, str]
    carried_out: tuple[int, str]
    lost_run: str = ""

    @property
    def last(self) -> str:
        """Id of the last record, "" if there is none."""
        return self.ids[max(self.ids)] if self.ids else ""


@contextmanager
def ignoring(*codes: str) -> Iterator[None]:
    """Leave the block without an error if MLflow reports one with such a code."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in codes:
            raise


@contextmanager
def storing(what: str) -> Iterator[None]:
    """Turn a failure of the artifact store into one line. MLflow's own errors are raised as they are; see
    :func:`headway.tracking.reachable`.

    Raises:
        Unreachable: the store does not answer, or refuses to store.
    """
    try:
        yield
    except (HeadwayError, MlflowException):
        raise
    except Exception as error:  # every store's client raises its own types
        raise Unreachable(
            f"{what} cannot be stored ({first_line(error)}); check that MLflow's artifact store answers and has free space, "
            "then run again"
        ) from error


class RecordLog:
    """The log of the registered model that params.yaml names."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker, self.client = tracker, tracker.client
        self.name: str = tracker.params.registry.model_name
        self._texts: dict[str, str] = {}

    def create(self) -> RegisteredModel:
        """Create the registered model and its log, unless they exist; returns the registered model.

        The registered model is created together with the tag that names the run, which only one process can do. A registered
        model that is older than such logs gets the tag later: concurrent processes then choose the same run, and check again
        before they set the tag. :meth:`append` detects the race that remains.
        """
        with reachable(self.tracker.uri):
            model = self.model()
            if model is not None and RUN_TAG in model.tags:
                return model
            run = self._empty_run()
            if model is None:
                with ignoring("RESOURCE_ALREADY_EXISTS"):
                    self.client.create_registered_model(
                        self.name, tags={RUN_TAG: run, **ownership.creation_tags(self.tracker), **self._origin()}
                    )
            elif self._run() is None:
                self.client.set_registered_model_tag(self.name, RUN_TAG, run)
            return self.client.get_registered_model(self.name)

    def entries(self) -> Entries:
        """Ids of all records, and how many were carried out."""
        with reachable(self.tracker.uri):
            model = self.model()
            if model is None:
                return Entries({}, (0, ""))
            number, _, record_id = model.tags.get(CARRIED_OUT_TAG, "0 ").partition(" ")
            carried_out = int(number), record_id
            run = model.tags.get(RUN_TAG)
            if run is None:
                return Entries({}, carried_out)
            with ignoring(NOT_FOUND):
                return Entries(self._ids(run), carried_out)
            return Entries({}, carried_out, lost_run=run)

    def texts(self, ids: Iterable[str]) -> dict[str, str]:
        """Stored texts by record id; an id without an artifact is left out. Each record is fetched once.

        Raises:
            Unreachable: the artifacts cannot be fetched, which does not mean that they are lost.
        """
        wanted = list(ids)
        if set(wanted) - self._texts.keys():
            with reachable(self.tracker.uri):
                run = self._run()
                fetched = self._fetch(run) if run is not None else {}
            self._texts |= {one: fetched[one] for one in wanted if one in fetched}
        return {one: self._texts[one] for one in wanted if one in self._texts}

    def append(self, number: int, record_id: str, text: str) -> None:
        """Append a record to the log.

        Raises:
            LogConflict: the number is taken, or another process created another log.
        """
        with reachable(self.tracker.uri):
            run = self._run()
            assert run is not None, "the log was not created"
            info = self.client.get_run(run).info
            if info.lifecycle_stage == LifecycleStage.DELETED:
                if self.client.get_experiment(info.experiment_id).lifecycle_stage == LifecycleStage.DELETED:
                    self.client.restore_experiment(info.experiment_id)
                self.client.restore_run(run)
            with storing(f"record {number} of the history of {self.name}"):
                self.client.log_text(run, text, f"{FOLDER}/{record_id}.json")
            with ignoring(INVALID):  # the number is taken
                self.client.log_param(run, f"{number:06d}", record_id)
            # Read again, because a store might neither keep the first value nor report the conflict.
            if self._ids(run).get(number) != record_id:
                raise LogConflict(f"another process wrote record {number} of the history of {self.name}; run again")
            if self._run() != run:
                raise LogConflict(f"another process created the history of {self.name} at the same time; run again")
        self._texts[record_id] = text

    def mark_carried_out(self, number: int, record_id: str) -> None:
        """Note that a record, and all before it, were carried out."""
        with reachable(self.tracker.uri):
            self.client.set_registered_model_tag(self.name, CARRIED_OUT_TAG, f"{number} {record_id}")

    def model(self) -> RegisteredModel | None:
        """The registered model, None before its first version."""
        with ignoring(NOT_FOUND):
            return self.client.get_registered_model(self.name)
        return None

    def _run(self) -> str | None:
        """The log's run, None if there is no log yet."""
        model = self.model()
        return model.tags.get(RUN_TAG) if model is not None else None

    def _empty_run(self) -> str:
        """The first run without records: one left by a killed process, or a new one. Concurrent processes get the same.

        It is in an experiment of its own, apart from the runs that people look at.
        """
        params = self.tracker.params
        experiment = self.tracker.open_experiment(
            f"{params.registry.experiment}-history", tracking_labels.history_tags(params)
        )
        if not self._empty_runs(experiment):
            name = f"history of {self.name}"
            tags = {MLFLOW_RUN_NAME: name, "headway.kind": "history", "headway.history_of": self.name, **self._origin()}
            run = self.client.create_run(experiment, tags=tags, run_name=name)
            self.client.set_terminated(run.info.run_id)
        return self._empty_runs(experiment)[0]

    def _origin(self) -> dict[str, str]:
        return tracking_labels.provenance("pipeline", self.tracker.lineage_tags())

    def _empty_runs(self, experiment: str) -> list[str]:
        """Runs that were created for a log of this model and hold no record, the oldest first."""
        wanted = f"tags.`headway.kind` = 'history' and tags.`headway.history_of` = '{self.name}'"
        found = self.client.search_runs([experiment], wanted)
        return [run for _, run in sorted((run.info.start_time, run.info.run_id) for run in found if not run.data.params)]

    def _ids(self, run: str) -> dict[int, str]:
        params = self.client.get_run(run).data.params
        return {int(key): value for key, value in params.items() if re.fullmatch(r"[0-9]{6,}", key)}

    def _fetch(self, run: str) -> dict[str, str]:
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
            try:
                if not self.client.list_artifacts(run, FOLDER):
                    return {}
                files = Path(self.client.download_artifacts(run, FOLDER, folder)).glob("*.json")
            except Exception as error:  # every store's client raises its own types
                raise Unreachable(
                    f"the history of {self.name} cannot be fetched ({first_line(error)}); "
                    "check that MLflow and its artifact store answer, then run again"
                ) from error
            return {file.stem: file.read_text(encoding="utf-8", errors="replace") for file in files}
