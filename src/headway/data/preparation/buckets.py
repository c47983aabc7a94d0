"""Which texts share a bucket, and so count as near-duplicates; :mod:`.near_duplicates` says what a bucket is.

Buckets are found band by band, and for many texts by parts of the range of hashes. Each part can be done on its own, in any
order and on any machine, because texts in the same bucket are always in the same part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

#: Texts of a task at most, about. It takes some 50 bytes for each of them.
TEXTS_PER_TASK = 1 << 22


@dataclass(frozen=True)
class Buckets:
    """Pairs of a text and a bucket that it shares with another text. A text is named by the index of one of its rows."""

    text: np.ndarray  # int32, shape (pairs,)
    bucket: np.ndarray  # numbers from 0, int32, shape (pairs,)

    @classmethod
    def join(cls, parts: Iterable[Buckets]) -> Self:
        """The pairs of all parts; no bucket is in two of them."""
        texts, buckets, count = [np.empty(0, np.int32)], [np.empty(0, np.int32)], 0
        for part in parts:
            texts.append(part.text)
            buckets.append(part.bucket + np.int32(count))
            count += len(part)
        return cls(np.concatenate(texts), np.concatenate(buckets))

    def __len__(self) -> int:
        """The number of buckets."""
        return int(self.bucket.max(initial=-1)) + 1

    def of_rows(self, text: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of (row, bucket) for every bucket that at least two of these rows share, sorted by row; both int32.

        Args:
            text: of each of all rows, int64.
            rows: indices of rows whose texts are different.
        """
        row_of = np.full(len(text), -1, dtype=np.int32)
        row_of[text[rows]] = rows
        member = row_of[self.text]
        chosen = member >= 0
        chosen &= np.bincount(self.bucket[chosen], minlength=len(self))[self.bucket] > 1
        member, bucket = member[chosen], self.bucket[chosen]
        order = np.argsort(member, kind="stable")
        return member[order], bucket[order]


@dataclass(frozen=True)
class HashesOfBand:
    """The hashes of one band of some texts, among them all texts that have one of these hashes."""

    texts: np.ndarray  # int32, shape (texts,)
    hashes: np.ndarray  # uint64, shape (texts,)

    def run(self, _: Any = None) -> Buckets:
        """The buckets of at least two of the texts."""
        _, bucket, size = np.unique(self.hashes, return_inverse=True, return_counts=True)
        shared = size > 1
        number = (np.cumsum(shared) - 1).astype(np.int32)
        chosen = shared[bucket]
        return Buckets(self.texts[chosen], number[bucket[chosen]])


class BandHashes:
    """The hashes of all rows on disk, each band in a file of its own, within the ``with`` block."""

    def __init__(self, folder: Path, bands: int) -> None:
        self._paths = [folder / f"{band}" for band in range(bands)]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._files = [stack.enter_context(path.open("w+b")) for path in self._paths]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()
        for path in self._paths:
            path.unlink()

    def put(self, start: int, hashes: np.ndarray) -> None:
        """Keep the hashes of the rows from ``start``, uint64, (rows, bands). The parts of the rows may come in any order."""
        for file, column in zip(self._files, hashes.T, strict=True):
            file.seek(start * column.itemsize)
            file.write(column.tobytes())

    def tasks(self, texts: np.ndarray, most: int | None = None) -> Iterator[HashesOfBand]:
        """What finds the buckets of texts, given as a row of each: one task for each band, or more with above ``most`` texts."""
        bits = max(0, len(texts) - 1).bit_length() - (most or TEXTS_PER_TASK).bit_length() + 1
        names = texts.astype(np.int32)
        for file in self._files if len(texts) else ():
            file.flush()
            hashes = np.memmap(file, np.uint64, "r")[texts]
            if bits <= 0:
                yield HashesOfBand(names, hashes)
            else:
                part = hashes >> np.uint64(64 - bits)
                for number in range(1 << bits):
                    yield HashesOfBand(names[part == number], hashes[part == number])
