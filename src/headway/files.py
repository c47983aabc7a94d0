"""Atomic writes of files and folders, readers for what other stages wrote, and hashes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from headway.errors import StageOutputError, first_line

#: How names in the system's temporary folder start, by which a cleanup knows what a killed process left there.
TEMPORARY_PREFIX = "headway-tmp-"


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON with its keys in the given order; a reader sees the old file or the new one.

    Raises:
        ValueError, TypeError: the value contains NaN, infinity or an object that JSON cannot express.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file and its folder; a reader sees the old file or the new one, and a failure leaves no part of it."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):  # there is no partial file if the folder could not be created
            partial.unlink()
        raise


def read_json(path: Path, made_by: str) -> Any:
    """Read a JSON file that a stage wrote.

    Raises:
        StageOutputError: the file is missing or not JSON.
    """
    with stage_output(path, made_by):
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise StageOutputError(path, made_by, "not JSON") from None


@contextmanager
def stage_output(path: Path, made_by: str, *damage: type[Exception]) -> Iterator[None]:
    """Turn errors while reading an output of a stage into one that names the file and the stage.

    Args:
        damage: exceptions that mean the file is damaged.

    Raises:
        StageOutputError: the block raised FileNotFoundError or one of ``damage``.
    """
    try:
        yield
    except FileNotFoundError:
        raise StageOutputError(path, made_by) from None
    except damage as error:
        raise StageOutputError(path, made_by, first_line(error)) from None


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill. It replaces ``path`` if the block succeeds and is deleted if the block raises."""
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial, path)


def bytes_of(path: Path) -> int:
    """Size of a file, or of all files in a folder; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size if path.exists() or path.is_symlink() else 0
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_symlink() or not file.is_dir())


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """Hex SHA-256 of a value's canonical JSON: sorted keys, no escapes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
