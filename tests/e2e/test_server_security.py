"""What a page on the web can do to the servers on a person's machine: nothing. With plain requests, and from a real browser."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from prefect.context import refresh_global_settings_context
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from flows import local_server, server
from headway.errors import HeadwayError
from headway.layout import Layout
from tests.conftest import new_project
from tests.e2e.conftest import BIN, end, free_port, wait_for

pytestmark = pytest.mark.e2e
FLOW = json.dumps({"name": "planted"})


@dataclass(frozen=True)
class Target:
    """A Prefect server and its password."""

    page: str
    auth: tuple[str, str]

    @property
    def port(self) -> int:
        return int(self.page.rpartition(":")[2])

    def planted(self) -> list[str]:
        """The names of the flows that the server knows."""
        answer = requests.post(f"{self.page}/api/flows/filter", json={}, auth=self.auth, timeout=20)
        return [flow["name"] for flow in answer.json()]


@pytest.fixture(scope="module")
def embedded(prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_server.Address]:
    """The server of a flow alone."""
    with local_server.embedded(shutil.copytree(prefect_home, tmp_path_factory.mktemp("embedded") / "prefect")) as address:
        yield address


@pytest.fixture(scope="module")
def standing(prefect_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_server.Address]:
    """The server for schedules, workers and the browser."""
    home = shutil.copytree(prefect_home, tmp_path_factory.mktemp("standing") / "prefect")
    with local_server.standing(home, free_port()) as (address, _):
        yield address


@pytest.fixture(scope="module", params=["embedded", "standing"])
def target(request: pytest.FixtureRequest) -> Target:
    address = request.getfixturevalue(request.param)
    user, _, password = address.auth.partition(":")
    return Target(address.page, (user, password))


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},  # a fetch of a Blob without a type: sent without asking the server first
        {"Content-Type": "application/json", "Authorization": "Basic aGVhZHdheTpoZWFkd2F5"},
    ],
    ids=["json", "text", "untyped", "wrong password"],
)
def test_nothing_is_created_without_the_password(target: Target, headers: dict[str, str]) -> None:
    for path in ("flows/", "deployments/", "work_pools/"):
        answer = requests.post(f"{target.page}/api/{path}", data=FLOW, headers=headers, timeout=20)
        assert answer.status_code == 401, path
    assert target.planted() == []


def test_nothing_is_read_without_the_password(target: Target) -> None:
    for path in ("admin/settings", "admin/version", "openapi.json"):
        assert requests.get(f"{target.page}/api/{path}", timeout=20).status_code in (401, 404), path


@pytest.mark.parametrize("path", ["api/flows/", "api/health", "ui-settings", ""])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "0.0.0.0", ""])
def test_a_foreign_host_is_refused_even_with_the_password(target: Target, path: str, host: str) -> None:
    headers = {"Host": f"{host}:{target.port}"}
    assert requests.get(f"{target.page}/{path}", headers=headers, auth=target.auth, timeout=20).status_code == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null"])
def test_no_other_page_is_told_that_it_may_ask_or_read(target: Target, origin: str) -> None:
    preflight = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    asked = requests.options(f"{target.page}/api/flows/", headers=preflight, timeout=20)
    assert asked.status_code == 400
    read = requests.get(f"{target.page}/api/health", headers={"Origin": origin}, timeout=20)
    assert not {"access-control-allow-origin"} & {name.lower() for name in [*asked.headers, *read.headers]}


def test_the_servers_own_page_may(target: Target) -> None:
    for page in (target.page, target.page.replace("127.0.0.1", "localhost")):
        read = requests.get(f"{target.page}/api/health", headers={"Origin": page}, timeout=20)
        assert read.headers["Access-Control-Allow-Origin"] == page


@pytest.mark.parametrize("path", ["events/in", "events/out", "logs/out"])
@pytest.mark.parametrize("subprotocols", [None, ["prefect"]], ids=["plain", "prefect"])
def test_a_web_socket_asks_for_the_password_too(target: Target, path: str, subprotocols: list[str] | None) -> None:
    """The rules for pages of other origins do not hold for web sockets."""
    url = f"{target.page.replace('http', 'ws')}/api/{path}"

    def log_in() -> None:
        with connect(url, subprotocols=subprotocols, proxy=None) as web_socket:
            web_socket.send(json.dumps({"type": "auth", "token": "headway:guessed"}))
            web_socket.recv(timeout=20)

    with pytest.raises((ConnectionClosed, InvalidStatus)):
        log_in()


def test_only_loopback_is_served(target: Target) -> None:
    others = {entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for other in (address for address in others if not address.startswith("127.")):
        with socket.socket() as probe:
            probe.settimeout(5)
            assert probe.connect_ex((other, target.port)) != 0


def test_the_password_is_kept_in_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    """Under a permissive umask too; it stays the same, so that a browser and workers need not log in again."""
    before = os.umask(0)
    try:
        with local_server.standing(tmp_path / "prefect", free_port()) as (first, _):
            file = tmp_path / "prefect" / local_server.CREDENTIALS
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert first.auth in file.read_text()
            assert local_server.running(tmp_path / "prefect") == first
            assert first.auth not in repr(first)
    finally:
        os.umask(before)
    assert local_server.running(tmp_path / "prefect") is None


@pytest.mark.parametrize(
    ("auth", "problem"),
    [(None, "asks for a password"), ("headway:guessed", "refuses the password in PREFECT_API_AUTH_STRING")],
)
def test_a_shell_without_the_password_is_told_where_it_is(
    target: Target, monkeypatch: pytest.MonkeyPatch, auth: str | None, problem: str
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{target.page}/api")
    if auth:
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", auth)
    refresh_global_settings_context()
    try:
        with pytest.raises(HeadwayError, match=rf"{problem}; .*source .*server\.env") as error:
            server.check()
        assert "guessed" not in str(error.value)
    finally:
        monkeypatch.undo()
        refresh_global_settings_context()


def test_the_standing_server_has_pages_that_ask_for_the_password(
    standing: local_server.Address, browser: Callable[[str], str]
) -> None:
    settings = requests.get(f"{standing.page}/ui-settings", timeout=20).json()
    assert (settings["auth"], settings["api_url"]) == ("BASIC", standing.url)
    for host in ("127.0.0.1", "localhost"):
        shown = browser(f"{standing.page.replace('127.0.0.1', host)}/")
        assert "password" in shown.lower(), shown[-1000:]


# From a browser.

#: Tries what a page can do without permission and with it, and shows the outcomes as the page's text. Requests without
#: permission are sent even though their answers cannot be read.
PAGE = """<!doctype html><title>x</title><pre id=out></pre><script>
const targets = %(targets)s, body = JSON.stringify({name: "planted"}), results = [];
async function attempt(name, url, options) {
  try { results.push(name + " " + (await fetch(url, options)).status); } catch (error) { results.push(name + " refused"); }
}
(async () => {
  for (const url of targets) {
    await attempt("simple", url, {method: "POST", mode: "no-cors", body: body});
    await attempt("untyped", url, {method: "POST", mode: "no-cors", body: new Blob([body])});
    await attempt("json", url, {method: "POST", headers: {"Content-Type": "application/json"}, body: body});
    await attempt("rebound", url, {method: "POST", headers: {"Content-Type": "application/json"}, body: body});
  }
  document.getElementById("out").textContent = "done " + results.join(", ");
})();
</script>"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A function that opens a URL in headless Chromium, in which every name of a host is this machine, and returns the page."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not program:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += (
        " --disable-component-update --disable-sync --disable-dev-shm-usage --no-proxy-server --virtual-time-budget=20000"
    )
    profile = tmp_path_factory.mktemp("chromium")

    def show(url: str) -> str:
        command = [program, *flags.split(), f"--user-data-dir={profile}", "--host-resolver-rules=MAP *.example 127.0.0.1"]
        done = subprocess.run([*command, "--dump-dom", url], capture_output=True, text=True, timeout=120, check=False)
        assert "<body" in done.stdout, done.stderr[-2000:]
        return html.unescape(done.stdout)

    return show


