"""The packages of the serving image: the files of docker/locks/serve.lock, less those that the Dockerfile removes."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

from tests.docker.compose_file import DOCKER, stages


def locked(name: str) -> dict[str, str]:
    """The versions in a lock, for this Python and system, such as ``==1.2``."""
    text = (DOCKER / "locks" / f"{name}.lock").read_text()
    found = [Requirement(line) for line in text.splitlines() if line and line[0] not in " #"]
    return {one.name: str(one.specifier) for one in found if one.marker is None or one.marker.evaluate()}


@cache
def removed() -> tuple[set[str], str, list[str]]:
    """What the Dockerfile removes: names of folders, all programs of PyTorch but one, patterns of Arrow's files."""
    lines = stages()["serve-packages"]
    folders = re.search(r"-type d \\\((.*?)\\\)", lines)
    program = re.search(r"torch/bin -type f ! -name (\w+) -delete", lines)
    patterns = re.search(r"pyarrow -type f \\\((.*?)\\\)", lines)
    assert folders
    assert program
    assert patterns
    return set(re.findall(r"-name (\w+)", folders[1])), program[1], re.findall(r"-name '(\S+)'", patterns[1])


def kept(path: PurePosixPath) -> bool:
    """Whether the Dockerfile leaves a file of site-packages where it is."""
    folders, program, patterns = removed()
    if folders.intersection(path.parts[:-1]):
        return False
    if path.parts[:2] == ("torch", "bin"):
        return path.name == program
    return path.parts[0] != "pyarrow" or not any(fnmatchcase(path.name, pattern) for pattern in patterns)


def files() -> Iterator[importlib.metadata.PackagePath]:
    """The files of the image's packages, as they are installed here; those of programs are left out."""
    for name in locked("serve"):
        for file in importlib.metadata.files(name) or []:
            if ".." not in file.parts and file.suffix != ".pyc" and kept(file):
                yield file


def size() -> int:
    """Bytes of these files."""
    return sum(file.size or 0 for file in files())


def link_into(folder: Path) -> None:
    """Put these files into a folder, links if it is on the same disk, and with them the metadata of this project's package."""
    own = [file for file in importlib.metadata.files("headway") or [] if file.parent.name.endswith(".dist-info")]
    for file in [*files(), *own]:
        source, target = Path(str(file.locate())), folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
