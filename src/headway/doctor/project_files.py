"""Checks of the project's own files: where it is, params.yaml, dvc.yaml, permissions, a run in progress, and notifications."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from headway import notifications, preflight, yaml_files
from headway import params as parameters
from headway.doctor.check import FAULT, OK, WARNING, Check, of_error
from headway.errors import HeadwayError
from headway.layout import MARKERS, Layout
from headway.params import Params
from headway.phrases import counted, listed

#: Mistakes in params.yaml that are listed, and missing settings from which on the file is one of an older version.
SHOWN, OLD = 5, 5
MISSING = ": missing; "
UPGRADE = "add them from the params.yaml of this version; docs/howto/upgrade.md says how"
#: What a command needs beside params.yaml and dvc.yaml.
PARTS = ("flows", "src/headway", "requirements.lock")


def load_params(layout: Layout) -> Params | None:
    """The params, None if there are none without mistakes, which :func:`check_params` lists."""
    try:
        return parameters.load(layout.params)
    except HeadwayError:
        return None


def check_project(root: Path | None, start: Path) -> Iterator[Check]:
    """Whether this is a whole project."""
    if root is None:
        remedy = "change to the folder of your project, or clone Headway's repository"
        yield Check("project", FAULT, f"no folder from {start} upwards holds {' or '.join(MARKERS)}", remedy)
        return
    lacking = [name for name in (*MARKERS, *PARTS) if not (root / name).exists()]
    if lacking:
        remedy = f"restore them with `git checkout {' '.join(lacking)}`"
        yield Check("project", FAULT, f"{root} lacks {listed(lacking, len(lacking))}", remedy)
    else:
        yield Check("project", OK, str(root))


def check_params(layout: Layout) -> Iterator[Check]:
    """Every mistake in params.yaml, and in what it says about slices, labels and the pretrained encoder."""
    if not layout.params.exists():
        return  # check_project reports it
    mistakes = parameters.problems(layout.params)
    missing = [line.partition(MISSING)[0].rpartition(": ")[2] for line in mistakes if MISSING in line]
    if len(missing) >= OLD:
        mistakes = [line for line in mistakes if MISSING not in line]
        found = (
            f"{counted(len(missing), 'setting')} missing, as in a file of an older version: {listed(missing, len(missing))}"
        )
        yield Check("params.yaml", FAULT, found, UPGRADE)
    for line in mistakes[:SHOWN]:
        former, _, present = line.partition(" was renamed: use ")
        if present:
            yield Check("params.yaml", FAULT, f"{former} was renamed", f"rename it to {present}")
        else:
            yield of_error("params.yaml", HeadwayError(line), "correct it; docs/reference/params.md has all settings")
    if len(mistakes) > SHOWN:
        yield Check(
            "params.yaml", FAULT, f"{counted(len(mistakes) - SHOWN, 'further mistake')}", "correct those above first"
        )
    if mistakes or len(missing) >= OLD:
        return
    params = parameters.load(layout.params)
    preflight.check_params(params)
    preflight.check_encoder(params, layout)
    yield Check("params.yaml", OK, f"{counted(len(parameters.flatten(params.model_dump())), 'setting')} without a mistake")


def check_graph(layout: Layout) -> Iterator[Check]:
    """Whether dvc.yaml and dvc.lock can be read."""
    for path in (layout.graph, layout.lock):
        if path.exists():
            stages = yaml_files.load_mapping(path).get("stages") or {}
            yield Check(path.name, OK, counted(len(stages), "stage"))
        elif path == layout.lock:
            yield Check(path.name, OK, "not there yet; the first run writes it")


def check_permissions(layout: Layout) -> Iterator[Check]:
    """Whether the project's folders can be read and written."""
    preflight.check_writable(layout)
    folders = (layout.root, layout.root / ".dvc", layout.scratch, layout.tracking, layout.raw.parent, layout.reports)
    for folder in folders:
        if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
            yield Check("permissions", FAULT, f"{folder} cannot be read", f"run `chmod u+rwx {folder}`, or ask its owner")
            return
    yield Check("permissions", OK, "all folders of the project can be read and written")


def check_running(layout: Layout) -> Iterator[Check]:
    """Whether a run is in progress."""
    try:
        noted = json.loads((layout.scratch / "flow.json").read_text(encoding="utf-8"))
        process, since = int(noted["process"]), str(noted["since"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or a kill left half of the file
        return
    if psutil.pid_exists(process):
        yield Check("run", OK, f"in progress since {since} (process {process})")
    else:
        yield Check("run", WARNING, f"the one that began at {since} was killed", "`make run` continues where it stopped")


def check_notifications() -> Iterator[Check]:
    """The file with the addresses of notifications."""
    file = notifications.configured_file()
    if file is None:
        yield Check("notifications", OK, f"none are sent, because {notifications.VARIABLE} is not set")
        return
    try:
        addresses, problems = notifications.read(file)
    except HeadwayError as error:
        yield of_error("notifications", error, "correct the file", WARNING)
        return
    for problem in problems:
        yield of_error("notifications", HeadwayError(problem), "correct the file", WARNING)
    if not problems:
        found = f"{counted(len(addresses), 'address', 'addresses')} in {file}"
        yield Check("notifications", OK, f"{found}; `headway notify --test` sends to each")
