"""A local file: its kind, its bytes, and its text."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

import pyarrow as pa

from headway.data.sources.archives import Member, opened_member
from headway.data.sources.encodings import MARK, recognise
from headway.errors import HeadwayError, first_line

if TYPE_CHECKING:
    from typing_extensions import Buffer

HEAD = 1 << 24  # bytes
KINDS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
TEXT = ".txt"  # a table, JSON or labelled lines
#: Arrow's decoders, because fsspec's for .zst needs one more package.
COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
#: Text is rarely compressed to less than a tenth. A file that grows more than so many times, beyond so many bytes, is refused.
MAX_GROWTH, ALWAYS_ALLOWED = 200, 1 << 28


def kind_of(name: str) -> str | None:
    """The kind of a file by the ending of its name, one of ``KINDS``, or None."""
    path = PurePosixPath(name.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix if path.suffix in KINDS else None


def is_text_name(name: str) -> bool:
    """Whether a file's name ends in ``TEXT``."""
    path = PurePosixPath(name.lower())
    return (path.with_suffix("") if path.suffix in COMPRESSIONS else path).suffix == TEXT


class HashingFile:
    """An open file whose bytes are hashed as they are read, in order, so that it need not be read again for its hash."""

    closed = False

    def __init__(self, file: BinaryIO | Member):
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._hash.update(chunk)
        self.size += len(chunk)  # bytes read so far
        return chunk

    def close(self) -> None:
        """Nothing: Arrow closes its source when the parser is done, but the rest of the bytes may not be hashed yet."""

    def sha256(self) -> str:
        """Hex SHA-256 of the whole file; bytes that no parser wanted are read now."""
        while self.read(HEAD):
            pass
        return self._hash.hexdigest()


class BoundedFile(io.RawIOBase):
    """The decompressed bytes of a file; HeadwayError if they are implausibly many for what is stored (a decompression bomb)."""

    def __init__(self, file: pa.NativeFile, stored_bytes: int, name: str):
        self._file, self._name = file, name
        self._left = max(ALWAYS_ALLOWED, MAX_GROWTH * stored_bytes)
        self._limit = self._left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        size = cast(int, self._file.readinto(buffer))
        self._left -= size
        if self._left < 0:
            raise HeadwayError(
                f"{self._name}: holds more than {self._limit / 1e6:,.0f} MB when it is decompressed, over {MAX_GROWTH} times its "
                "size, as no table of texts does; check the file, or decompress it yourself"
            )
        return size


@dataclass(frozen=True)
class CsvStyle:
    """How CSV files are written, as far as params say."""

    quoting: str = (
        "auto"  # ``auto``; ``backslash`` if a backslash escapes a quote; ``none`` if quotes are ordinary characters
    )
    header: bool = True  # whether the first row names the columns
    columns: tuple[str, ...] = ()  # names in place of the header's, or of column_1, column_2, … without a header


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine."""

    path: Path  # where it is stored
    name: str  # for messages; for a download, it differs from the path
    csv: CsvStyle = CsvStyle()
    member: str = ""  # name of the file inside the zip file at ``path``; "" if that is the file itself

    @property
    def kind(self) -> str:
        """One of ``KINDS``, or ``TEXT`` for a file whose format its content shows."""
        return kind_of(self.name) or TEXT

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
            with ExitStack() as stack:
                if self.member:
                    stored = HashingFile(stack.enter_context(opened_member(self.path, self.member)))
                else:
                    stored = HashingFile(stack.enter_context(self.path.open("rb", buffering=0)))
                stream = pa.input_stream(stored, compression=self.compression)
                if self.compression:
                    stream = BoundedFile(stream, before.st_size, self.name)
                yield stored, io.BufferedReader(stream, HEAD)
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

    def beginning(self, most: int) -> str:
        """The first ``most`` characters, line breaks as written; can be called only once."""
        return self.whole("").read(most)

    def _decoded(self, stream: BinaryIO, newline: str) -> TextIO:
        return io.TextIOWrapper(stream, self.encoding.name, errors=MARK, newline=newline)
