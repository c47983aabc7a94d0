"""Secrets and hostile strings are planted wherever they can be given. No secret is in any output, file or database after a run,
and no command prints a control character, or a line that the strings forge."""

from __future__ import annotations

import base64
import csv
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pyarrow.parquet as pq
import pytest

from headway.foreign_text import one_line
from tests.conftest import Slice
from tests.e2e.conftest import Clone, end, free_port, git, new_clone, wait_for
from tests.postgres import PASSWORD, USER, Server, postgres

# Its twenty commands take two minutes on a free machine and nine on a busy one.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

#: Of the sentences, which are sorted by label, one in so many.
EVERY = 8
MARKUP, FORMULA, FORGED = "<img src=x onerror=alert(1)>", "=HYPERLINK(1)", "3 decisions, none altered"
COLUMN = "te\x1b[2Jxt"
#: Sets a terminal's title, clears its screen, reverses text and begins a line of its own.
HOSTILE = f"\x1b]0;title\x07\x1b[2J\u202e{MARKUP} | $a_b$\n{FORGED}"
#: One for each place. The hostile characters are those that a URL gives a meaning.
NETRC, GIT, AWS, PARAM, TRACKING = (
    f"planted-{place}-7f3a" for place in ("netrc", "git", "aws", "param/p@rt#1", "tracking/p@rt#1")
)
SECRETS = {
    "netrc": NETRC,
    "git remote": GIT,
    "AWS": AWS,
    "params": PARAM,
    "tracking server": TRACKING,
    "database": PASSWORD,
}


def forms(secret: str) -> list[bytes]:
    """How a secret may be written: as it is, with escapes, and in an Authorization header."""
    header = base64.b64encode(f"{USER}:{secret}".encode()).rstrip(b"=")
    written = {secret, quote(secret), quote(secret, safe=""), secret.replace(" ", "+"), secret.split("/")[0].split(" @")[0]}
    return [header, *(form.encode() for form in written)]


def secrets_in(content: bytes) -> list[str]:
    """The places whose secrets are in a file or output."""
    return [place for place, secret in SECRETS.items() if any(form in content for form in forms(secret))]


def files_with_secrets(folder: Path) -> dict[str, list[str]]:
    """The files that hold a secret, without the tests' own code."""
    files = [file for file in folder.rglob("*") if file.is_file() and "tests" not in file.relative_to(folder).parts]
    assert files
    found = {file.relative_to(folder).as_posix(): secrets_in(file.read_bytes()) for file in files}
    return {name: places for name, places in found.items() if places}


