"""Trials in processes of this machine. A worker that dies takes its own trial along and nothing else, and is replaced."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import tempfile
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import DupFd
from typing import IO, Any, cast

import joblib

from headway.executors import Done, Started, WatchBatch, WorkerLost
from headway.process import die_with_parent
from headway.search.trial import Outcome, Task, Work

#: Not fork: neither torch's threads nor the tokenizers' survive one.
CONTEXT = multiprocessing.get_context("spawn")


@contextmanager
def processes(work: Work, shared: Any, workers: int) -> Iterator[Processes]:
    """So many worker processes; they end with the block, and with this process when it is killed.

    What is shared lies in a file without a name, whose arrays all workers map into memory, read-only: it is there once,
    however many they are, and gone with the last process that has it open.
    """
    with tempfile.TemporaryFile(prefix="headway-") as file:
        joblib.dump((work, shared), file)
        file.flush()
        team = Processes(file, workers)
        try:
            yield team
        finally:
            team.close()


@dataclass
class Worker:
    """A process and our end of the pipe to it."""

    process: SpawnProcess
    pipe: connection.Connection

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()

    def bury(self) -> WorkerLost:
        """What is to be said of one whose pipe broke, which is ending."""
        self.process.join(1.0)
        self.end()
        status = self.process.exitcode or 0
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return WorkerLost(f"worker process {self.process.pid} {how}")


class Processes:
    """The workers; started when there is something to do, and kept for the next batch."""

    def __init__(self, file: IO[bytes], workers: int) -> None:
        self.workers = workers
        self._file = file
        self._idle: list[Worker] = []
        self._busy: dict[connection.Connection, tuple[Worker, int]] = {}

    def run(self, tasks: Sequence[Task], started: Started, done: Done, watch: WatchBatch | None = None) -> None:
        waiting = deque(enumerate(tasks))
        try:
            while waiting or self._busy:
                while waiting and len(self._busy) < self.workers:
                    started(waiting[0][0])
                    self._give(*waiting.popleft())
                for pipe in connection.wait(list(self._busy)):
                    self._hear(*self._busy[cast(connection.Connection, pipe)], done, watch)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill the workers, in the midst of a task too."""
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            worker.end()
        self._idle.clear()
        self._busy.clear()

    def _give(self, position: int, task: Task) -> None:
        while self._idle:
            worker = self._idle.pop()
            try:
                worker.pipe.send(task)
            except OSError:
                worker.end()  # it died while it had nothing to do
            else:
                break
        else:
            worker = self._start()
            with suppress(OSError):  # it died at once, and its pipe will say so
                worker.pipe.send(task)
        self._busy[worker.pipe] = worker, position

    def _start(self) -> Worker:
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_serve, args=(theirs, DupFd(self._file.fileno())), daemon=True)
        process.start()
        theirs.close()  # only the worker has that end now, so that the pipe ends with it
        return Worker(process, ours)

    def _hear(self, worker: Worker, position: int, done: Done, watch: WatchBatch | None) -> None:
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            del self._busy[worker.pipe]
            done(position, worker.bury())
            return
        if isinstance(said, dict):
            if watch:
                watch(position, said)
            return
        del self._busy[worker.pipe]
        self._idle.append(worker)
        if isinstance(said, BaseException):
            raise said
        done(position, said)


def _serve(pipe: connection.Connection, file: Any) -> None:
    """A worker's life: a task in, epochs and an outcome out, until the pipe or the parent ends."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the search, which then ends its workers
    work: Work | None = None
    while True:
        try:
            task: Task = pipe.recv()
        except EOFError:
            return
        said: Outcome | BaseException
        try:
            if work is None:
                work, shared = joblib.load(f"/dev/fd/{file.detach()}", mmap_mode="r")
            said = work(shared, task, pipe.send)
        except Exception as error:  # noqa: BLE001 - whatever it is, the search decides
            said = _that_travels(error)
            said.add_note(traceback.format_exc())
        pipe.send(said)


def _that_travels(error: Exception) -> Exception:
    """The error itself, or one that tells of it where it cannot be rebuilt in another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - an error's own code runs
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
