"""What holds for every download from whatever store: a minimum rate, a size limit, free space on the disk, and progress."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TypeVar

from headway.errors import HeadwayError
from headway.progress import ProgressLine

Result = TypeVar("Result")

MB = 10**6  # bytes
#: A download is given up if fewer bytes a second than this arrive over so many seconds.
MIN_RATE, STALL_SECONDS = 1_000, 30.0
#: Seconds that the listing of a folder may take, and that an answer without a body may take.
LISTING_SECONDS, ANSWER_SECONDS = 300.0, 60.0
#: Free space that a download leaves on the disk, and the bytes after which the disk is looked at again.
RESERVE, BETWEEN_LOOKS = 100 * MB, 50 * MB


class Stalled(OSError):
    """A server answers too slowly, or not at all."""


class Transfer:
    """One download: how many bytes have arrived, and whether more are welcome.

    Args:
        where: what is downloaded, for messages.
        name: the file's name, for the progress.
        folder: where it is stored.
        max_mb: value of ``data.max_download_mb``; 0 for no limit.
    """

    def __init__(self, where: str, name: str, folder: Path, max_mb: float) -> None:
        self.where, self.name, self.folder, self.max_mb = where, name, folder, max_mb
        self.received = 0
        self.total: int | None = None
        self.abandoned = False
        self.line = ProgressLine()
        self._started = time.monotonic()
        self._looked_at = 0

    def expect(self, total: int | None) -> None:
        """Check the size that a store reports before anything is read; None if it reports none."""
        self.total = total
        self._check(total or 0)

    def add(self, size: int) -> None:
        """Count bytes that have arrived, and show the progress.

        Raises:
            HeadwayError: the file is larger than allowed, or than the disk.
            Stalled: the download was abandoned meanwhile.
        """
        if self.abandoned:
            raise Stalled("abandoned")
        self.received += size
        if self._is_over_limit(self.received) or self.received - self._looked_at >= BETWEEN_LOOKS:
            self._check(self.received)
        self.line.update(self._describe)

    def _is_over_limit(self, size: int) -> bool:
        return bool(self.max_mb) and size > self.max_mb * MB

    def _check(self, size: int) -> None:
        """Check a size against the limit, and what is still to come against the free space on the disk."""
        self._looked_at = self.received
        if self._is_over_limit(size):
            more = "" if self.total and size == self.total else "more than "
            raise HeadwayError(
                f"{self.where}: {more}{size / MB:,.0f} MB, data.max_download_mb allows {self.max_mb:,g}; raise it if the file "
                "is meant to be this large"
            )
        free = shutil.disk_usage(self.folder).free
        if size - self.received > free - RESERVE:
            needed = f"{(size - self.received) / MB:,.0f} MB to download, " if size > self.received else ""
            raise HeadwayError(
                f"{self.where}: {needed}{free / MB:,.0f} MB free on the disk of {self.folder}; free some space"
            )

    def _describe(self) -> str:
        size = f"{self.received / MB:,.1f}" + (f" of {self.total / MB:,.1f}" if self.total else "")
        return f"{self.name}: {size} MB, {self.received / MB / (time.monotonic() - self._started):,.1f} MB/s"


def watched(action: Callable[[], Result], transfer: Transfer | None = None, is_listing: bool = False) -> Result:
    """The result of an action on a store, which is given up if the store does not answer, or too slowly.

    The action runs in a thread of its own, because no client's time-outs cover a server that sends a byte now and then. A thread
    that was given up ends with its next byte, or with the process.

    Raises:
        Stalled: the action was given up.
    """
    future: Future[Result] = Future()

    def work() -> None:
        try:
            future.set_result(action())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that waits
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    seconds = STALL_SECONDS if transfer else LISTING_SECONDS if is_listing else ANSWER_SECONDS
    try:
        while True:
            before = transfer.received if transfer else 0
            if wait([future], seconds).done:
                return future.result()
            arrived = transfer.received - before if transfer else 0
            if arrived < MIN_RATE * seconds:
                raise Stalled(f"{arrived:,} bytes arrived in {seconds:,g} seconds")
    except BaseException:
        if transfer:
            transfer.abandoned = True
        raise