@contextmanager
def website(page: str) -> Iterator[int]:
    """The port of a web server on this machine that answers every request with one page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def attack(browser: Callable[[str], str], urls: list[str]) -> str:
    """The outcomes of the attempts of a page of another origin."""
    with website(PAGE % {"targets": json.dumps(urls)}) as port:
        shown = browser(f"http://evil.example:{port}/")
    found = re.search(r"<pre[^>]*>done ([^<]*)</pre>", shown)
    assert found, f"the page's script did not end: {shown[-1000:]}"
    return found[1]


def test_a_page_in_a_browser_can_create_nothing(target: Target, browser: Callable[[str], str]) -> None:
    """By the server's address, and by a name of the page's own domain that resolves to this machine (DNS rebinding)."""
    outcomes = attack(browser, [f"http://{host}:{target.port}/api/flows/" for host in ("127.0.0.1", "prefect.example")])
    assert outcomes.count("json refused") == 2, outcomes
    assert target.planted() == []


def test_the_page_of_the_test_would_create_something_on_an_open_server(browser: Callable[[str], str]) -> None:
    """The attack itself works: a server that takes every request gets the page's."""
    received: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    attack(browser, [f"http://127.0.0.1:{server.server_port}/api/flows/"])
    server.shutdown()
    server.server_close()
    assert FLOW.replace(" ", "").encode() in received


# MLflow's pages.


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of `headway ui` in a new project."""
    layout: Layout = new_project(tmp_path_factory.mktemp("mlflow") / "project")
    port, log = free_port(), layout.root / "ui.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / "headway", "ui", "--port", str(port)],
            cwd=layout.root,
            env=clean,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"), 120, f"MLflow; the log is {log}")
        yield port
    finally:
        end(process, signal.SIGTERM)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def experiments(port: int) -> set[str]:
    answer = requests.get(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=100", timeout=20)
    return {experiment["name"] for experiment in answer.json()["experiments"]}


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1.evil.example", "null"])
def test_mlflow_takes_no_change_from_another_page(mlflow: int, origin: str) -> None:
    """Except from pages that programs on this machine serve, which MLflow always accepts."""
    url, before = f"http://127.0.0.1:{mlflow}/api/2.0/mlflow/experiments/create", experiments(mlflow)
    for kind in ("application/json", "text/plain", ""):
        answer = requests.post(url, data=FLOW, headers={"Origin": origin, "Content-Type": kind}, timeout=20)
        assert answer.status_code == 403, kind
    assert experiments(mlflow) == before


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example"])
def test_mlflow_answers_no_foreign_host(mlflow: int, host: str) -> None:
    url = f"http://127.0.0.1:{mlflow}/api/2.0/mlflow/experiments/search?max_results=1"
    assert requests.get(url, headers={"Host": f"{host}:{mlflow}"}, timeout=20).status_code == 403


def test_a_page_in_a_browser_can_change_nothing_in_mlflow(mlflow: int, browser: Callable[[str], str]) -> None:
    before = experiments(mlflow)
    path = "api/2.0/mlflow/experiments/create"
    attack(browser, [f"http://{host}:{mlflow}/{path}" for host in ("127.0.0.1", "mlflow.example")])
    assert experiments(mlflow) == before
