"""Labels the rows of files of any size: in parts, with bounded memory, and so that a job that was killed can go on.

The output does not depend on the number of workers or on interruptions: parts are cut by rows and characters alone, and each is
classified as a whole, by one thread.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa

from headway.errors import HeadwayError
from headway.executors import Engine, OptionNames, WorkerLost, open_executor
from headway.progress import ProgressLine
from headway.serving.batch import formats
from headway.serving.batch.columns import Added
from headway.serving.batch.parts import Counts, Output, Parts, require_output
from headway.serving.batch.records import Facts, InputFile, Record, records
from headway.serving.batch.survey import Survey, survey
from headway.serving.batch.work import PackageCopy, classify, package_in
from headway.serving.log.batch import BatchLog
from headway.serving.package import ModelPackage, fingerprint

__all__ = ["Counts", "Job", "Workers", "predict_files"]

ROWS_PER_PART, CHARACTERS_PER_PART = 4_096, 1 << 22
#: Rows from which another worker is worth its start, and the most workers that are started without being asked for.
ROWS_PER_WORKER, MOST_WORKERS = 20_000, 8
#: How often a part is classified at most, because the worker that has it may be lost.
ATTEMPTS = 3
NAMES = OptionNames(engine="--executor", address="--address", other_engines="processes")

Item = TypeVar("Item")
Part = tuple[int, list[tuple[Record, str]]]
"""Its index, and its rows, each with the name of its file."""


@dataclass(frozen=True)
class Job:
    """What to label, with what, and how."""

    inputs: Sequence[InputFile]
    model: Path  # folder of the model package
    version: str  # of the model, written into each row
    form: str  # of the output, one of :data:`headway.serving.batch.formats.FORMATS`
    top_k: int = 1
    all_probabilities: bool = False
    log: BatchLog | None = None  # where the answers are logged


@dataclass(frozen=True)
class Answering:
    """The model of a job, as the log needs it."""

    package: ModelPackage
    version: str


@dataclass(frozen=True)
class Workers:
    """What classifies the parts.

    Attributes:
        number: of parts that are classified at the same time; 0 for one per core of this machine if there are enough rows,
            and for one per CPU of a running Ray cluster.
        engine: processes on this machine, or Ray.
        address: of a running Ray cluster; "" starts one on this machine.
    """

    number: int = 0
    engine: Literal["processes", "ray"] = "processes"
    address: str = ""

    def for_rows(self, rows: int) -> int:
        """The number to start; 0 if a running cluster decides."""
        return self.number or (0 if self.address else _workers(rows))


def predict_files(job: Job, out: Path, workers: Workers = Workers(), restart: bool = False) -> Counts:
    """Label all rows of a job's files, in order, and write them to one file.

    Args:
        workers: what classifies them, which does not change the output.
        restart: begin from scratch even if there are finished parts, and replace the output if it exists.

    Returns:
        the numbers of rows that were labelled, and that were not, by reason.

    Raises:
        HeadwayError: an input cannot be read or changes meanwhile, the output exists or is an input, its parts are of another
            job, Ray is not installed, or workers were lost again and again.
        Unreachable: the Ray cluster does not answer.
    """
    require_output(out, [source.file.path for source in job.inputs])
    package = package_in(job.model)
    if not 1 <= job.top_k <= len(package.classes):
        raise HeadwayError(
            f"--top-k: {job.top_k}: expected a number from 1 to {len(package.classes)}, the number of classes"
        )
    with ProgressLine() as line:
        found = survey(job.inputs, line)
        with_file = len(job.inputs) > 1 or any(source.is_document for source in job.inputs)
        added = Added(job.version, tuple(package.classes), job.top_k, job.all_probabilities, with_file, job.log is not None)
        names = added.names(found.types)
        schema = pa.schema({**found.types, **dict(zip(names, added.types.values(), strict=True))})
        output = Output(out, _identity(job, found))
        with output.opened(restart) as parts:
            if job.log:
                job.log.begin(output.folder)
            if isinstance(parts, Counts):
                counts = parts
            else:
                writing = Writing(job, parts, added, names, schema, found.rows, line)
                writing.run(found, workers)
                counts = writing.resumed
                counts.add(writing.written)
                paths = [parts.path(index) for index in range(writing.parts_seen)]
                output.finish(counts, lambda target: formats.join(paths, target, job.form, schema))
            output.remove_parts()
    return counts


@dataclass
class Writing:
    """Writes the parts that are not finished yet; it is the listener of the executor that classifies them."""

    job: Job
    parts: Parts
    added: Added
    names: Sequence[str]  # of the added columns
    schema: pa.Schema
    total: int  # rows
    line: ProgressLine
    written: Counts = field(default_factory=Counts)
    resumed: Counts = field(default_factory=Counts)  # of parts that were finished before
    parts_seen: int = 0
    _running: dict[int, Part] = field(default_factory=dict)  # by position in the executor
    _lost: list[Part] = field(default_factory=list)  # whose worker was lost, to be classified again
    _losses: Counter[int] = field(default_factory=Counter)  # of each part
    _submitted: int = 0
    _writer: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1))
    _writing: Future[None] | None = None
    _started: float = field(default_factory=time.monotonic)

    def run(self, found: Survey, workers: Workers) -> None:
        """Classify and write all parts that are missing."""
        number = workers.for_rows(found.rows)
        engine: Engine = "serial" if workers.engine == "processes" and number == 1 else workers.engine
        model = PackageCopy.of(self.job.model) if engine == "ray" else self.job.model
        with (
            self._writer,
            closing(one_ahead(self._missing(found))) as missing,
            open_executor(engine, classify, model, workers=number, address=workers.address, names=NAMES) as executor,
        ):
            executor.run(self._tasks(missing), self)
            while self._lost:
                self._submitted = 0  # the positions of each run begin at 0
                executor.run(self._tasks(missing), self)
            self._finish_writing()

    def _missing(self, found: Survey) -> Iterator[Part]:
        """The parts that are not finished."""
        for index, rows in enumerate(_parts(self.job.inputs, found.sha256)):
            self.parts_seen = index + 1
            if finished := self.parts.finished(index):
                self.resumed.add(finished)
            else:
                yield index, rows

    def _tasks(self, missing: Iterator[Part]) -> Iterator[list[str | None]]:
        """The texts of each part to classify: lost ones first, so that few are in memory."""
        while part := self._lost.pop() if self._lost else next(missing, None):
            self._running[self._submitted] = part
            self._submitted += 1
            yield [record.text for record, _ in part[1]]

    def started(self, position: int) -> None:
        """Nothing: a part counts when it is written."""

    def reported(self, position: int, report: Any) -> None:
        """Nothing: the work reports nothing."""

    def ended(self, position: int, result: Any) -> None:
        """Have a part whose rows are classified written in a thread, after the part before."""
        index, rows = self._running.pop(position)
        if isinstance(result, WorkerLost):
            self._losses[index] += 1
            if self._losses[index] == ATTEMPTS:
                raise HeadwayError(
                    f"part {index} was lost {ATTEMPTS} times: {result}, perhaps for lack of memory; run again to continue, "
                    "with fewer --workers"
                )
            self._lost.append((index, rows))
            return
        self._finish_writing()
        self._writing = self._writer.submit(self._write, index, rows, *result)

    def _finish_writing(self) -> None:
        if self._writing:
            self._writing.result()  # raises what the thread raised

    def _write(self, index: int, rows: list[tuple[Record, str]], probabilities: np.ndarray, reasons: list[str]) -> None:
        reasons = [record.problem or reason for (record, _), reason in zip(rows, reasons, strict=True)]
        ids = self.job.log.ids(self.parts.folder, index, len(rows)) if self.job.log else ()
        values = self.added.values(probabilities, reasons, [name for _, name in rows], ids)
        output = [
            {**record.values, **dict(zip(self.names, new, strict=True))}
            for (record, _), new in zip(rows, zip(*values, strict=True), strict=True)
        ]
        counts = Counts.of(reasons)
        if self.job.log:
            model = Answering(package_in(self.job.model), self.job.version)
            texts = [record.text for record, _ in rows]
            self.job.log.write(self.parts.folder, index, model, texts, probabilities)
        self.parts.write(index, counts, lambda path: formats.write_part(path, self.job.form, output, self.schema))
        self.written.add(counts)
        self.line.update(self._progress)

    def _progress(self) -> str:
        done = self.written.rows + self.resumed.rows
        rate = self.written.rows / max(1e-9, time.monotonic() - self._started)
        seconds = round((self.total - done) / max(1e-9, rate))
        left = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"{done:,} of {self.total:,} rows, {rate:,.0f} rows/s, {left} left"


def one_ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """The same items. While one is used, a thread makes the next one."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