class PrivateFiles(SimpleHTTPRequestHandler):
    """Serves a folder to a user with a password."""

    def send_head(self):
        wanted = "Basic " + base64.b64encode(f"{USER}:{NETRC}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=data")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the screen."""


@pytest.fixture(scope="module")
def data(ingested: Slice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a CSV file on a server with a password. Its labels, some texts, a column's name and its values are hostile."""
    rows = pq.read_table(ingested.layout.raw / "rows.parquet", columns=["text", "label"]).to_pylist()[::EVERY]
    labels = {label: f"{label} {HOSTILE}" for label in {row["label"] for row in rows}}
    folder = tmp_path_factory.mktemp("served")
    with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([COLUMN, "label", "shop"])
        for number, row in enumerate(rows):
            writer.writerow(
                [f"{row['text']} {HOSTILE if number % 50 == 0 else ''}", labels[row["label"]], HOSTILE[number % 2 :]]
            )
        writer.writerows([[FORMULA, "", "x"], [f"{FORMULA} {HOSTILE}", "", "x"]])
    handler = partial(PrivateFiles, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/reviews.csv"
        server.shutdown()


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    """A PostgreSQL server with a database for MLflow and one for the study."""
    with postgres() as server:
        with cursor(server, "postgres") as opened:
            opened.execute("CREATE DATABASE study")
        yield server


@contextmanager
def cursor(server: Server, name: str) -> Iterator[Any]:
    """A cursor on a database, whose statements take effect at once."""
    connected = psycopg2.connect(host="127.0.0.1", port=server.port, user=USER, password=PASSWORD, dbname=name)
    connected.autocommit = True
    try:
        with connected.cursor() as opened:
            yield opened
    finally:
        connected.close()


def rows_of(server: Server, name: str) -> bytes:
    """Every row of every table of a database."""
    with cursor(server, name) as found:
        found.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = [table for (table,) in found.fetchall()]
        assert tables
        rows = []
        for table in tables:
            found.execute(f'SELECT t::text FROM "{table}" t')
            rows += found.fetchall()
    return repr(rows).encode()


def plant(clone: Clone, data: str, database: Server, folder: Path) -> None:
    """Give the project its secrets, each where it belongs."""
    host = data.split("/")[2].partition(":")[0]
    netrc = folder / "netrc"
    netrc.write_text(f"machine {host} login {USER} password {NETRC}\n")
    netrc.chmod(0o600)
    clone.environment = {
        "NETRC": str(netrc),
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": AWS,
        "PGPASSWORD": PASSWORD,
        "MLFLOW_TRACKING_URI": f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{database.port}/postgres",
    }
    git(clone.root, "remote", "add", "origin", f"https://{USER}:{GIT}@git.example.org/team/project.git")
    clone.edit(
        ("  source: package", "  source: file   "),
        ("  path: data/input", f"  path: {data}"),
        ('  storage: ""', f"  storage: {database.url.replace('/postgres', '/study')}"),
        ("  trials: 2", "  trials: 1"),
        ("  text_column: text ", f"  text_column: {json.dumps(COLUMN)} "),
        ("  slice_columns: []", "  slice_columns: [shop]"),
        ('  intended_use: ""', f"  intended_use: {json.dumps(HOSTILE)}"),
    )


@dataclass(frozen=True)
class Ran:
    """A project whose flow has run with secrets and hostile strings, its database, and what each command printed."""

    clone: Clone
    database: Server
    outputs: dict[str, bytes]


@pytest.fixture(scope="module")
def ran(repository: Path, prefect_home: Path, data: str, database: Server, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("planted")
    clone = new_clone(repository, folder / "clone", prefect_home)
    plant(clone, data, database, folder)
    outputs: dict[str, bytes] = {}

    def command(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = clone.run(*words)
        outputs[" ".join(words)] = (done.stdout + done.stderr).encode()
        assert done.returncode == status, (words, (done.stdout + done.stderr)[-3000:])
        return done

    accepted = clone.layout.params.read_text()
    clone.layout.params.write_text(accepted.replace(data, f"http://{USER}:{PARAM}@{data.removeprefix('http://')}"))
    for words in (["run"], ["ingest"]):
        assert "~/.netrc" in command("headway", *words, status=2).stderr
    clone.layout.params.write_text(accepted)
    assert "version 1" in command("headway", "run").stdout
    command("headway", "predict", "--text", HOSTILE, "--text", "plain")
    command("headway", "explain", HOSTILE)
    for words in (["lineage", "1"], ["ui"], ["study"], ["params"], ["card", "1"]):
        command("headway", *words)
    command("headway", "promote", HOSTILE, status=2)
    command("headway", "card", HOSTILE, status=2)
    command("headway", "--debug", "card", "9", status=1)
    command("headway", "data", "diff", HOSTILE, status=2)
    command("headway", "retire", "--reason", HOSTILE)
    command("headway", "history")
    command("headway", "history", "--verify")
    return Ran(clone, database, outputs)


def test_no_secret_is_in_any_output_file_or_database_after_a_run(ran: Ran) -> None:
    found = {name: places for name, output in ran.outputs.items() if (places := secrets_in(output))}
    found |= files_with_secrets(ran.clone.root)
    for name in ("postgres", "study"):
        if places := secrets_in(rows_of(ran.database, name)):
            found[f"database {name}"] = places
    own_config = ".git/config"  # where git itself keeps the address of a remote
    assert found == {own_config: ["git remote"]}


def test_no_command_prints_a_control_character_or_a_forged_line(ran: Ran) -> None:
    shown = 0
    for name, output in ran.outputs.items():
        text = output.decode()
        hidden = {character for character in text if character != one_line(character)} - {"\n", "\t"}
        assert not hidden, (name, hidden)
        assert not [line for line in text.splitlines() if line.strip(" │").startswith(FORGED)], name
        shown += one_line(HOSTILE) in text
    assert shown >= 5, "the strings themselves are shown"


def test_files_for_people_hold_no_formula_and_no_markup_of_others(ran: Ran) -> None:
    with (ran.clone.layout.prepared / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row for row in rows if FORMULA.removeprefix("=") in row["text"]]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t"))]
    for page in (*ran.clone.layout.reports.glob("*.html"), *ran.clone.layout.scratch.glob("*.html")):
        text = page.read_text(encoding="utf-8")
        assert MARKUP not in text, page
        assert "\x1b" not in text, page
    assert MARKUP not in ran.outputs["headway card 1"].decode()


NESTED_RUN = """
from headway import environment
environment.configure()
from headway.layout import Layout
from headway.params import load
from headway.tracking import Tracker
layout = Layout.find()
with Tracker(load(layout.params), layout).nested("training", "train", "key") as run:
    run.log_metrics({"loss": 1.0})
"""


def test_the_password_of_a_tracking_server_is_in_no_output_tag_or_error(clone: Clone, tmp_path: Path) -> None:
    port = free_port()
    store = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/mlflow.db",
        "--artifacts-destination",
        str(tmp_path / "artifacts"),
    ]
    command = ["mlflow", "server", *store, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    server = clone.start(*command, log=tmp_path / "server.log", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    address = f"http://{USER}:{quote(TRACKING, safe='')}@127.0.0.1:{port}"
    try:
        wait_for(lambda: "startup complete" in (tmp_path / "server.log").read_text(), 120, "MLflow's server")
        ran = clone.run(sys.executable, "-c", NESTED_RUN, MLFLOW_TRACKING_URI=address)
        assert ran.returncode == 0, ran.stderr
    finally:
        end(server)
    unreachable = clone.run("headway", "history", MLFLOW_TRACKING_URI=address)
    assert unreachable.returncode == 2
    assert f"http://127.0.0.1:{port}" in unreachable.stderr
    schedule = clone.run("headway", "schedule", "--cron", "0 3 * * *", PREFECT_API_URL=f"{address}/api")
    assert schedule.returncode == 2
    for done in (ran, unreachable, schedule):
        assert secrets_in((done.stdout + done.stderr).encode()) == []
    assert files_with_secrets(tmp_path) == {}
