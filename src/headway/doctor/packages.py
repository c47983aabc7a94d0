"""Checks of the installation: which Headway runs, and whether the installed packages are the locked ones."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

import headway
from headway.doctor.check import FAULT, INSTALL, OK, WARNING, Check
from headway.phrases import counted, listed

#: Packages that are named.
SHOWN = 3


def check_headway(root: Path) -> Iterator[Check]:
    """The version of Headway, and whether it is the project's own code, on which its stages depend."""
    code = Path(headway.__file__).resolve().parent
    found = f"{headway.__version__} in {code}"
    own = root / "src" / "headway"
    if own.is_dir() and code != own.resolve():
        remedy = "run the project's own: `.venv/bin/headway`; `make run` installs it"
        yield Check("headway", WARNING, f"{found}, which is not the code of this project", remedy)
        return
    try:
        installed = importlib.metadata.version("headway")
    except importlib.metadata.PackageNotFoundError:
        installed = ""
    if installed != headway.__version__:
        before = f"was installed as {installed}" if installed else "is not installed"
        remedy = "run `.venv/bin/python -m pip install --no-deps --no-build-isolation --editable .`"
        yield Check("headway", WARNING, f"{found}, but it {before}", remedy)
        return
    yield Check("headway", OK, found)


def check_packages(root: Path) -> Iterator[Check]:
    """Installed packages against requirements.lock, on which every result depends."""
    lock = root / "requirements.lock"
    if not lock.is_file():
        yield Check("packages", WARNING, f"{lock} is missing", "restore it with `git checkout requirements.lock`")
        return
    installed = {canonicalize_name(one.name): one.version for one in importlib.metadata.distributions() if one.name}
    wanted = list(_requirements(lock.read_text(encoding="utf-8")))
    missing = [one.name for one in wanted if canonicalize_name(one.name) not in installed]
    others = [
        f"{one.name} {version} instead of {str(one.specifier).removeprefix('==')}"
        for one in wanted
        if (version := installed.get(canonicalize_name(one.name))) and not one.specifier.contains(version, prereleases=True)
    ]
    if missing:
        yield Check("packages", FAULT, f"{counted(len(missing), 'package')} missing: {listed(missing, SHOWN)}", INSTALL)
    if others:
        found = f"{counted(len(others), 'package')} not as in requirements.lock: {listed(others, SHOWN)}"
        yield Check("packages", WARNING, found, INSTALL)
    if not missing and not others:
        yield Check("packages", OK, f"{counted(len(wanted), 'package')} as in requirements.lock")


def _requirements(text: str) -> Iterator[Requirement]:
    """The requirements in a lock file that this Python and platform need."""
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if not line or line.startswith("-"):
            continue
        try:
            requirement = Requirement(line)
        except InvalidRequirement:  # pip reports it
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement
