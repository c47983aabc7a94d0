"""The history: every decision record in its order, kept in MLflow, where all machines that share the registry append to it.

It is one MLflow run that lives as long as the registered model. MLflow never changes a run's parameter, so "parameter n is the
id of record n" can be written once: of two writers one succeeds, and the other learns that the history has grown. The record
itself is an artifact named by its id, written before: whatever a kill leaves behind is either in the history or in nobody's way.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow.entities import LifecycleStage
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from headway.errors import HeadwayError, Unreachable, first_line
from headway.promotion.decision import Record, parse
from headway.tracking import Tracker, reachable

#: Tags of the registered model: the history's run, and the last record that was carried out, as "number id".
RUN_TAG, CARRIED_TAG = "headway.history", "headway.history_carried_out"
FOLDER = "records"
GONE, TAKEN = ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE)
EXISTS = ErrorCode.Name(RESOURCE_ALREADY_EXISTS)
REMEDY = (
    "see `headway history --verify`; bring MLflow's database and artifacts back from a backup, or, to begin a new history, "
    f"delete the tags {RUN_TAG} and {CARRIED_TAG} of the registered model"
)


@contextmanager
def stored(what: str) -> Iterator[None]:
    """Turns the failures of the store of artifacts into one line; MLflow's own pass, see :func:`headway.tracking.reachable`.

    Raises:
        Unreachable: it does not answer, or takes nothing.
    """
    try:
        yield
    except (HeadwayError, MlflowException):
        raise
    except Exception as error:  # every store's client raises kinds of its own
        raise Unreachable(
            f"{what} cannot be stored ({first_line(error)}); see that the store of MLflow's artifacts answers and has room, "
            "then run again"
        ) from error


class HistoryGrew(HeadwayError):
    """Another process recorded a decision first: what was decided on may be another now."""


class History:
    """The records of one registered model.

    Args:
        tracker: how MLflow is reached; params.yaml names the registered model.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker, self.client = tracker, tracker.client
        self.name: str = tracker.params.registry.model_name
        self._known: dict[str, Record] = {}

    def begin(self) -> None:
        """See that there is a registered model and a history of it.

        The registered model is made together with the tag that names the run, which only one process can do. To give the tag to
        a model that is there already, from before there were histories, is no such thing: whoever does it takes the run that all
        would take and looks again first, and :meth:`append` notices the rest.
        """
        with reachable(self.tracker.uri):
            model = self.model()
            if model is not None and RUN_TAG in model.tags:
                return
            run = self._empty_run()
            if model is not None:
                if self._run() is None:
                    self.client.set_registered_model_tag(self.name, RUN_TAG, run)
                return
            try:
                self.client.create_registered_model(self.name, tags={RUN_TAG: run})
            except MlflowException as error:
                if error.error_code != EXISTS:
                    raise

    def records(self) -> list[Record]:
        """All records, in their order.

        Raises:
            HeadwayError: the chain is broken; nothing is decided on a history that somebody altered.
        """
        records, problem = self.examine()
        if problem:
            raise HeadwayError(f"the history of {self.name} is broken: {problem}; {REMEDY}")
        return records

    def examine(self) -> tuple[list[Record], str]:
        """The records up to the first broken one, and what is wrong with that, "" when all is well."""
        with reachable(self.tracker.uri):
            model = self.model()
            run = model.tags.get(RUN_TAG) if model is not None else None
            if model is None or run is None:
                return [], _cut_off([], model.tags.get(CARRIED_TAG, "")) if model is not None else ""
            try:
                ids = self._ids(run)
            except MlflowException as error:
                if error.error_code != GONE:
                    raise
                return [], f"its run {run} is gone"
            texts = self._texts(run) if set(ids.values()) - self._known.keys() else {}
        records: list[Record] = []
        for number in range(1, max(ids, default=0) + 1):
            try:
                records.append(self._checked(number, ids, texts, records[-1].id if records else ""))
            except HeadwayError as error:
                return records, f"record {number}: {error}"
        return records, _cut_off(records, model.tags.get(CARRIED_TAG, ""))

    def append(self, record: Record) -> None:
        """Make a record the history's last.

        Raises:
            HistoryGrew: its place is taken, or another process began another history.
        """
        with reachable(self.tracker.uri):
            run = self._run()
            assert run is not None
            if self.client.get_run(run).info.lifecycle_stage == LifecycleStage.DELETED:
                self.client.restore_run(run)
            with stored(f"record {record.number} of the history of {self.name}"):
                self.client.log_text(run, record.as_json(), f"{FOLDER}/{record.id}.json")
            try:
                self.client.log_param(run, f"{record.number:06d}", record.id)
            except MlflowException as error:
                if error.error_code != TAKEN:
                    raise
            # Read again, for a store that neither keeps the first value nor says so.
            if self._ids(run).get(record.number) != record.id:
                raise HistoryGrew(f"another process made record {record.number} of the history of {self.name}; run again")
            if self._run() != run:
                raise HistoryGrew(f"another process began the history of {self.name} at the same time; run again")
        self._known[record.id] = record

    def last(self) -> str:
        """Id of the last record, "" when there is none."""
        with reachable(self.tracker.uri):
            run = self._run()
            ids = self._ids(run) if run is not None else {}
        return ids[max(ids)] if ids else ""

    def carried_out(self) -> int:
        """Number of the last record that was carried out, 0 when none was."""
        with reachable(self.tracker.uri):
            model = self.model()
        return _number(model.tags.get(CARRIED_TAG, "")) if model is not None else 0

    def mark_carried_out(self, record: Record) -> None:
        with reachable(self.tracker.uri):
            self.client.set_registered_model_tag(self.name, CARRIED_TAG, f"{record.number} {record.id}")

    def model(self) -> RegisteredModel | None:
        """The registered model, None before its first version."""
        try:
            return self.client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code == GONE:
                return None
            raise

    def _run(self) -> str | None:
        """The history's run, None when there is no history yet."""
        model = self.model()
        return model.tags.get(RUN_TAG) if model is not None else None

    def _empty_run(self) -> str:
        """The first run without records: one that a killed process left, or a new one; of two that are made at once, the same."""
        if not self._empty_runs():
            name = f"history of {self.name}"
            tags = {MLFLOW_RUN_NAME: name, "headway.kind": "history", "headway.history_of": self.name}
            run = self.client.create_run(self.tracker.experiment_id, tags=tags, run_name=name)
            self.client.set_terminated(run.info.run_id)
        return self._empty_runs()[0]

    def _empty_runs(self) -> list[str]:
        """The runs that were made for a history of this model and hold no record, the oldest first."""
        wanted = f"tags.`headway.kind` = 'history' and tags.`headway.history_of` = '{self.name}'"
        found = self.client.search_runs([self.tracker.experiment_id], wanted)
        return [run for _, run in sorted((run.info.start_time, run.info.run_id) for run in found if not run.data.params)]

    def _ids(self, run: str) -> dict[int, str]:
        """Ids of the records by their numbers."""
        params = self.client.get_run(run).data.params
        return {int(key): value for key, value in params.items() if re.fullmatch(r"[0-9]{6,}", key)}

    def _texts(self, run: str) -> dict[str, str]:
        """The records' files by their ids.

        Raises:
            Unreachable: they cannot be fetched, which does not say that they are lost.
        """
        with tempfile.TemporaryDirectory(prefix="headway-") as folder:
            try:
                if not self.client.list_artifacts(run, FOLDER):
                    return {}
                files = Path(self.client.download_artifacts(run, FOLDER, folder)).glob("*.json")
            except Exception as error:  # every store's client raises kinds of its own
                raise Unreachable(
                    f"the history of {self.name} cannot be fetched ({first_line(error)}); "
                    "see that MLflow and the store of its artifacts answer, then run again"
                ) from error
            return {file.stem: file.read_text(encoding="utf-8", errors="replace") for file in files}

    def _checked(self, number: int, ids: dict[int, str], texts: dict[str, str], previous: str) -> Record:
        """The record of a number; a HeadwayError says what is wrong with it."""
        key = ids.get(number)
        if key is None:
            raise HeadwayError("missing")
        if key not in self._known:
            if key not in texts:
                raise HeadwayError("its file is missing")
            self._known[key] = parse(texts[key], key)
        record = self._known[key]
        if (record.number, record.previous) != (number, previous):
            raise HeadwayError("it does not follow on the one before it")
        return record


def _cut_off(records: Sequence[Record], carried_out: str) -> str:
    """What is wrong when the history does not hold the record that was carried out last."""
    number = _number(carried_out)
    if number and (len(records) < number or records[number - 1].id != carried_out.split()[1]):
        return f"record {number}: it was carried out and is missing; the history's end was cut off or replaced"
    return ""


def _number(carried_out: str) -> int:
    return int(carried_out.split()[0]) if carried_out else 0
