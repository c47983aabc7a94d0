"""The file that a person names with ``--out``: what may be written there, and what may never be replaced."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from headway.errors import HeadwayError
from headway.git import GitError, git
from headway.layout import MARKERS

#: Folders of a project that git, DVC, MLflow, the stages and Headway write. A file of one's own there would be lost or do harm.
#: .headway holds the Prefect server's password.
WRITTEN_BY_OTHERS = (
    ".git",
    ".dvc",
    ".headway",
    ".venv",
    "mlruns",
    "data",
    "models",
    "results",
    "reports",
    "plots",
    "metrics",
    "src",
    "flows",
)
#: Inside of these, the folders of a person's own data.
OWN = ("data/input", "data/corrections")


def require_writable(path: Path, what: str, force: bool) -> None:
    """Check that a chosen file is new, or a regular file that may be replaced.

    Args:
        what: what is to be written, for the message.
        force: whether a regular file may be replaced.

    Raises:
        HeadwayError: the path is a folder, a link or a device, exists without ``force``, or belongs to the project.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except (OSError, ValueError) as error:
        raise _refusal(path, what, getattr(error, "strerror", None) or str(error)) from None
    if mode is not None and not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
        raise _refusal(path, what, f"it is {kind}")
    if mode is not None and not force:
        raise _refusal(path, what, "it exists", "pass --force to replace it, or name another file with --out")
    if owner := _owner(path):
        raise _refusal(path, what, f"it {owner}")


def write_chosen(path: Path, text: str, what: str, force: bool = False) -> None:
    """Write a UTF-8 text to the file that a person named, in one step; missing folders are made.

    Raises:
        HeadwayError: see :func:`require_writable`; or the file cannot be written.
    """
    require_writable(path, what, force)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refusal(path, what, f"its folder cannot be made ({error.strerror})") from None
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "w", encoding="utf-8") as file:
            file.write(text)
        if force:
            os.replace(partial, path)
        else:
            _rename_to_new(partial, path)
    except FileExistsError:
        raise _refusal(path, what, "it exists", "pass --force to replace it, or name another file with --out") from None
    except OSError as error:
        raise _refusal(path, what, error.strerror or str(error)) from None
    finally:
        with suppress(OSError):  # it was renamed, or could not be made
            partial.unlink()


def _rename_to_new(partial: Path, path: Path) -> None:
    """Rename a file; FileExistsError if another process has made the new name by now."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.rename(partial, path)


def _owner(path: Path) -> str:
    """Who else a path inside of a project belongs to; "" if nobody."""
    path = path.parent.resolve() / path.name
    root = next((folder for folder in path.parents if all((folder / marker).is_file() for marker in MARKERS)), None)
    if root is None:
        return ""
    inside = path.relative_to(root)
    if inside.parts[0] in WRITTEN_BY_OTHERS and not any(map(inside.is_relative_to, OWN)):
        return f"is in {inside.parts[0]}, which belongs to the project"
    if len(inside.parts) == 1 and path.is_file() and (path.suffix in (".yaml", ".toml", ".lock") or path.name == "Makefile"):
        return "is a file of the project"
    try:
        return "is a file of the project" if git(root, "ls-files", "--", inside.as_posix()) else ""
    except GitError:  # no repository
        return ""


def _refusal(path: Path, what: str, why: str, advice: str = "name another file with --out") -> HeadwayError:
    return HeadwayError(f"{path}: cannot write the {what}: {why}; {advice}")
