"""Checks of git and DVC, without running DVC."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from headway import preflight
from headway.doctor.check import FAULT, OK, WARNING, Check
from headway.git import GitError, git
from headway.layout import Layout
from headway.phrases import counted, listed

UNMERGED = ("DD", "AU", "UD", "UA", "DU", "AA", "UU")


def check_git(layout: Layout) -> Iterator[Check]:
    """The repository, its last commit, and unfinished merges."""
    preflight.check_git(layout)
    try:
        commit = git(layout.root, "rev-parse", "--short", "--verify", "HEAD")
    except GitError:
        if preflight.works_without_git(layout):
            yield Check("git", OK, "not used (core.no_scm), so that results have no commit in their lineage")
        else:
            remedy = '`git add --all && git commit --message "Start"`'
            yield Check("git", WARNING, "no commit yet, so that results have none in their lineage", f"run {remedy}")
        return
    try:
        changes = git(layout.root, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no").splitlines()
    except GitError as error:
        yield Check("git", FAULT, f"`git status` fails: {error}", "run `git status` and repair what it reports")
        return
    unmerged = [line[3:] for line in changes if line[:2] in UNMERGED]
    if unmerged:
        found = f"a merge is not finished: {listed(unmerged, 3)}"
        yield Check("git", FAULT, found, "edit these files, then `git add` and `git commit`; or `git merge --abort`")
        return
    yield Check("git", OK, f"at commit {commit}, {counted(len(changes), 'changed file') if changes else 'nothing changed'}")


def check_dvc(layout: Layout) -> Iterator[Check]:
    """DVC's folder, its remotes, and what a kill left in it."""
    preflight.check_dvc(layout)
    folder = layout.root / ".dvc"
    remotes: list[str] = []
    for name in ("config", "config.local"):
        if (folder / name).is_file():
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            remotes += re.findall(r"""^\s*\['?remote\s+"([^"]+)"'?\]""", text, re.MULTILINE)
    in_use = folder / "tmp" / "rwlock"
    try:
        json.loads(in_use.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except ValueError:
        yield Check("dvc", WARNING, f"{in_use} was left half written by a kill", "`make run` repairs it; or remove the file")
        return
    shared = f"remote {listed(list(dict.fromkeys(remotes)), 3)}" if remotes else "no remote: files are on this machine alone"
    yield Check("dvc", OK, shared)
