"""Worker processes on this machine, built on ``concurrent.futures``.

A :class:`ProcessPoolExecutor` fails all of its tasks when one of its processes dies. So each worker is a pool of one process:
a death then loses one task, and it is known which.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from typing import IO, Any, Generic, cast

import joblib

from headway.executors import Listener, Report, Result, Task, Work, WorkerLost
from headway.files import TEMPORARY_PREFIX
from headway.process import die_with_parent

#: Not fork: the threads of PyTorch and of the tokenizers do not survive one.
CONTEXT = multiprocessing.get_context("spawn")
SECONDS_BETWEEN_REPORTS = 0.2


@contextmanager
def processes(work: Work[Task, Result], shared: Any, workers: int) -> Iterator[Processes[Task, Result]]:
    """Worker processes that end with the block, and with this process when it is killed.

    The shared object is written once to a file without a name. Every worker maps its arrays into memory, read-only, and the
    file disappears with the last process that has it open.
    """
    with tempfile.TemporaryFile(prefix=TEMPORARY_PREFIX) as file:
        joblib.dump((work, shared), file)
        file.flush()
        executor = Processes[Task, Result](file, workers)
        try:
            yield executor
        finally:
            executor.close()


class Processes(Generic[Task, Result]):
    """Starts workers when there are tasks for them, and keeps them for the next batch."""

    def __init__(self, file: IO[bytes], workers: int) -> None:
        self.workers = workers
        self._file = file
        self._idle: list[Worker] = []

    def run(self, tasks: Iterable[Task], listener: Listener[Result]) -> None:
        waiting = iter(enumerate(tasks))
        running: dict[Future[Result], tuple[Worker, int]] = {}
        try:
            while True:
                for position, task in islice(waiting, self.workers - len(running)):
                    listener.started(position)
                    worker, future = self._submit(task)
                    running[future] = worker, position
                if not running:
                    return
                ended, _ = wait(running, SECONDS_BETWEEN_REPORTS, FIRST_COMPLETED)
                for worker, position in running.values():
                    for report in worker.reports():
                        listener.reported(position, report)
                for future in ended:
                    worker, position = running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        listener.ended(position, WorkerLost(f"its worker process {worker.end()}"))
                    else:
                        self._idle.append(worker)
                        listener.ended(position, future.result())
        finally:
            for worker, _ in running.values():
                worker.end()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().end()

    def _submit(self, task: Task) -> tuple[Worker, Future[Result]]:
        while True:
            worker = self._idle.pop() if self._idle else Worker(self._file)
            try:
                return worker, worker.submit(task)
            except BrokenProcessPool:  # it died while it was idle
                worker.end()


class Worker:
    """A pool of one process, and the pipe through which that process reports."""

    def __init__(self, file: IO[bytes]) -> None:
        self._pipe, sender = CONTEXT.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(1, CONTEXT, _initialize, (DupFd(file.fileno()), sender))
        self._pool.submit(os.getpid)  # starts the process
        (self._process,) = self._pool._processes.values()
        sender.close()  # now the process alone has this end, so the pipe ends when the process does

    def submit(self, task: Task) -> Future[Any]:
        return self._pool.submit(_compute, task)

    def reports(self) -> Iterator[Any]:
        with suppress(EOFError, OSError):
            while self._pipe.poll():
                yield self._pipe.recv()

    def end(self) -> str:
        """Kill the process, even in the middle of a task, and say how it ended."""
        self._process.kill()  # Python 3.14 has ProcessPoolExecutor.kill_workers() for this
        self._pool.shutdown()
        self._pipe.close()
        status = self._process.exitcode or 0
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


# In the worker process:

_file: Any = None
_report: Report | None = None
_loaded: tuple[Work[Any, Any], Any] | None = None


def _initialize(file: Any, pipe: Connection) -> None:
    global _file, _report
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the parent, which then ends its workers
    _file, _report = file, pipe.send


def _compute(task: Any) -> Any:
    global _loaded
    try:
        if _loaded is None:
            _loaded = joblib.load(f"/dev/fd/{_file.detach()}", mmap_mode="r")
        work, shared = cast(tuple[Work[Any, Any], Any], _loaded)
        return work(shared, task, _report)
    except Exception as error:
        if _is_picklable(error):
            raise
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _is_picklable(error: Exception) -> bool:
    """Whether an exception can be rebuilt in the parent. One that cannot would look like the death of the worker."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - the exception's own code runs
        return False
    return True
