"""The Prefect server that a flow reports to: the one in Prefect's settings, the project's own, or one for the flow alone."""

from __future__ import annotations

import importlib.util
import os
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prefect.context import refresh_global_settings_context
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import get_current_settings

from flows import local_server
from headway.errors import HeadwayError, redact_credentials
from headway.network import check_reachable

SECONDS_TO_SEND = 5.0


@contextmanager
def connected() -> Iterator[None]:
    """Report to a server within the block. If none is named and none is running, one is started, which ends with the block.

    Raises:
        HeadwayError: the named server does not answer or refuses the password, or the new one does not start.
    """
    check()
    if named():
        yield
        return
    home = get_current_settings().home
    found = local_server.running(home)
    if found:
        with _settings(found.settings):
            check()
            yield
        return
    with local_server.embedded(home) as address, _settings(address.settings):
        try:
            yield
        finally:
            _send_what_is_queued()


@contextmanager
def connected_for_a_schedule(port: int | None) -> Iterator[local_server.Address | None]:
    """As :func:`connected`, but with a server that runs schedules and serves pages. Yields its address if it was started here.

    Args:
        port: of a new server; by default 4200, or a free port if that is taken.
    """
    if is_there():
        if port is not None:
            raise HeadwayError("--port: a Prefect server is already running or named by PREFECT_API_URL; remove the option")
        with connected():
            yield None
        return
    check()
    with local_server.standing(get_current_settings().home, port) as (address, _), _settings(address.settings):
        yield address


def named() -> str:
    """The URL of the server that Prefect's settings name: in the environment, a profile or prefect.toml; "" if none."""
    return (get_current_settings().api.url or "").rstrip("/")


def is_there() -> bool:
    """Whether the settings name a server, or the project's own is running: one that outlives this command."""
    return bool(named() or local_server.running(get_current_settings().home))


def check() -> None:
    """Return if the server that the settings name answers and accepts the password, or if none is named.

    Raises:
        HeadwayError: it does not answer, it refuses the password, or Prefect's client cannot use the proxy of this shell.
    """
    socks = [value for name, value in urllib.request.getproxies().items() if name != "no" and value.startswith("socks")]
    if socks and not importlib.util.find_spec("socksio"):
        raise HeadwayError(
            f"the proxy {redact_credentials(socks[0])} needs a package that Prefect's client does not have; "
            "run `pip install socksio`, or unset ALL_PROXY"
        )
    url = named()
    if not url:
        return
    api = get_current_settings().api
    server = f"the Prefect server at {redact_credentials(url)}"
    check_reachable(f"{url}/health", server, "start it, or unset PREFECT_API_URL to run without one")
    if api.key is not None:  # Prefect Cloud
        return
    auth = api.auth_string.get_secret_value() if api.auth_string else ""
    user, _, password = auth.partition(":")
    status = check_reachable(f"{url}/admin/version", server, "start it", (user, password) if auth else None)
    if status == 401:
        problem = "refuses the password in PREFECT_API_AUTH_STRING" if auth else "asks for a password"
        raise HeadwayError(
            f"{server} {problem}; for a server that `headway server` started here, run "
            f"`source {get_current_settings().home / local_server.CREDENTIALS}`"
        )


def _send_what_is_queued() -> None:
    """Wait until the threads in which Prefect sends events and log lines have sent theirs, while the server still runs."""
    for queue in (EventsWorker, APILogWorker):
        queue.drain_all(timeout=SECONDS_TO_SEND, at_exit=False)


@contextmanager
def _settings(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for Prefect in this process, its threads and its children."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    refresh_global_settings_context()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        refresh_global_settings_context()
