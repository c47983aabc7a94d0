"""Where your files are, in terms of params.yaml: from the paths, globs and URLs given on the command line."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from headway.data.given_path import path_and_pattern
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.yaml_files import shortened


def locate(layout: Layout, data: str, test: str, unlabelled: str) -> dict[str, str]:
    """The knobs ``path``, ``files``, ``test_files`` and ``unlabelled_files`` for files given on the command line.

    HeadwayError if the folder with all the files also holds what the pipeline writes, or DVC cannot track a URL.
    """
    try:
        return _locate(layout, data, test, unlabelled)
    except OSError as error:  # a folder without permission, a name that is too long, …
        where = shortened(os.fsdecode(error.filename or data))
        raise HeadwayError(
            f"--data: {where}: cannot be looked up: {error.strerror}; check the path and its permissions"
        ) from None
    except ValueError as error:  # a URL that is not one
        raise HeadwayError(f"--data: {shortened(data)}: {error}; check the path or URL") from None


def _locate(layout: Layout, data: str, test: str, unlabelled: str) -> dict[str, str]:
    path, files = path_and_pattern(data)
    roles = {"test_files": test, "unlabelled_files": unlabelled}
    if "://" in path:
        _require_tracked(path)
    if "://" in path or not any(roles.values()):
        return {"path": path, "files": files, **roles}
    is_file = Path(path).is_file()
    folder = Path(path).parent if is_file else Path(path)
    given = {role: Path(os.path.expanduser(name)).absolute() for role, name in roles.items() if name}
    # A file in the data folder takes precedence over one of that name in the working directory.
    in_folder = {role for role in given if not Path(roles[role]).is_absolute() and (folder / roles[role]).is_file()}
    elsewhere = {role: file for role, file in given.items() if file.is_file() and role not in in_folder}
    base = Path(os.path.commonpath([folder, *(file.parent for file in elsewhere.values())]))
    if layout.raw.is_relative_to(base):
        raise HeadwayError(
            f"--data: {base} holds your files together with what the pipeline writes, so that changes of your files would go "
            "unnoticed; move them into a folder of their own, such as data/input, and pass their new paths"
        )

    def pattern(file: Path) -> str:
        return glob.escape(file.relative_to(base).as_posix())

    inside = "" if folder == base else pattern(folder) + "/"
    patterns = {
        role: pattern(elsewhere[role]) if role in elsewhere else name and inside + name for role, name in roles.items()
    }
    return {"path": str(base), "files": pattern(Path(path)) if is_file else inside + files, **patterns}


def path_for_params(root: Path, path: str) -> str:
    """A path as it is written to params.yaml: relative to the project's folder if it is in there."""
    return Path(path).relative_to(root).as_posix() if "://" not in path and Path(path).is_relative_to(root) else path


def model_name(data: str, files: str) -> str:
    """A name for the model, made from the name of its data."""
    name = Path(path_and_pattern(data)[0]).name.split(".")[0] or files
    return re.sub(r"[^\w-]+", "-", name).strip("-_") or "model"


def _require_tracked(url: str) -> None:
    """Check that DVC, through which the stage ingest depends on its files, notices when a URL's file changes."""
    from dvc.fs import registry

    scheme = url.partition("://")[0]
    known = sorted(set(registry) - {"local", "memory"})
    if scheme not in known:
        raise HeadwayError(
            f"--data: {url}: DVC does not notice changes of {scheme}:// files; download the file and pass its path, or a URL "
            f"that begins with one of {', '.join(known)}"
        )
    try:
        registry[scheme]
    except ImportError as error:
        package = re.search(r"dvc-\w+", str(error))
        install = f"run `pip install {package[0]}`" if package else "install DVC's extra for it"
        raise HeadwayError(f"--data: {url}: {scheme}:// needs one more package; {install}, and try again") from None
