"""Prefect servers on this machine: one for a flow alone, or a standing one for schedules, workers and the browser.

Both ask for a password, answer no foreign page or host, and end with the process that started them.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from filelock import FileLock, Timeout

from headway.environment import LOOPBACK, PROXIES
from headway.errors import HeadwayError
from headway.process import die_with_parent

HOST, PORT = "127.0.0.1", 4200
USER = "headway"
SECONDS_TO_START, SECONDS_TO_END = 120.0, 10.0
#: In Prefect's home: the address and the password of the standing server and the home itself, for `source`.
CREDENTIALS, LOCK, LOG = "server.env", "server.lock", "server.log"
#: Settings of every server. Leases are kept in files: in memory, a crash of the server leaves a concurrency slot taken for good.
SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


@dataclass(frozen=True)
class Address:
    """Where a server is, and what it asks for.

    Attributes:
        url: of its API.
        auth: user and password, as ``user:password``.
        pages: whether it serves Prefect's web pages.
    """

    url: str
    auth: str = field(repr=False)
    pages: bool = True

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables with which Prefect's client reports to this server."""
        pages = {} if self.pages else {"PREFECT_UI_URL": ""}  # so that no line names a page of a run
        return {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": self.auth, **pages}

    @property
    def page(self) -> str:
        return self.url.removesuffix("/api")


@contextmanager
def embedded(home: Path) -> Iterator[Address]:
    """A server on a free port for the duration of the block, without pages and without a schedule."""
    listening = _listen(0)
    address = Address(_url(listening), _new_auth(), pages=False)
    with _running(home, listening, address, {"PREFECT_SERVER_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1"}):
        yield address


@contextmanager
def standing(home: Path, port: int | None = None) -> Iterator[tuple[Address, subprocess.Popen[bytes]]]:
    """The project's server for schedules, workers and the browser; its address is in ``CREDENTIALS`` for others to read.

    Args:
        port: by default ``PORT``, or a free one if that is taken.

    Raises:
        HeadwayError: the port is taken, or such a server is running already.
    """
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        known = _read(home)
        raise HeadwayError(
            f"this project's Prefect server is running already{f' at {known.page}' if known else ''}"
        ) from None
    try:
        listening = _listen(PORT if port is None else port, or_any=port is None)
        known = _read(home)
        address = Address(_url(listening), known.auth if known else _new_auth())
        _write(home, address)
        with _running(home, listening, address, {"PREFECT_SERVER_UI_API_URL": address.url}) as process:
            yield address, process
    finally:
        lock.release()


def running(home: Path) -> Address | None:
    """The address of the standing server, None if it is not running."""
    if not (home / LOCK).is_file():
        return None
    lock = FileLock(home / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _read(home)
    lock.release()
    return None


@contextmanager
def _running(
    home: Path, listening: socket.socket, address: Address, settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the server, wait until it answers, and end it after the block."""
    home.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parent.parent
    port = listening.getsockname()[1]
    environment = {
        **os.environ,
        **SETTINGS,
        **settings,
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_AUTH_STRING": address.auth,
        # The pages' own origins: a browser lets no other page read answers.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port},http://localhost:{port}",
        "PREFECT__SERVER_FINAL": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")])),
    }
    socket_number = str(listening.fileno())
    command = [sys.executable, "-m", "flows.server_process", "--socket", socket_number, "--parent", str(os.getpid())]
    with listening, (home / LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listening.fileno()],
            start_new_session=True,  # Ctrl+C reaches the flow alone, which then still reports how it ended
            preexec_fn=die_with_parent,
        )
    try:
        _wait_until_it_answers(process, address, home / LOG)
        yield process
    finally:
        _end(process)


def _wait_until_it_answers(process: subprocess.Popen[bytes], address: Address, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    with requests.Session() as session:
        while time.monotonic() < deadline:
            try:
                session.get(f"{address.url}/health", timeout=1).raise_for_status()
            except requests.RequestException:
                if process.poll() is not None:
                    raise HeadwayError(f"the Prefect server ended with status {process.returncode}; see {log}") from None
                time.sleep(0.1)
            else:
                return
    raise HeadwayError(f"the Prefect server does not answer after {SECONDS_TO_START:g} s; see {log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listen(port: int, or_any: bool = False) -> socket.socket:
    """A listening socket, which the server inherits, so that no other program can take its port in between."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        if or_any:
            return _listen(0)
        raise HeadwayError(f"--port {port}: cannot be used ({error}); choose another one") from None
    listening.listen(128)
    return listening


def _url(listening: socket.socket) -> str:
    return f"http://{HOST}:{listening.getsockname()[1]}/api"


def _new_auth() -> str:
    return f"{USER}:{secrets.token_urlsafe(24)}"


def _read(home: Path) -> Address | None:
    """The address in ``CREDENTIALS``, None if there is none."""
    try:
        text = (home / CREDENTIALS).read_text()
    except OSError:
        return None
    found = dict(re.findall(r"^export (\w+)=(\S+)$", text, re.MULTILINE))
    if not {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING"} <= found.keys():
        return None
    return Address(found["PREFECT_API_URL"], found["PREFECT_API_AUTH_STRING"])


def _write(home: Path, address: Address) -> None:
    settings = {**address.settings, "PREFECT_HOME": str(home.absolute())}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
    aside = home / f"{CREDENTIALS}.{os.getpid()}"
    aside.unlink(missing_ok=True)
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("# Address and password of this project's Prefect server, for: source server.env\n" + "".join(lines))
        file.write(_no_proxy_for_loopback())
    aside.replace(home / CREDENTIALS)


def _no_proxy_for_loopback() -> str:
    """Shell lines that do for Prefect's commands what :func:`headway.environment.keep_loopback_off_proxies` does for ours."""
    proxies = "".join(f"${{{name}-}}${{{name.upper()}-}}" for name in PROXIES)
    exempt = ",".join(LOOPBACK)
    return f"""\
# With a proxy, reach this machine directly.
if [ -n "{proxies}" ]; then
  case ",${{no_proxy-}},${{NO_PROXY-}}," in
    *,\\*,*) export no_proxy='*' NO_PROXY='*' ;;
    *,{exempt},*) ;;
    *)
      export no_proxy="${{no_proxy:+$no_proxy,}}${{NO_PROXY:+$NO_PROXY,}}{exempt}"
      export NO_PROXY="$no_proxy"
      ;;
  esac
fi
"""
