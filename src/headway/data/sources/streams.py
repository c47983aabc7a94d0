"""A local file: its kind, its bytes hashed while they are read, and its text."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TextIO, cast

import pyarrow as pa

from headway.data.sources.encodings import MARK, recognise
from headway.errors import HeadwayError, first_line

BLOCK, HEAD = 1 << 20, 1 << 24  # bytes
KINDS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
#: Arrow's decoders, because fsspec's for .zst needs one more package.
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def kind_of(name: str) -> str | None:
    """The kind of a file by the ending of its name, one of ``KINDS``, or None."""
    path = PurePosixPath(name.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix if path.suffix in KINDS else None


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine."""

    path: Path  # where it is stored
    name: str  # as people know it; it differs from the path for a download
    quoting: str = "auto"  # for CSV: ``auto``, or ``none`` if quotes are ordinary characters

    @property
    def kind(self) -> str:
        """One of ``KINDS``."""
        return cast(str, kind_of(self.name))

    @property
    def compression(self) -> str | None:
        """Arrow's name of the compression, or None."""
        return COMPRESSIONS.get(PurePosixPath(self.name.lower()).suffix)

    @contextmanager
    def opened(self) -> Iterator[HashingReader]:
        """The file, for reading. Errors of parsers and decompressors in the block become one line with the file's name.

        Raises:
            HeadwayError: the file is empty, damaged, or cannot be read.
        """
        try:
            with self.path.open("rb", buffering=0) as stored:
                reader = HashingReader(self, stored)
                if not reader.opened.st_size:
                    raise HeadwayError(f"{self.name}: empty; expected rows with a text and a label")
                yield reader
        except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
            of_system = isinstance(error, OSError) and error.errno is not None  # such as a full disk: not the file's fault
            advice = "check the disk and your permissions" if of_system else "check that the file is complete"
            raise HeadwayError(
                f"{self.name}: cannot be read as {self.kind[1:]}: {first_line(error).rstrip('.')}; {advice}"
            ) from error


class HashingReader(io.RawIOBase):
    """The stored bytes of a file, hashed while they are read, so that the hash is that of the bytes that were parsed."""

    def __init__(self, file: LocalFile, stored: io.FileIO):
        self.file = file
        self.opened = os.fstat(stored.fileno())
        self._stored = stored
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._stored.readinto(buffer)
        self._digest.update(memoryview(buffer)[:count])
        return count

    def decompressed(self) -> io.BufferedReader:
        """The file's bytes without their compression, ``HEAD`` bytes at a time."""
        stream: Any = self
        if self.file.compression:
            stream = pa.CompressedInputStream(pa.PythonFile(self, "r"), self.file.compression)
        return io.BufferedReader(stream, HEAD)

    def finish(self) -> tuple[int, str]:
        """Read what is left, and return the file's size and hex SHA-256.

        Raises:
            HeadwayError: the file has changed since it was opened.
        """
        buffer = bytearray(BLOCK)
        while self.readinto(buffer):
            pass
        now = self.file.path.stat()
        if any(getattr(now, name) != getattr(self.opened, name) for name in ("st_ino", "st_size", "st_mtime_ns")):
            raise HeadwayError(f"{self.file.name}: changed while it was read; run again when it is complete")
        return now.st_size, self._digest.hexdigest()


class TextFile:
    """The characters of a file, whose encoding is recognised from its beginning.

    Attributes:
        file: the file.
        encoding: its encoding, as named or recognised.
    """

    def __init__(self, reader: HashingReader, wanted: str):
        self.file = reader.file
        self._bytes = reader.decompressed()
        self._head = self._bytes.peek(HEAD)
        self.encoding = recognise(self._head, wanted, self.file.name)

    def head(self, newline: str) -> TextIO:
        """The first ``HEAD`` bytes as text; can be called repeatedly. ``newline`` as for ``open``."""
        return self._decoded(io.BytesIO(self._head), newline)

    def whole(self, newline: str) -> TextIO:
        """All characters; can be called only once. Invalid bytes are replaced by a lone surrogate."""
        return self._decoded(self._bytes, newline)

    def _decoded(self, stream: BinaryIO, newline: str) -> TextIO:
        return io.TextIOWrapper(stream, self.encoding.name, errors=MARK, newline=newline)
