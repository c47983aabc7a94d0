"""Adds an encoder to data/encoders: from the Hub, an installed package, a folder or word vectors; whole, or not at all.

The files are gathered in a folder whose name ends in .partial, checked, and renamed at the end. A process that is killed leaves
at most that folder, and the next attempt continues in it, or starts it anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from headway.encoders import word_vectors
from headway.encoders.copying import from_folder, from_package
from headway.encoders.folder import (
    PARTIAL,
    RECORD,
    EncoderFiles,
    Record,
    check,
    holds_encoder,
    licence_of,
    read_record,
    require_name,
)
from headway.encoders.hub import from_hub
from headway.encoders.origin import Origin
from headway.errors import HeadwayError, Unreachable
from headway.files import sha256_of_file, write_json


@dataclass(frozen=True)
class Added:
    """An encoder in data/encoders.

    Attributes:
        name: name of its folder.
        files: its files.
        is_new: False if the same files were there already.
    """

    name: str
    files: EncoderFiles
    is_new: bool


def add(encoders: Path, what: str, name: str = "") -> Added:
    """Add an encoder.

    Args:
        encoders: the folder data/encoders of the project.
        what: NAME@REVISION on the Hub, the name of an installed package, or the path of a folder or of a file of word vectors; a
            path begins with ".", "/" or "~".
        name: name of the new folder; by default that on the Hub, of the package's encoder, of the folder, or of the file.

    Raises:
        HeadwayError: there is no such encoder, it cannot be used or not be fetched, or the new folder exists with other files.
    """
    try:
        origin = _origin(what)
    except OSError as error:
        raise HeadwayError(f"{error.filename or what}: {error.strerror or error}; nothing was added") from None
    name = name or origin.name
    require_name(name, "--name")
    target = encoders / name
    if target.parent != encoders and holds_encoder(target.parent):
        raise HeadwayError(f"{target.parent}: is the folder of an encoder itself; choose another name with --name")
    if target.exists() and origin.is_download:
        return _existing(target, name, origin)
    try:
        return _filled(target, name, origin)
    except OSError as error:
        raise HeadwayError(f"{error.filename or target}: {error.strerror or error}; nothing was added") from None


def _origin(what: str) -> Origin:
    if what.startswith((".", "/", "~")):
        path = Path(os.path.expanduser(what))
        return word_vectors.from_file(path) if path.is_file() else from_folder(path)
    if "@" in what:
        return from_hub(what)
    if "/" in what:
        raise HeadwayError(
            f"{what[:100]!r} has no commit; expected NAME@REVISION for an encoder on the Hub, whose page shows the commits at "
            "NAME/commits/main; the path of a folder or a file begins with ./ or /"
        )
    return from_package(what)


def _existing(target: Path, name: str, origin: Origin) -> Added:
    """The folder that is there, if it was fetched from the same commit and has not changed since."""
    record = read_record(target) if target.is_dir() else None
    if record is None or (record.source, record.revision) != (origin.source, origin.revision):
        came = f"from {record.source} {record.revision}".rstrip() if record else f"without an {RECORD} that says where from"
        raise _exists(target, came)
    return Added(name, check(target, record), is_new=False)


def _filled(target: Path, name: str, origin: Origin) -> Added:
    # A download belongs to its commit: what was fetched of another one is no beginning.
    commit = f".{origin.revision[:12]}" if origin.is_download else ""
    with _locked(target.with_name(f"{target.name}{commit}{PARTIAL}")) as folder:
        try:
            if not origin.is_download:
                _empty(folder)
            found = _gathered(folder, origin)
            if target.exists():
                if (there := _usable(target)) is None or there.sha256 != found.sha256:
                    raise _exists(target, "with other files")
                shutil.rmtree(folder)
                return Added(name, there, is_new=False)
        except HeadwayError as error:
            if not isinstance(error, Unreachable) or not any(folder.iterdir()):
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(OSError):  # other encoders of the organisation are there
                    folder.parent.rmdir()
            raise
        names = sorted(path.name for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
        record = Record(
            source=origin.source,
            revision=origin.revision,
            licence=origin.licence or licence_of(folder),
            sha256={file: found.sha256.get(file) or sha256_of_file(folder / file) for file in names if file != RECORD},
        )
        write_json(folder / RECORD, record.model_dump())
        os.rename(folder, target)
    return Added(name, check(target, record), is_new=True)


def _usable(folder: Path) -> EncoderFiles | None:
    """The encoder in a folder; None if there is none that could be used."""
    try:
        return check(folder, read_record(folder)) if folder.is_dir() else None
    except HeadwayError:
        return None


def _gathered(folder: Path, origin: Origin) -> EncoderFiles:
    """Fill the folder and check it; a refusal names where the files came from, because the folder will be gone."""
    try:
        origin.fill(folder)
        return check(folder, None)
    except Unreachable:
        raise
    except HeadwayError as error:
        if (message := str(error)).startswith(str(folder)):
            file = message.removeprefix(str(folder)).removeprefix("/").removeprefix(": ")
            raise HeadwayError(f"{origin.what}: {file}") from None
        raise


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """A folder that no other process fills meanwhile; it is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeadwayError(
                f"{folder}: another `headway encoders add` fills this folder; wait for it, and run again"
            ) from None
        yield folder
    finally:
        os.close(handle)


def _exists(target: Path, came: str) -> HeadwayError:
    return HeadwayError(f"{target}: exists, {came}; remove it, or choose another name with --name")
