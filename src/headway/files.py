"""Writing files so that a reader sees the old one or the new one, never half of one; and hashing what stands there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from headway.errors import HeadwayError


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, keys in the order given, all at once."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text, all at once; where it cannot be written, no part of it is left."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):  # such as that the folder is a file
            partial.unlink()
        raise


def write_chosen(path: Path, text: str, what: str) -> None:
    """Write what a person asked for where ``--out`` says, all at once.

    Args:
        what: it is, for the message.

    Raises:
        HeadwayError: it cannot be written there.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise HeadwayError(f"{path}: the {what} cannot be written: {error.strerror}; name another file with --out") from None


def read_json(path: Path, made_by: str) -> Any:
    """Read a JSON file that a stage made.

    Raises:
        HeadwayError: the file is missing or damaged; the message names the stage that makes it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HeadwayError(f"{path}: missing; it is made by `dvc repro {made_by}`") from None
    except ValueError:
        raise HeadwayError(f"{path}: damaged (not JSON); make it again with `dvc repro --force {made_by}`") from None


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, put in the place of ``path`` when the block ends well and removed when it does not."""
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


def sha256_of_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """Hex SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
