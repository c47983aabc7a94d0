"""A first pass over the ingested rows, which reduces each row to the few numbers that determine its split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.data.identity import canonical_label, digests, normal_form
from headway.data.preparation.ingested import batches
from headway.data.preparation.label_map import LabelMap
from headway.data.preparation.near_duplicates import band_hashes, band_shape
from headway.data.preparation.split_assignment import NO_SPLIT, RowFeatures
from headway.data.preparation.times import NO_TIME, read_times
from headway.data.preparation.validation import CODE, count_markup_noise, reasons
from headway.data.text.scripts import dominant_scripts
from headway.data.text.splits import TEST, UNLABELLED
from headway.params import TIME_COLUMN, Params


@dataclass(frozen=True)
class Scan:
    """Result of the first pass."""

    rows: RowFeatures  # features of all rows, in order
    labels: list[
        str
    ]  # classes, after ``data.label_map``, in the order of their first row; ``rows.label`` is an index into it
    characters: np.ndarray  # length of each text, int32, shape (rows,)
    scripts: Counter[str]  # number of usable texts by dominant script
    markup_noise: Counter[str]  # number of usable texts by kind of markup noise
    times: np.ndarray | None = None  # of all rows, as ``read_times`` returns them; None without ``split.time_column``


def scan(folder: Path, params: Params, label_map: LabelMap, spool: Path) -> Scan:
    """Read all ingested rows once. The band hashes, the only large feature, are memory-mapped in the file ``spool``.

    A row whose label the map drops is left out for that reason, also if its text is missing or too long.

    HeadwayError if the order of day and month in the time column cannot be told.
    """
    label_codes: dict[str, int] = {}
    parts: list[tuple[np.ndarray, ...]] = []
    written_times: list[pa.Array] = []
    scripts, noise = Counter[str](), Counter[str]()
    bands, _ = band_shape(params.split.near_duplicates)
    with spool.open("wb") as file:
        for _, batch in batches(folder):
            reason = reasons(batch, params.data.max_characters)
            label, dropped = _labels(batch, label_codes, label_map)
            reason[dropped] = CODE["dropped by data.label_map"]
            usable = reason == 0
            texts = batch["text"].filter(pa.array(usable))
            forms = [normal_form(text) for text in texts.to_pylist()]
            digest = np.zeros(len(usable), dtype="V16")
            digest[usable] = digests(forms)
            band = np.zeros((len(usable), bands), dtype=np.uint64)
            band[usable] = band_hashes(forms, params.split.near_duplicates)
            file.write(band.tobytes())
            scripts.update(script or "no letters" for script in dominant_scripts(texts.to_pylist()))
            noise.update(count_markup_noise(texts))
            lengths = pc.fill_null(pc.utf8_length(batch["text"]), 0).cast(pa.int32()).to_numpy(zero_copy_only=False)
            parts.append((reason, label, _predefined_split(batch), digest, lengths))
            if params.split.time_column:
                written_times.append(_written_times(batch))
    reason, label, predefined_split, digest, lengths = map(np.concatenate, zip(*parts, strict=True))
    shape = (len(reason), bands)
    mapped = np.memmap(spool, np.uint64, "r", shape=shape) if bands else np.empty(shape, np.uint64)
    times = _times(written_times, params.split.time_column, reason, predefined_split) if written_times else None
    rows = RowFeatures(reason, label, predefined_split, digest, mapped)
    return Scan(rows, list(label_codes), lengths, scripts, noise, times)


def _labels(batch: pa.RecordBatch, codes: dict[str, int], label_map: LabelMap) -> tuple[np.ndarray, np.ndarray]:
    """The code of each row's class, int32, -1 for none; and whether the map drops the row's label, bool; both of shape (rows,).

    New classes are added to ``codes``.
    """
    if "label" not in batch.schema.names:
        return np.full(batch.num_rows, -1, dtype=np.int32), np.zeros(batch.num_rows, dtype=bool)
    encoded = batch["label"].dictionary_encode()
    written = encoded.dictionary.to_pylist()
    names = [label_map(label) for label in written]
    known = np.array([codes.setdefault(name, len(codes)) if name else -1 for name in names] + [-1], dtype=np.int32)
    dropped = np.array(
        [not name and bool(canonical_label(label)) for label, name in zip(written, names, strict=True)] + [False]
    )
    index = encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
    return known[index], dropped[index]


def _written_times(batch: pa.RecordBatch) -> pa.Array:
    """The cells of the time column; unlabelled rows have none."""
    return batch[TIME_COLUMN] if TIME_COLUMN in batch.schema.names else pa.nulls(batch.num_rows, pa.string())


def _times(written: list[pa.Array], column: str, reason: np.ndarray, predefined_split: np.ndarray) -> np.ndarray:
    """The times of all rows. Labelled rows without one get that as their ``reason``, if they could be used otherwise."""
    cells = pa.concat_arrays(written)
    times = read_times(cells, column)
    without = (times == NO_TIME) & (predefined_split != UNLABELLED) & (reason == 0)
    blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(cells, "")), "").to_numpy(zero_copy_only=False)
    reason[without] = np.where(blank, CODE["missing time"], CODE["unreadable time"])[without]
    return times


def _predefined_split(batch: pa.RecordBatch) -> np.ndarray:
    if "label" not in batch.schema.names:
        return np.full(batch.num_rows, UNLABELLED, dtype=np.int8)
    return np.where(batch["test"].to_numpy(zero_copy_only=False), TEST, NO_SPLIT).astype(np.int8)
