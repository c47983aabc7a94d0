"""Dated folders of Parquet parts, on this machine or at any URL that fsspec knows. Nothing here knows what the rows mean.

    date=2026-12-01/part-20261201T041500123456Z-4711-1c9f03aa.parquet

A part's rows are all of that day in UTC, and its name begins with the time of the first one, so that names sort by time.
"""

from __future__ import annotations

import io
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from headway.errors import HeadwayError, first_line
from headway.params import LogParams

#: Stores in which a file appears when it is complete, and is renamed by copying it.
OBJECT_STORES = {"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "oss", "s3", "s3a", "tos"}
DAY = re.compile(r"date=(\d{4}-\d\d-\d\d)")
PART = re.compile(r"part-(\d{8}T\d{12}Z)-[\w-]+\.parquet")
#: Folder of what monitoring keeps in the log's folder, and the file with what it last found, which a service shows at /status.
MONITOR_FOLDER, MONITOR_RECORD = "monitor", "record.json"
#: Ending of a part that is being written.
PARTIAL = ".partial"


class Part(NamedTuple):
    """A file of rows."""

    path: str
    day: date
    size: int  # in bytes

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class UnreadablePart(HeadwayError):
    """A part that is damaged, has other columns, or was removed meanwhile."""


class PartStore:
    """A folder of parts.

    Args:
        files: fsspec's file system.
        root: the folder's path in it.
        where: the folder as it was named, for messages.
    """

    def __init__(self, files: Any, root: str, where: str) -> None:
        self._files, self._root, self.where = files, root.rstrip("/"), where
        protocols = files.protocol if isinstance(files.protocol, tuple) else (files.protocol,)
        self._is_local = "file" in protocols
        self._is_object_store = bool(OBJECT_STORES.intersection(protocols))

    @property
    def address(self) -> str:
        """The folder as an absolute URL."""
        return str(self._files.unstrip_protocol(self._root))

    @classmethod
    def open(cls, folder: str) -> Self:
        """The store in a folder or at a URL, which need not exist yet.

        Raises:
            HeadwayError: the kind of URL is unknown, or needs a package that is not installed.
        """
        try:
            files, root = fsspec.core.url_to_fs(folder)
        except (ValueError, ImportError) as error:
            raise HeadwayError(f"serving.log.folder: {folder} cannot be opened: {first_line(error)}") from None
        return cls(files, root, folder)

    def below(self, name: str) -> PartStore:
        """The store in a folder of this one."""
        return PartStore(self._files, f"{self._root}/{name}", f"{self.where.rstrip('/')}/{name}")

    def require_writable(self) -> None:
        """Write an empty file; HeadwayError if that is not possible.

        The file is removed if the store allows that. Its name is always the same, so at most one stays.
        """
        probe = f"{self._root}/.probe"
        with self._answering("cannot be written to"):
            if not self._is_object_store:
                self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(probe, b"")
        with suppress(Exception):  # no permission to remove, or another process has removed it
            self._files.rm_file(probe)

    def write(self, name: str, day: date, table: pa.Table) -> None:
        """Write a part. It has its name only when it is complete; one of that name is replaced.

        Raises:
            HeadwayError: the folder cannot be written to.
        """
        with self._answering("cannot be written to"):
            buffer = io.BytesIO()
            pq.write_table(table, buffer, compression="zstd")
            self._put(f"{self._folder(day)}/{name}", buffer.getvalue())

    def parts(self, since: date | None = None, until: date | None = None) -> list[Part]:
        """The parts of some days, both included, in the order of time.

        Raises:
            HeadwayError: the folder cannot be listed.
        """
        return [part for day in self.days() if _is_within(day, since, until) for part in self._parts_of(day)]

    def newest_first(self) -> Iterator[Part]:
        """The parts, that with the latest first row first; HeadwayError if the folder cannot be listed."""
        return (part for day in reversed(self.days()) for part in reversed(self._parts_of(day)))

    def days(self) -> list[date]:
        """The days that have a folder, in order; HeadwayError if they cannot be listed."""
        return sorted(day for entry in self._list(self._root) if (day := _day(_name(entry))) is not None)

    def read(self, part: Part, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a part.

        Args:
            columns: names of the columns to read; those that the part lacks are left out.

        Raises:
            UnreadablePart: see there.
            HeadwayError: the store does not answer, or refuses.
        """
        with self._answering("cannot be read"):
            try:
                # A thread of Arrow's that still holds a file of Python's when the interpreter ends aborts the process. Without
                # both options, threads read ahead and decode.
                with self._files.open(part.path, "rb") as file, pq.ParquetFile(file, pre_buffer=False) as found:
                    names = found.schema_arrow.names
                    chosen = None if columns is None else [name for name in columns if name in names]
                    return found.read(columns=chosen, use_threads=False)
            except Exception as error:
                if _is_missing_or_damaged(error):
                    raise UnreadablePart(f"{part.path}: cannot be read: {first_line(error)}") from None
                raise

    def read_file(self, name: str) -> bytes | None:
        """The content of a file that is no part, None if there is none; HeadwayError if the store does not answer or refuses."""
        with self._answering("cannot be read"):
            self._files.invalidate_cache()
            try:
                return bytes(self._files.cat_file(f"{self._root}/{name}"))
            except FileNotFoundError:
                return None

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file that is no part, as a whole or not at all; HeadwayError if that fails."""
        with self._answering("cannot be written to"):
            self._put(f"{self._root}/{name}", content, f".{name}-{new_writer()}{PARTIAL}")

    def removable(self, day: date) -> list[Part]:
        """The parts of a day, and what killed processes left of others; nothing else is ever removed."""
        return [
            Part(str(entry["name"]), day, int(entry.get("size") or 0))
            for entry in self._list(self._folder(day))
            if PART.fullmatch(_name(entry).removeprefix(".").removesuffix(PARTIAL))
        ]

    def remove(self, day: date) -> None:
        """Remove the parts of a day, and the day's folder if that leaves it empty; HeadwayError if the store refuses."""
        with self._answering("cannot be removed from"):
            for part in self.removable(day):
                with suppress(FileNotFoundError):
                    self._files.rm_file(part.path)
            if not self._is_object_store:
                with suppress(OSError):  # other files are in it
                    self._files.rmdir(self._folder(day))

    def _parts_of(self, day: date) -> list[Part]:
        entries = [entry for entry in self._list(self._folder(day)) if PART.fullmatch(_name(entry))]
        parts = [Part(str(entry["name"]), day, int(entry.get("size") or 0)) for entry in entries]
        return sorted(parts, key=lambda part: part.name)

    def _list(self, folder: str) -> list[dict[str, Any]]:
        with self._answering("cannot be listed"):
            self._files.invalidate_cache()
            try:
                return list(self._files.ls(folder, detail=True))
            except FileNotFoundError:
                return []

    def _folder(self, day: date) -> str:
        return f"{self._root}/date={day.isoformat()}"

    def _put(self, path: str, content: bytes, partial_name: str = "") -> None:
        if self._is_object_store:
            self._files.pipe_file(path, content)
            return
        folder, _, name = path.rpartition("/")
        partial = f"{folder}/{partial_name or f'.{name}{PARTIAL}'}"
        self._files.makedirs(folder, exist_ok=True)
        try:
            if self._is_local:
                _write_through(Path(partial), content)
                os.replace(partial, path)
            else:
                self._files.pipe_file(partial, content)
                if self._files.exists(path):  # SFTP and HDFS do not rename onto a file
                    self._files.rm_file(path)
                self._files.mv(partial, path)
        except OSError:
            with suppress(OSError):
                self._files.rm_file(partial)
            raise

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        """Turn whatever a store raises into an error that names the folder."""
        try:
            yield
        except HeadwayError:
            raise
        except Exception as error:  # every store's client raises its own types
            raise HeadwayError(
                f"serving.log.folder: {self.where} {what}: {first_line(error)}; check the folder, its permissions, the disk's "
                "space, and for a URL the network and your credentials"
            ) from error


def located(params: LogParams, root: Path) -> LogParams:
    """The params with the folder as an absolute path; one that is relative is below the project's root."""
    path = Path(os.path.expanduser(params.folder))
    if not params.folder or "://" in params.folder or path.is_absolute():
        return params
    return params.model_copy(update={"folder": str(root.absolute() / path)})


def part_name(first: datetime, writer: str) -> str:
    """The name of a part.

    Args:
        first: time of its first row.
        writer: letters, digits and hyphens that no other writer has for the same time.
    """
    return f"part-{first.astimezone(UTC).strftime('%Y%m%dT%H%M%S%f')}Z-{writer}.parquet"


def new_writer() -> str:
    """A name for this process and this part, see :func:`part_name`."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


def _write_through(path: Path, content: bytes) -> None:
    """Write a file that survives a crash of the machine."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _is_missing_or_damaged(error: Exception) -> bool:
    """Whether reading failed because of the file. A store's own errors are of other types, or have a number."""
    if isinstance(error, FileNotFoundError | IsADirectoryError | pa.ArrowException):
        return True
    return type(error) is OSError and error.errno is None  # as Arrow raises them for content that is not Parquet


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def _day(folder: str) -> date | None:
    """The day of a folder; None if it is not one of a day."""
    found = DAY.fullmatch(folder)
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def _is_within(day: date, since: date | None, until: date | None) -> bool:
    return (since is None or since <= day) and (until is None or day <= until)
