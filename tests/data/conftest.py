"""Fixtures that read a file as a source, and real text in many scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headway.data.sources.files import open_files
from headway.data.sources.manifest import Manifest, Tally
from headway.data.sources.source import Source
from headway.errors import HeadwayError
from tests import real_texts


class Reading(NamedTuple):
    """The rows and the manifest of a source."""

    table: pa.Table
    manifest: Manifest
    source: Source

    @property
    def rows(self) -> list[tuple[str | None, str | None]]:
        return list(zip(self.table["text"].to_pylist(), self.table["label"].to_pylist(), strict=True))

    @property
    def problems(self) -> dict[int, str]:
        """Problems by row number."""
        rows = zip(self.table["row"].to_pylist(), self.table["problem"].to_pylist(), strict=True)
        return {row: problem for row, problem in rows if problem}


def read_all(source: Source) -> Reading:
    """All labelled rows of a source, and its manifest."""
    tally, batches = Tally(), []
    for batch in source.labelled_batches():
        tally.add(batch)
        batches.append(batch)
    return Reading(pa.Table.from_batches(batches, source.schema), tally.manifest(source), source)


@pytest.fixture
def read_file(params: Any, tmp_path: Path) -> Callable[..., Reading]:
    """Reads a file, folder or URL, after writing ``content`` to it if given; other knobs of params by name."""

    def reader(
        name: str, content: str | bytes | None = None, text: str = "text", label: str = "label", **knobs: Any
    ) -> Reading:
        if content is not None:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        chosen = {"source": "file", "path": name, "text_column": text, "label_column": label, **knobs}
        data = params.override({f"data.{knob}": value for knob, value in chosen.items()}).data
        return read_all(open_files(data, tmp_path, tmp_path / ".scratch"))

    return reader


@pytest.fixture
def refusal(read_file: Callable[..., Reading]) -> Callable[..., str]:
    """The one-line error with which a file is refused."""

    def reader(*args: Any, **knobs: Any) -> str:
        with pytest.raises(HeadwayError) as caught:
            read_file(*args, **knobs)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return reader


@pytest.fixture(scope="session")
def sentences(ingested: Any) -> Any:
    """1,067 real sentences with their labels, as a data frame."""
    table = pq.read_table(ingested.layout.raw / "rows.parquet", columns=["text", "label"])
    return table.to_pandas()[::8].reset_index(drop=True)


@pytest.fixture(scope="session")
def chinese() -> list[str]:
    """Real reviews in Chinese."""
    return real_texts.chinese(6000)[0][:3000]


@pytest.fixture(scope="session")
def translations() -> Callable[[str], list[str]]:
    """Sentences of Django's pages in a language, by the code of its locale."""
    return real_texts.translations
