"""Real failures of MLflow's database and servers, and the one line that each of them becomes."""

from __future__ import annotations

import http.server
import multiprocessing
import os
import pwd
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from mlflow.store.db import utils

from headway.errors import HeadwayError, Unreachable
from headway.layout import Layout
from headway.mlflow_errors import URI_VARIABLE, explain
from headway.params import Params
from headway.tracking import Tracker
from tests.conftest import new_project
from tests.postgres import PASSWORD, Server, postgres

forked = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def _own_database(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URI_VARIABLE, "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def used(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A project with a database, to copy."""
    layout = new_project(tmp_path_factory.mktemp("used") / "project")
    Tracker(params, layout)
    return layout


@pytest.fixture
def copied(used: Layout, tmp_path: Path) -> Layout:
    return Layout(Path(shutil.copytree(used.root, tmp_path / "copied")))


def refusal(params: Params, layout: Layout) -> str:
    with pytest.raises(HeadwayError) as caught:
        Tracker(params, layout)
    message = str(caught.value)
    assert "\n" not in message
    return message


def own_refusal(params: Params, layout: Layout) -> str:
    """The message about the project's own database, which is no matter of MLFLOW_TRACKING_URI."""
    message = refusal(params, layout)
    assert URI_VARIABLE not in message
    return message


# The project's own database.


def test_an_older_database_needs_the_command_that_is_named(params: Params, copied: Layout) -> None:
    """MLflow upgrades a database by itself only if a table is missing."""
    script = ScriptDirectory.from_config(utils._get_alembic_config(copied.tracking_uri))
    head = script.get_revision("head")
    assert head is not None
    with sqlite3.connect(copied.tracking_database) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", [head.down_revision])
    message = own_refusal(params, copied)
    assert "older MLflow" in message
    assert message.split("`")[1].split() == ["mlflow", "db", "upgrade", copied.tracking_uri]


def test_a_newer_database_needs_a_newer_headway(params: Params, copied: Layout) -> None:
    with sqlite3.connect(copied.tracking_database) as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    message = own_refusal(params, copied)
    assert "newer MLflow" in message
    assert "upgrade" not in message


@pytest.mark.parametrize("damage", ["not a database", "overwritten", "cut"])
def test_a_damaged_database_is_named(params: Params, copied: Layout, damage: str) -> None:
    file = copied.tracking_database
    whole = file.read_bytes()
    content = {"not a database": b"lost " * 1000, "overwritten": whole[:4096] + b"\xff" * 40_000, "cut": whole[:8192]}[
        damage
    ]
    file.write_bytes(content)
    message = own_refusal(params, copied)
    assert "damaged" in message
    assert str(file) in message


def test_a_locked_database_is_named_after_some_seconds(params: Params, copied: Layout) -> None:
    with sqlite3.connect(copied.tracking_database, isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert "locked" in own_refusal(params, copied)


def as_nobody(answers: Any, call: Callable[..., str], *arguments: Any) -> None:
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
    try:
        answers.put(call(*arguments))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
        answers.put(repr(error))


@pytest.mark.parametrize("closed", ["mlruns/mlflow.db", "mlruns", "."])
def test_without_permission_the_folder_is_named_at_once(params: Params, used: Layout, closed: str) -> None:
    # Not pytest's temporary folder, which other users cannot enter.
    with tempfile.TemporaryDirectory(prefix="headway-") as folder:
        root = Path(shutil.copytree(used.root, Path(folder) / "project"))
        for path in (Path(folder), root, *root.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        if closed == ".":
            shutil.rmtree(root / "mlruns")
        (root / closed).chmod(0o555 if closed == "." else 0)
        answers = forked.Queue()
        process = forked.Process(target=as_nobody, args=(answers, own_refusal, params, Layout(root)))
        started = time.monotonic()
        process.start()
        message = answers.get(timeout=60)
        process.join(10)
        assert time.monotonic() - started < 30
        assert "no permission" in message or "Permission denied" in message
        assert str(root) in message
        for path in (root / closed, root):  # so that they can be removed
            path.chmod(0o777)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process can grow beyond a size, as when a quota is used up."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1][1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
        signal.signal(signal.SIGXFSZ, before[0])


def repeat_until_refused(call: Callable[[int], None]) -> str:
    """The message of the first of many calls that fails."""
    try:
        for number in range(1000):
            call(number)
    except Unreachable as error:
        return str(error)
    return pytest.fail("no call failed")


def test_a_limit_of_the_disk_is_reported_once(
    params: Params, copied: Layout, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Tracker(params, copied).pipeline_run()
    with file_size_limit(copied.tracking_database.stat().st_size):
        message = repeat_until_refused(lambda number: run.set_tags({f"tag {number}": "x" * 4000}))
    assert "the disk reports an error" in message
    assert str(copied.tracking) in message
    assert caplog.messages == []
    assert capfd.readouterr().err == ""


def test_a_full_disk_is_reported_once(
    params: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "small"
    root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", root], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        big = tmp_path / "big"
        big.write_bytes(b"x" * 300_000)
        run = Tracker(params, new_project(root / "project")).pipeline_run()
        messages = [
            repeat_until_refused(lambda number: run.log_artifacts([big], f"folder {number}")),
            repeat_until_refused(lambda number: run.set_tags({f"tag {number}": "x" * 4000})),
        ]
    finally:
        subprocess.run(["umount", "-l", root], check=True)
    for message in messages:
        assert "the disk is full" in message
        assert "\n" not in message
    assert caplog.messages == []
    assert capfd.readouterr().err == ""


# Servers.


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers every request with the status that the path begins with, and a page."""

    def do_GET(self) -> None:
        page = b"Invalid Host header - possible DNS rebinding" if "host" in self.path else b"<html>a page</html>"
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The URL of a web server that is no MLflow."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "user", "expected"),
    [
        ("200", "", ["no MLflow server", "correct MLFLOW_TRACKING_URI"]),
        ("401", "", ["asks for a user", "; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"]),
        ("401", "someone", ["asks for a user", "; check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"]),
        ("403", "someone", ["refuses access", "check MLFLOW_TRACKING_USERNAME"]),
        ("403/host", "", ["refuses the host name 127.0.0.1", "--allowed-hosts"]),
        ("404", "", ["no MLflow server", "correct MLFLOW_TRACKING_URI"]),
        ("500", "", ["error 500", "log"]),
        ("503", "", ["error 503", "log"]),
    ],
)
def test_a_server_that_refuses_or_is_no_mlflow_is_described(
    params: Params,
    project: Layout,
    elsewhere: str,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    user: str,
    expected: list[str],
) -> None:
    monkeypatch.setenv(URI_VARIABLE, f"{elsewhere}/{path}")
    if user:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "half secret")
    message = refusal(params, project)
    for part in expected:
        assert part in message
    assert "half secret" not in message


def test_a_server_that_lacks_a_call_is_older() -> None:
    error = RuntimeError("API request to endpoint /api/2.0/mlflow/logged-models/search failed with error code 404 != 200.")
    assert explain(error, "http://x").remedy == "upgrade the server"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://127.0.0.1:9", ["does not answer", "unset MLFLOW_TRACKING_URI"]),
        ("http://nosuch.invalid", ["does not answer", "unset MLFLOW_TRACKING_URI"]),
        ("postgresql://someone@127.0.0.1:9/mlflow", ["does not answer", "Connection refused", "unset MLFLOW_TRACKING_URI"]),
        ("mlruns", ["cannot use such an address", "postgresql://"]),
        ("databricks", ["cannot use such an address"]),
        ("nosuch://x", ["cannot use such an address"]),
        ("mysql://someone@127.0.0.1/mlflow", ["cannot use such an address"]),  # whose driver is not installed
    ],
)
def test_an_address_without_a_server_is_refused_at_once(
    params: Params, project: Layout, monkeypatch: pytest.MonkeyPatch, uri: str, expected: list[str]
) -> None:
    monkeypatch.setenv(URI_VARIABLE, uri)
    started = time.monotonic()
    message = refusal(params, project)
    assert time.monotonic() - started < 30
    for part in expected:
        assert part in message


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    with postgres() as server:
        yield server


@pytest.mark.parametrize(
    ("password", "name", "expected"),
    [("wrong", "postgres", "the database refuses"), (PASSWORD, "nosuch", "the server has no database nosuch")],
)
def test_a_postgres_that_refuses_is_described(
    params: Params,
    project: Layout,
    database: Server,
    monkeypatch: pytest.MonkeyPatch,
    password: str,
    name: str,
    expected: str,
) -> None:
    monkeypatch.setenv("PGPASSWORD", password)
    monkeypatch.setenv(URI_VARIABLE, database.url.removesuffix("postgres") + name)
    assert expected in refusal(params, project)
