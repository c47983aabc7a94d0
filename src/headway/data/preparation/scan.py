"""A first pass over the ingested rows, which reduces each row to the few numbers that determine its split.

The rows are scanned in parts. A part's result depends on its rows alone, so parts may be scanned at the same time, in any order
and on other machines, and the result of the scan is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headway.data.identity import canonical_label, digests, normal_form
from headway.data.preparation.buckets import BandHashes, Buckets
from headway.data.preparation.ingested import batches
from headway.data.preparation.label_map import LabelMap
from headway.data.preparation.near_duplicates import band_hashes, band_shape
from headway.data.preparation.split_assignment import NO_SPLIT, RowFeatures, texts_of
from headway.data.preparation.times import NO_TIME, read_times
from headway.data.preparation.validation import CODE, count_markup_noise, reasons
from headway.data.text.scripts import dominant_scripts
from headway.data.text.splits import TEST, UNLABELLED
from headway.params import TIME_COLUMN, Params

#: A part ends with the batch that reaches one of these.
ROWS_PER_PART, BYTES_PER_PART = 8_000, 1 << 24


@dataclass(frozen=True)
class Settings:
    """What every part needs."""

    max_characters: int
    near_duplicates: float
    label_map: LabelMap
    with_times: bool

    @classmethod
    def of(cls, params: Params) -> Settings:
        label_map, with_times = LabelMap(params.data.label_map), bool(params.split.time_column)
        return cls(params.data.max_characters, params.split.near_duplicates, label_map, with_times)


class Task(Protocol):
    """Work that can be done at the same time as other tasks, and elsewhere."""

    def run(self, settings: Settings) -> Any:
        """What becomes of it, which depends on the task and the settings alone."""


Take = Callable[[int, Any], None]
#: Runs tasks, and calls ``take`` in this thread with each one's position and result, in any order.
Run = Callable[[Iterable[Task], Take], None]


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


@dataclass(frozen=True)
class ScannedPart:
    """What a part of the rows is reduced to; see :class:`Scan`. Its labels are its own."""

    reason: np.ndarray
    label: np.ndarray
    labels: list[str]
    predefined_split: np.ndarray
    digest: np.ndarray
    bands: np.ndarray  # hashes, uint64, shape (rows, bands)
    characters: np.ndarray
    scripts: Counter[str]
    markup_noise: Counter[str]
    written_times: pa.Array | None

    def without_bands(self) -> ScannedPart:
        """A copy without the hashes. An array in a cluster's object store would keep everything that came with it there."""
        names = ("reason", "label", "predefined_split", "digest", "characters")
        times = None if self.written_times is None else self.written_times.take(pa.array(np.arange(len(self.reason))))
        columns = {name: getattr(self, name).copy() for name in names}
        return replace(self, bands=np.empty((0, 0), np.uint64), written_times=times, **columns)


@dataclass(frozen=True)
class PartOfRows:
    """Consecutive rows to scan."""

    batches: list[pa.RecordBatch]

    def run(self, settings: Settings) -> ScannedPart:
        """Reduce the rows. A row whose label the map drops is left out for that, also if its text is missing or too long."""
        label_codes: dict[str, int] = {}
        columns: list[tuple[np.ndarray, ...]] = []
        scripts, noise = Counter[str](), Counter[str]()
        bands, _ = band_shape(settings.near_duplicates)
        for batch in self.batches:
            reason = reasons(batch, settings.max_characters)
            label, dropped = _labels(batch, label_codes, settings.label_map)
            reason[dropped] = CODE["dropped by data.label_map"]
            usable = reason == 0
            texts = batch["text"].filter(pa.array(usable))
            forms = [normal_form(text) for text in texts.to_pylist()]
            digest = np.zeros(len(usable), dtype="V16")
            digest[usable] = digests(forms)
            hashes = np.zeros((len(usable), bands), dtype=np.uint64)
            hashes[usable] = band_hashes(forms, settings.near_duplicates)
            scripts.update(script or "no letters" for script in dominant_scripts(texts.to_pylist()))
            noise.update(count_markup_noise(texts))
            lengths = pc.fill_null(pc.utf8_length(batch["text"]), 0).cast(pa.int32()).to_numpy(zero_copy_only=False)
            columns.append((reason, label, _predefined_split(batch), digest, hashes, lengths))
        reason, label, predefined_split, digest, hashes, lengths = map(np.concatenate, zip(*columns, strict=True))
        times = pa.concat_arrays([_written_times(batch) for batch in self.batches]) if settings.with_times else None
        names = list(label_codes)
        return ScannedPart(reason, label, names, predefined_split, digest, hashes, lengths, scripts, noise, times)


def scan(folder: Path, params: Params, spool: Path, run: Run) -> Scan:
    """Read all ingested rows once.

    Args:
        spool: an empty folder for the band hashes, the only large feature.
        run: runs the tasks, with the :class:`Settings` of these params.

    Raises:
        HeadwayError: the order of day and month in the time column cannot be told.
    """
    bands, _ = band_shape(params.split.near_duplicates)
    starts: list[int] = []
    found: dict[int, ScannedPart] = {}
    buckets: dict[int, Buckets] = {}
    with BandHashes(spool, bands) as hashes:

        def take(position: int, part: ScannedPart) -> None:
            hashes.put(starts[position], part.bands)
            found[position] = part.without_bands()

        run(_parts(folder, starts), take)
        parts = [found[position] for position in range(len(found))]
        reason, predefined_split, digest, lengths = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("reason", "predefined_split", "digest", "characters")
        )
        text = texts_of(digest, reason)
        run(hashes.tasks(np.unique(text[text >= 0])), buckets.__setitem__)
    labels, label = _joined_labels(parts)
    scripts, noise = Counter[str](), Counter[str]()
    for part in parts:
        scripts.update(part.scripts)
        noise.update(part.markup_noise)
    times = _times(parts, params.split.time_column, reason, predefined_split) if params.split.time_column else None
    shared = Buckets.join(buckets[position] for position in range(len(buckets)))
    return Scan(RowFeatures(reason, label, predefined_split, digest, text, shared), labels, lengths, scripts, noise, times)


def _parts(folder: Path, starts: list[int]) -> Iterator[PartOfRows]:
    """The ingested rows in parts; the index of each part's first row is added to ``starts`` before."""
    part: list[pa.RecordBatch] = []
    for start, batch in batches(folder):
        if not part:
            starts.append(start)
        part.append(batch)
        if sum(one.num_rows for one in part) >= ROWS_PER_PART or sum(one.nbytes for one in part) >= BYTES_PER_PART:
            yield PartOfRows(part)
            part = []
    if part:
        yield PartOfRows(part)


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


def _joined_labels(parts: list[ScannedPart]) -> tuple[list[str], np.ndarray]:
    """The classes of all parts in the order of their first row, and each row's index into them, int32, -1 for none."""
    codes: dict[str, int] = {}
    columns = []
    for part in parts:
        code = np.array([codes.setdefault(name, len(codes)) for name in part.labels] + [-1], dtype=np.int32)
        columns.append(code[part.label])
    return list(codes), np.concatenate(columns)


def _written_times(batch: pa.RecordBatch) -> pa.Array:
    """The cells of the time column; unlabelled rows have none."""
    return batch[TIME_COLUMN] if TIME_COLUMN in batch.schema.names else pa.nulls(batch.num_rows, pa.string())


def _times(parts: list[ScannedPart], column: str, reason: np.ndarray, predefined_split: np.ndarray) -> np.ndarray:
    """The times of all rows. Labelled rows without one get that as their ``reason``, if they could be used otherwise."""
    cells = pa.concat_arrays([part.written_times for part in parts])
    times = read_times(cells, column)
    without = (times == NO_TIME) & (predefined_split != UNLABELLED) & (reason == 0)
    blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(cells, "")), "").to_numpy(zero_copy_only=False)
    reason[without] = np.where(blank, CODE["missing time"], CODE["unreadable time"])[without]
    return times


def _predefined_split(batch: pa.RecordBatch) -> np.ndarray:
    if "label" not in batch.schema.names:
        return np.full(batch.num_rows, UNLABELLED, dtype=np.int8)
    return np.where(batch["test"].to_numpy(zero_copy_only=False), TEST, NO_SPLIT).astype(np.int8)
