"""The ingested rows, read twice in batches: once as numbers to decide on, once to put each where it belongs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.data.preparation.near_duplicates import band_hashes, band_shape, digests, normal_form
from headway.data.preparation.split_assignment import NOWHERE, Rows
from headway.data.preparation.validation import debris, plain_label, reasons
from headway.data.text.scripts import dominant_scripts
from headway.data.text.splits import TEST, UNLABELLED
from headway.params import Params
from headway.tables import read_batches

BATCH = 2_000


@dataclass(frozen=True)
class Scan:
    """What a first reading tells.

    Attributes:
        rows: every row as numbers.
        labels: names of the labels as they come up; a row's label is a place here.
        characters: length of each text, int32, shape (rows,).
        scripts: how many of the usable texts are mainly in each script.
        debris: how many of the usable texts carry each kind of debris.
    """

    rows: Rows
    labels: list[str]
    characters: np.ndarray
    scripts: Counter[str]
    debris: Counter[str]


def batches(folder: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The ingested rows in their order, those of a test file first and unlabelled ones last, each batch with its start."""
    start = 0
    for name in ("rows.parquet", "unlabelled.parquet"):
        if (folder / name).exists() or name == "rows.parquet":
            for batch in read_batches(folder / name, made_by="ingest", rows=BATCH):
                yield start, batch
                start += batch.num_rows


def scan(folder: Path, params: Params, spool: Path) -> Scan:
    """Read the rows once.

    Args:
        folder: what ``ingest`` left.
        spool: file for the bands, which are mapped and not held in memory.
    """
    codes: dict[str, int] = {}
    parts: list[dict[str, np.ndarray]] = []
    scripts: Counter[str] = Counter()
    carrying: Counter[str] = Counter()
    bands, _ = band_shape(params.split.near_duplicates)
    with spool.open("wb") as file:
        for _, batch in batches(folder):
            reason = reasons(batch, params.data.max_characters)
            usable = reason == 0
            texts = batch["text"].filter(pa.array(usable))
            forms = [normal_form(text) for text in texts.to_pylist()]
            digest = np.zeros(len(usable), dtype="V16")
            digest[usable] = digests(forms)
            band = np.zeros((len(usable), bands), dtype=np.uint64)
            band[usable] = band_hashes(forms, params.split.near_duplicates)
            file.write(band.tobytes())
            scripts.update(script or "no letters" for script in dominant_scripts(texts.to_pylist()))
            carrying.update(debris(texts))
            parts.append(
                {
                    "reason": reason,
                    "label": _label_codes(batch, codes),
                    "given": _given(batch),
                    "digest": digest,
                    "characters": _lengths(batch["text"]),
                }
            )
    column = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    shape = (len(column["reason"]), bands)
    mapped = np.memmap(spool, np.uint64, "r", shape=shape) if bands else np.empty(shape, np.uint64)
    rows = Rows(column["reason"], column["label"], column["given"], column["digest"], mapped)
    return Scan(rows, list(codes), column["characters"], scripts, carrying)


def _label_codes(batch: pa.RecordBatch, codes: dict[str, int]) -> np.ndarray:
    """A number for each row's label, int32; labels that come for the first time get the next number."""
    if "label" not in batch.schema.names:
        return np.full(batch.num_rows, -1, dtype=np.int32)
    encoded = batch["label"].dictionary_encode()
    names = [plain_label(name) for name in encoded.dictionary.to_pylist()]
    known: np.ndarray = np.array(
        [codes.setdefault(name, len(codes)) if name else -1 for name in names] + [-1], dtype=np.int32
    )
    return np.asarray(known[encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)])


def _given(batch: pa.RecordBatch) -> np.ndarray:
    if "label" not in batch.schema.names:
        return np.full(batch.num_rows, UNLABELLED, dtype=np.int8)
    return np.where(batch["test"].to_numpy(zero_copy_only=False), TEST, NOWHERE).astype(np.int8)


def _lengths(texts: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.utf8_length(texts), 0).cast(pa.int32()).to_numpy(zero_copy_only=False))