def _parts(inputs: Sequence[InputFile], hashes: Sequence[str]) -> Iterator[list[tuple[Record, str]]]:
    """The rows of all files, each with its file's name, cut into parts; HeadwayError if a file differs from its hash."""
    rows: list[tuple[Record, str]] = []
    characters = 0
    for source, expected in zip(inputs, hashes, strict=True):
        for record in records(source, facts := Facts()):
            rows.append((record, source.file.name))
            characters += sum(map(_length, record.values.values()))
            if len(rows) == ROWS_PER_PART or characters >= CHARACTERS_PER_PART:
                yield rows
                rows, characters = [], 0
        if facts.sha256 != expected:
            raise HeadwayError(
                f"{source.file.name}: changed while it was read; run again with --restart when it is complete"
            )
    if rows:
        yield rows


def _length(value: Any) -> int:
    """Characters or bytes of a value, about as many as it takes in memory."""
    if isinstance(value, str | bytes):
        return len(value)
    return len(str(value)) if isinstance(value, list | tuple | dict) else 0


def _identity(job: Job, found: Survey) -> dict[str, Any]:
    """What all parts of one output agree in."""
    return {
        "model": {"version": job.version, "fingerprint": fingerprint(job.model)},
        "inputs": [
            {
                "name": source.file.name,
                "sha256": sha256,
                "text_column": source.text_column,
                "csv": repr(source.file.csv),
                "encoding": source.encoding,
                "is_document": source.is_document,
            }
            for source, sha256 in zip(job.inputs, found.sha256, strict=True)
        ],
        "options": {
            "format": job.form,
            "top_k": job.top_k,
            "all_probabilities": job.all_probabilities,
            "part": [ROWS_PER_PART, CHARACTERS_PER_PART],
            "headway": version("headway"),
            **({"log": True} if job.log else {}),
        },
    }


def _workers(rows: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, MOST_WORKERS, rows // ROWS_PER_WORKER))
