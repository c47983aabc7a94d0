"""The log of a job of ``headway predict``: one part of the log for each part of the output."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from headway.errors import HeadwayError
from headway.files import write_json
from headway.params import LogParams
from headway.serving.log.rows import Answered, ServedModelLike, table_of
from headway.serving.log.store import PartStore, part_name
from headway.serving.log.writer import open_log

#: In the folder with the job's finished parts; a restart removes it, as it does all JSON files there.
MANIFEST = "log.json"


@dataclass
class BatchLog:
    """Logs each part of a job once, however often the job is killed and continued.

    The first part gives the job an identity and a time, which are kept in the folder of its parts. So a part that is logged
    again, because the job was killed before it counted as finished, has the same name and request ids, and replaces itself.

    Attributes:
        rows_written: rows that this process has logged.
        dropped: numbers of rows that are not in the log, by part; also those of the job's processes before this one.
        problem: why the last of them could not be logged, "" if all were.
    """

    store: PartStore
    texts: str  # see ``serving.log.texts``
    role: str  # of the model
    rows_written: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def open(cls, params: LogParams, role: str) -> Self:
        """The log in the folder of ``serving.log``; HeadwayError if none is set, or it cannot be written to."""
        store = open_log(params)
        store.require_writable()
        return cls(store, params.texts, role)

    @property
    def rows_dropped(self) -> int:
        """Number of the job's rows that are not in the log."""
        return sum(self.dropped.values())

    def begin(self, folder: Path) -> None:
        """Take up the job whose finished parts are in a folder, with the rows that it has dropped before it was killed."""
        job = _identity(folder)
        self.dropped, self.problem = dict(job["dropped"]), job["problem"]

    @staticmethod
    def ids(folder: Path, index: int, rows: int) -> list[str]:
        """The request ids of a part's rows; arguments as for :meth:`write`."""
        prefix = f"{_identity(folder)['job']}-{index:06}"
        return [f"{prefix}-{row}" for row in range(rows)]

    def write(
        self, folder: Path, index: int, model: ServedModelLike, texts: Sequence[str | None], probabilities: np.ndarray
    ) -> None:
        """Log a part. A log that cannot be written to does not stop the job: its rows are counted as dropped.

        Args:
            folder: with the finished parts of the job.
            index: of the part.
            texts: of all of its rows; None for a row that cannot be read.
            probabilities: float32, (rows, classes); NaN for a text that cannot be classified.
        """
        job = _identity(folder)
        time = datetime.fromisoformat(job["time"])
        ids = self.ids(folder, index, len(texts))
        answered = Answered(model, ids, texts, probabilities, self.role, "batch", time)
        try:
            name = part_name(time, f"batch-{job['job']}-{index:06}")
            self.store.write(name, time.date(), table_of([answered], self.texts))
            self.rows_written += len(ids)
            self.dropped.pop(str(index), None)
        except HeadwayError as error:
            self.dropped[str(index)] = len(ids)
            self.problem = str(error)
        if self.dropped != job["dropped"]:
            write_json(folder / MANIFEST, {**job, "dropped": self.dropped, "problem": self.problem})


def _identity(folder: Path) -> dict[str, Any]:
    """The identity and time of the job whose finished parts are in a folder, and the rows that it has dropped."""
    path = folder / MANIFEST
    if not path.exists():
        time = datetime.now(UTC).isoformat(timespec="microseconds")
        write_json(path, {"job": secrets.token_hex(8), "time": time, "dropped": {}, "problem": ""})
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
