"""Queries to the git repository of a project."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from headway.errors import HeadwayError, first_line


class GitError(HeadwayError):
    """Git is not installed, or a command failed; the message is the first line of what git reported."""


class GitMissing(GitError):
    """Git is not installed."""


class DubiousOwnership(HeadwayError):
    """Git refuses to read a repository that belongs to another user. No GitError: it must not be taken for "no repository"."""


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints when it is run in a folder, without the spaces around it.

    Raises:
        GitError: git is not installed, or the command failed.
        DubiousOwnership: the repository belongs to another user.
    """
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"}
        )
    except FileNotFoundError:
        raise GitMissing("git is not installed") from None
    if done.returncode:
        if remedy := re.search(r"git config --global --add safe\.directory .+", done.stderr):
            raise DubiousOwnership(
                f"{folder}: git does not read a repository that belongs to another user; run `{remedy[0]}`"
            )
        raise GitError(first_line(done.stderr.strip() or "git reported no reason"))
    return done.stdout.strip()


def commit_hash(folder: Path, revision: str) -> str:
    """The hash of the commit that a revision names: a hash, a branch, a tag, ``HEAD~1``.

    Raises:
        GitError: there is no such commit, or no repository.
    """
    # First, because outside a repository git's own message says what is wrong.
    git(folder, "rev-parse", "--git-dir")
    try:
        return git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except GitError:
        raise GitError("no such commit, branch or tag") from None
