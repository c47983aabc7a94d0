"""The store of parts on file systems that are stricter than a local disk, or do not answer."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.local import LocalFileSystem

from headway.errors import HeadwayError
from headway.serving.log.store import Part, PartStore, UnreadablePart, part_name

TIME = datetime(2026, 12, 1, 8, tzinfo=UTC)
NAME = part_name(TIME, "1")


class StrictFileSystem(LocalFileSystem):
    """A local folder behind a URL that cannot rename onto a file, and removes and reads files only while that is allowed."""

    protocol = "strict"
    removes = True
    read_error: Exception | None = None
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return LocalFileSystem._strip_protocol(str(path).removeprefix("strict://"))

    def mv(self, path1: str, path2: str, **options: Any) -> None:
        if os.path.exists(path2):
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        super().mv(path1, path2, **options)

    def rm_file(self, path: str) -> None:
        if not StrictFileSystem.removes:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        super().rm_file(path)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        if mode == "rb" and StrictFileSystem.read_error:
            raise StrictFileSystem.read_error
        return super()._open(path, mode, block_size, **options)


@pytest.fixture
def strict() -> Iterator[type[StrictFileSystem]]:
    fsspec.register_implementation("strict", StrictFileSystem, clobber=True)
    yield StrictFileSystem
    StrictFileSystem.removes, StrictFileSystem.read_error = True, None


@pytest.fixture
def store(strict: type[StrictFileSystem], tmp_path: Path) -> PartStore:
    return PartStore.open(f"strict://{tmp_path}/log")


def write(store: PartStore, label: str) -> None:
    store.write(NAME, TIME.date(), pa.table({"label": [label]}))


def test_a_part_is_replaced_where_a_file_cannot_be_renamed_onto_another(store: PartStore) -> None:
    write(store, "first")
    write(store, "second")
    (part,) = store.parts()
    assert store.read(part)["label"].to_pylist() == ["second"]


def test_a_folder_without_permission_to_remove_can_hold_a_log(
    store: PartStore, strict: type[StrictFileSystem], tmp_path: Path
) -> None:
    strict.removes = False
    for _ in range(2):
        store.require_writable()
    assert [path.name for path in (tmp_path / "log").iterdir()] == [".probe"]
    strict.removes = True
    store.require_writable()
    assert not list((tmp_path / "log").iterdir())
    assert store.parts() == []


@pytest.mark.parametrize(
    "error", [PermissionError("no access"), OSError(errno.EIO, "no answer"), RuntimeError("no route to the bucket")]
)
def test_a_store_that_does_not_answer_is_an_error_and_no_damaged_part(
    store: PartStore, strict: type[StrictFileSystem], error: Exception
) -> None:
    write(store, "positive")
    (part,) = store.parts()
    strict.read_error = error
    with pytest.raises(HeadwayError, match="cannot be read") as caught:
        store.read(part)
    assert not isinstance(caught.value, UnreadablePart)


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"damaged" * 100, "cut"])
def test_a_missing_or_damaged_part_is_named(store: PartStore, tmp_path: Path, content: bytes | str | None) -> None:
    write(store, "positive")
    (part,) = store.parts()
    path = Path(part.path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else path.read_bytes()[20:])
    with pytest.raises(UnreadablePart, match=NAME):
        store.read(Part(part.path, part.day, part.size))
