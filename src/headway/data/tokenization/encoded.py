"""The encoded data set: token ids as int32 Arrow files that training maps into memory, read-only, without a copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, overload

import numpy as np
import pyarrow as pa

from headway.errors import HeadwayError

CHUNK = 100_000
SCHEMA = pa.schema({"id": pa.large_string(), "label_id": pa.int32(), "tokens": pa.large_list(pa.int32())})


class Ids(Sequence[str]):
    """Strings that stay in the mapped file until they are asked for."""

    def __init__(self, column: pa.LargeStringArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._column[index].to_pylist()
        return self._column[int(index)].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), CHUNK):
            yield from self._column.slice(start, CHUNK).to_pylist()


class EncodedTexts:
    """Texts as token ids, with their labels.

    Attributes:
        tokens: int32, all texts' ids one after another, shape (total tokens,).
        offsets: int64, text i is ``tokens[offsets[i]:offsets[i + 1]]``, shape (texts + 1,).
        labels: int32, shape (texts,); -1 where there is none.
        ids: the rows' identities, one string a text.
    """

    def __init__(self, tokens: np.ndarray, offsets: np.ndarray, labels: np.ndarray, ids: Sequence[str]) -> None:
        self.tokens, self.offsets, self.labels, self.ids = tokens, offsets, labels, ids

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a file that :func:`write` made; nothing of it is read yet.

        Raises:
            HeadwayError: the file is missing or damaged.
        """
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            if not reader.schema.equals(SCHEMA) or reader.num_record_batches != 1:
                raise pa.ArrowInvalid("not one batch of id, label_id and tokens")
            batch = reader.get_batch(0)
        except FileNotFoundError:
            raise HeadwayError(f"{path}: missing; it is made by `dvc repro tokenize`") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise HeadwayError(f"{path}: damaged ({error}); make it again with `dvc repro --force tokenize`") from None
        return cls(
            batch["tokens"].values.to_numpy(zero_copy_only=True),
            batch["tokens"].offsets.to_numpy(zero_copy_only=True),
            batch["label_id"].to_numpy(zero_copy_only=True),
            Ids(batch["id"]),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, int64, shape (texts,)."""
        return np.diff(self.offsets)

    def count(self, token: int) -> int:
        """How often a token occurs."""
        starts = range(0, len(self.tokens), CHUNK)
        return sum(int(np.count_nonzero(self.tokens[start : start + CHUNK] == token)) for start in starts)


Rows = tuple[pa.Array, pa.Array, list[np.ndarray]]


def write(path: Path, batches: Iterable[Rows]) -> None:
    """Write texts as one Arrow file of one record batch: id string, label_id int32, tokens list of int32.

    Tokens wait in a file beside it until their number is known; ids, labels and lengths are held in memory.

    Args:
        batches: ids, labels and encoded texts of some rows after another.
    """
    ids, labels, lengths = [], [], [np.zeros(1, np.int64)]
    spool = path.with_name(path.name + ".tokens")
    try:
        with spool.open("wb") as file:
            for some_ids, some_labels, encoded in batches:
                ids.append(some_ids.cast(pa.large_string()))
                labels.append(some_labels.cast(pa.int32()))
                lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
                if encoded:
                    file.write(np.concatenate(encoded).astype(np.int32, copy=False).data)
        offsets = np.cumsum(np.concatenate(lengths))
        with (
            pa.memory_map(str(spool)) as mapped,
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, SCHEMA) as writer,
        ):
            tokens = pa.Array.from_buffers(pa.int32(), int(offsets[-1]), [None, mapped.read_buffer()])
            columns = [
                pa.chunked_array(ids, pa.large_string()).combine_chunks(),
                pa.chunked_array(labels, pa.int32()).combine_chunks(),
                pa.LargeListArray.from_arrays(pa.array(offsets), tokens),
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
    finally:
        spool.unlink(missing_ok=True)
