"""What of the scratch folder goes: old studies, checkpoints and caches, and what killed processes left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from headway.cleanup.group import Group
from headway.errors import HeadwayError
from headway.files import TEMPORARY_PREFIX, bytes_of
from headway.git import GitError, git
from headway.layout import Layout
from headway.params import Params

#: Seconds since the last change from which a temporary file or folder counts as left over.
LEFT_OVER = 24 * 3600
#: Temporary files and folders below the scratch folder.
TEMPORARY = ("init", "bands*", "revision-*", "python3.*")
#: Folders that Headway writes, and how what it has not finished is called: beside a folder, or in it at any depth.
WRITTEN = (
    "data/raw",
    "data/prepared",
    "data/encoded",
    "data/encoders",
    "models",
    "results",
    "mlruns",
    ".headway",
    "reports",
    "plots",
)
PARTIAL = ".partial"
#: A folder with this file is a project, whatever its name.
MARKER = "params.yaml"


def plan(params: Params, layout: Layout) -> list[Group]:
    """Folders and files that stay or go."""
    studies = list((layout.scratch / "study").glob("*"))
    study = _current_study(params, layout, studies)
    checkpoints, encoded = (_by_age(layout.scratch / name) for name in ("checkpoints", "encoded"))
    leftovers = tuple(path for path in sorted(_leftovers(params, layout)) if _is_left_over(path))
    return [
        _stays("studies", [study] if study else [], "of the current params and data"),
        _goes("studies", [one for one in studies if one != study], "of other params, data or code"),
        _stays("checkpoints", checkpoints[-1:], "to resume a training"),
        _goes("checkpoints", checkpoints[:-1], "of trainings before the last"),
        _stays("encoded texts", encoded[-1:], "of the current data"),
        _goes("encoded texts", encoded[:-1], "of other data"),
        replace(_goes("temporary files", leftovers, "left by killed processes"), paths=leftovers),
    ]


def _leftovers(params: Params, layout: Layout) -> set[Path]:
    """What has a name of Headway's own for temporary files. Files of git and of the data source, and projects, are left out."""
    named = {path for pattern in TEMPORARY for path in layout.scratch.glob(pattern)}
    partial = {path for name in WRITTEN for path in _partial(layout.root / name)}
    system = set(Path(tempfile.gettempdir()).glob(f"{TEMPORARY_PREFIX}*"))
    tracked, source = _tracked(layout), (layout.root / params.data.path).resolve()

    def is_kept(path: Path) -> bool:
        place = path.parent.resolve() / path.name
        if place in tracked or place.is_relative_to(source) or source.is_relative_to(place):
            return True
        return path.is_dir() and not path.is_symlink() and any(path.rglob(MARKER))

    found = named | {path for path in partial | system if not is_kept(path)}
    return {path for path in found if not found & set(path.parents)}


def _partial(folder: Path) -> list[Path]:
    """Unfinished files and folders of a folder that Headway writes; runs' artifacts are not looked into."""
    beside = folder.with_name(folder.name + PARTIAL)
    inside = folder.glob(f"*{PARTIAL}") if folder.name == "mlruns" else folder.rglob(f"*{PARTIAL}")
    return [*([beside] if beside.exists() else []), *(() if folder.is_symlink() else inside)]


def _tracked(layout: Layout) -> set[Path]:
    """Files of the project's git repository, and the folders that they are in; none without one."""
    try:
        names = git(layout.root, "ls-files", "-z").split("\0")
    except GitError:
        return set()
    files = [layout.root.resolve() / name for name in names if name]
    return {*files, *(folder for file in files for folder in file.parents)}


def _current_study(params: Params, layout: Layout, studies: list[Path]) -> Path | None:
    """The study that ``headway tune`` would continue; the last one if the data stages have not run."""
    from headway.stages.tune import study_key

    try:
        current = layout.scratch / "study" / study_key(params, layout)[:16]
    except (OSError, HeadwayError):
        return max(studies, key=lambda folder: folder.stat().st_mtime, default=None)
    return current if current in studies else None


def _by_age(folder: Path) -> list[Path]:
    return sorted(folder.glob("*"), key=lambda path: path.stat().st_mtime)


def _is_left_over(path: Path) -> bool:
    found = path.lstat()
    return found.st_mtime < time.time() - LEFT_OVER and found.st_uid == os.getuid()


def _stays(what: str, paths: Sequence[Path], why: str) -> Group:
    return Group(what, len(paths), sum(map(bytes_of, paths)), why)


def _goes(what: str, paths: Sequence[Path], why: str) -> Group:
    return Group(what, len(paths), sum(map(bytes_of, paths)), why, tuple(partial(_remove, path) for path in paths))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
