"""Label files with the small package, as the command does."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from headway.layout import Layout
from headway.params import Params
from headway.serving.batch import Counts, Job, Workers, predict_files
from headway.serving.batch.formats import format_of
from headway.serving.batch.inputs import ReadingOptions, find_inputs

Label = Callable[..., list[dict[str, Any]]]


class Labelling:
    """Labels files; keeps the counts of the last job."""

    def __init__(self, model: Path, params: Params, layout: Layout, folder: Path) -> None:
        self.model, self.params, self.layout, self.folder = model, params, layout, folder
        self.counts = Counts()

    def __call__(
        self,
        *names: str,
        out: str = "out.jsonl",
        stdin: bytes = b"",
        reading: ReadingOptions = ReadingOptions(),  # noqa: B008 - frozen
        version: str = "7",
        workers: int | Workers = 1,
        restart: bool = False,
        knobs: dict[str, Any] | None = None,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Label the files of the folder, and return the rows of the output."""
        data = self.params.override({f"data.{name}": value for name, value in (knobs or {}).items()}).data
        given = [name if name == "-" or "://" in name else str(self.folder / name) for name in names]
        inputs = find_inputs(given, reading, data, self.layout, self.folder, io.BytesIO(stdin))
        job = Job(inputs, self.model, version, format_of(out), **options)
        where = Workers(workers) if isinstance(workers, int) else workers
        self.counts = predict_files(job, self.folder / out, where, restart)
        return read(self.folder / out)

    def write(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of an output; of CSV, all values are strings."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    text = path.read_bytes().decode()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.split("\n") if line]
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.fixture
def label(saved: Path, params: Params, project: Layout, tmp_path: Path) -> Labelling:
    folder = tmp_path / "files"
    folder.mkdir()
    return Labelling(saved, params, project, folder)
