"""A local file's kind, its bytes without compression, and its text."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TextIO, cast

import pyarrow as pa

from headway.data.sources import encodings
from headway.errors import HeadwayError

KINDS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
COMPRESSIONS = (".gz", ".bz2", ".zst")


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine, and what its name says about it.

    Attributes:
        path: where it lies.
        name: how a person knows it; the same but for a download.
        quoting: of CSV: ``auto``, or ``none`` where a quote is a letter like any other.
    """

    path: Path
    name: str
    quoting: str = "auto"

    @property
    def kind(self) -> str:
        """One of ``KINDS``."""
        return cast(str, kind_of(self.name))

    @property
    def compression(self) -> str:
        """One of ``COMPRESSIONS``, or ""."""
        suffix = PurePosixPath(self.name.lower()).suffix
        return suffix if suffix in COMPRESSIONS else ""

    def open_bytes(self) -> BinaryIO:
        """The file's bytes, decompressed."""
        match self.compression:
            case ".gz":
                return cast(BinaryIO, gzip.open(self.path))
            case ".bz2":
                return cast(BinaryIO, bz2.open(self.path))
            case ".zst":
                return cast(BinaryIO, pa.CompressedInputStream(pa.OSFile(str(self.path)), "zstd"))
        return self.path.open("rb")

    def open_text(self, encoding: str, newline: str) -> TextIO:
        """The file's characters; a lone surrogate stands where bytes are not valid. ``newline`` as for ``open``."""
        return io.TextIOWrapper(self.open_bytes(), encoding=encoding, errors=encodings.MARK, newline=newline)

    @contextmanager
    def read_errors(self) -> Iterator[None]:
        """What parsers and decompressors raise within the block, as one line with the file's name."""
        try:
            yield
        except (OSError, EOFError, zlib.error, pa.ArrowException, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
            of_system = isinstance(error, OSError) and error.errno is not None  # a full disk says nothing about the file
            advice = "check the disk and your permissions" if of_system else "check that it is whole"
            raise HeadwayError(f"{self.name}: cannot be read as {self.kind[1:]}: {reason}; {advice}") from error


def kind_of(name: str) -> str | None:
    """The kind of file that a name promises, one of ``KINDS``; None when it is none of these."""
    path = PurePosixPath(name.lower())
    if path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    return path.suffix if path.suffix in KINDS else None
