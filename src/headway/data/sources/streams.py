"""A local file: its kind, its bytes, and its text."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TextIO, cast

import pyarrow as pa

from headway.data.sources.encodings import MARK, recognise
from headway.errors import HeadwayError, first_line

HEAD = 1 << 24  # bytes
KINDS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
#: Arrow's decoders, because fsspec's for .zst needs one more package.
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def kind_of(name: str) -> str | None:
    """The kind of a file by the ending of its name, one of ``KINDS``, or None."""
    path = PurePosixPath(name.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix if path.suffix in KINDS else None


class HashingFile:
    """An open file whose bytes are hashed as they are read, in order, so that it need not be read again for its hash."""

    closed = False

    def __init__(self, file: BinaryIO):
        self._file, self._hash = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._hash.update(chunk)
        return chunk

    def close(self) -> None:
        """Nothing: Arrow closes its source when the parser is done, but the rest of the bytes may not be hashed yet."""

    def sha256(self) -> str:
        """Hex SHA-256 of the whole file; bytes that no parser wanted are read now."""
        while self.read(HEAD):
            pass
        return self._hash.hexdigest()


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine."""

    path: Path  # where it is stored
    name: str  # for messages; for a download, it differs from the path
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
    def opened(self) -> Iterator[tuple[HashingFile, io.BufferedReader]]:
        """The file as it is stored, and its bytes without their compression, ``HEAD`` bytes at a time.

        Errors of parsers and decompressors in the block become one line with the file's name.

        Raises:
            HeadwayError: the file is empty, damaged, cannot be read, or has changed by the end of the block.
        """
        try:
            before = self.path.stat()
            if not before.st_size:
                raise HeadwayError(f"{self.name}: empty; expected rows with a text and a label")
            with self.path.open("rb", buffering=0) as file:
                stored = HashingFile(file)
                yield stored, io.BufferedReader(pa.input_stream(stored, compression=self.compression), HEAD)
            now = self.path.stat()
        except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
            of_system = isinstance(error, OSError) and error.errno is not None  # such as a full disk: not the file's fault
            advice = "check the disk and your permissions" if of_system else "check that the file is complete"
            raise HeadwayError(
                f"{self.name}: cannot be read as {self.kind[1:]}: {first_line(error).rstrip('.')}; {advice}"
            ) from error
        if any(getattr(now, name) != getattr(before, name) for name in ("st_ino", "st_size", "st_mtime_ns")):
            raise HeadwayError(f"{self.name}: changed while it was read; run again when it is complete")


class TextFile:
    """The characters of a file, whose encoding is recognised from its beginning."""

    def __init__(self, file: LocalFile, stream: io.BufferedReader, wanted: str):
        self.file = file
        self._bytes = stream
        self._head = stream.peek(HEAD)
        self.encoding = recognise(self._head, wanted, file.name)  # as named or recognised

    def head(self, newline: str) -> TextIO:
        """The first ``HEAD`` bytes as text; can be called repeatedly. ``newline`` as for ``open``."""
        return self._decoded(io.BytesIO(self._head), newline)

    def whole(self, newline: str) -> TextIO:
        """All characters; can be called only once. Invalid bytes are replaced by a lone surrogate."""
        return self._decoded(self._bytes, newline)

    def _decoded(self, stream: BinaryIO, newline: str) -> TextIO:
        return io.TextIOWrapper(stream, self.encoding.name, errors=MARK, newline=newline)
