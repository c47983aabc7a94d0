"""Encoded splits: token ids in int32 Arrow files, which training maps into memory read-only, without copying."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa

from headway.files import stage_output

#: Key of the vocabulary in the schema's metadata.
VOCABULARY = b"vocabulary"
SCHEMA = pa.schema({"id": pa.large_string(), "label_id": pa.int32(), "tokens": pa.large_list(pa.int32())})


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as token ids, with their labels."""

    tokens: np.ndarray  # ids of all texts, concatenated, int32, shape (total tokens,)
    offsets: np.ndarray  # text i is ``tokens[offsets[i]:offsets[i + 1]]``, int64, shape (texts + 1,)
    labels: np.ndarray  # class ids, -1 for unlabelled texts, int32, shape (texts,)
    ids: Sequence[str]  # identities of the rows, see :func:`headway.data.text.splits.text_id`; may be left out, as ()
    vocabulary: tuple[bytes, ...] | None = None  # of each id, see :mod:`headway.data.tokenization.pieces`

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map a file that :func:`write` wrote; StageOutputError if it is missing or damaged."""
        with stage_output(path, "tokenize", pa.ArrowInvalid, OSError, ValueError):
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            if not reader.schema.equals(SCHEMA) or reader.num_record_batches != 1:
                raise pa.ArrowInvalid("expected one batch of id, label_id and tokens")
            batch, vocabulary = reader.get_batch(0), _read_vocabulary(reader.schema)
        return cls(
            batch["tokens"].values.to_numpy(zero_copy_only=True),
            batch["tokens"].offsets.to_numpy(zero_copy_only=True),
            batch["label_id"].to_numpy(zero_copy_only=True),
            batch["id"].to_pylist(),
            vocabulary,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text, int64, shape (texts,)."""
        return np.diff(self.offsets)


class EncodedBatch(NamedTuple):
    """Some rows to write: their ids (string), labels (int32), and token ids (int32, shape (length,) each)."""

    ids: pa.Array
    labels: pa.Array
    tokens: list[np.ndarray]


def write(path: Path, batches: Iterable[EncodedBatch], vocabulary: Sequence[bytes] | None = None) -> None:
    """Write texts as an Arrow file with a single record batch, so that tokens can be mapped as one array.

    The vocabulary is kept in the metadata, see :class:`EncodedTexts`.

    The number of tokens is only known at the end, so they are spooled to a file beside ``path``. Ids, labels and lengths are
    held in memory.
    """
    schema = SCHEMA
    if vocabulary is not None:
        schema = SCHEMA.with_metadata({VOCABULARY: json.dumps([piece.hex() for piece in vocabulary])})
    ids, labels, lengths = [], [], [np.zeros(1, np.int64)]
    spool = path.with_name(path.name + ".tokens")
    try:
        with spool.open("wb") as file:
            for batch in batches:
                ids.append(batch.ids.cast(pa.large_string()))
                labels.append(batch.labels.cast(pa.int32()))
                lengths.append(np.fromiter(map(len, batch.tokens), np.int64, len(batch.tokens)))
                if batch.tokens:
                    file.write(np.concatenate(batch.tokens).astype(np.int32, copy=False).data)
        offsets = np.cumsum(np.concatenate(lengths))
        with (
            pa.memory_map(str(spool)) as mapped,
            pa.OSFile(str(path), "wb") as sink,
            pa.ipc.new_file(sink, schema) as writer,
        ):
            tokens = pa.Array.from_buffers(pa.int32(), int(offsets[-1]), [None, mapped.read_buffer()])
            columns = [
                pa.chunked_array(ids, pa.large_string()).combine_chunks(),
                pa.chunked_array(labels, pa.int32()).combine_chunks(),
                pa.LargeListArray.from_arrays(pa.array(offsets), tokens),
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
    finally:
        spool.unlink(missing_ok=True)


def _read_vocabulary(schema: pa.Schema) -> tuple[bytes, ...] | None:
    if (found := (schema.metadata or {}).get(VOCABULARY)) is None:
        return None
    return tuple(map(bytes.fromhex, json.loads(found)))
