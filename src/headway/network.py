"""A quick check that a server is reachable before work that needs it begins."""

from __future__ import annotations

import requests

from headway.errors import Unreachable

TIMEOUT_SECONDS = 10


def check_reachable(url: str, server: str, remedy: str, auth: tuple[str, str] | None = None) -> int:
    """Send a GET request and return its status; any HTTP response counts.

    A user and a password in the URL, or else in ``auth``, are sent as Basic authorisation. The message names the server and the
    remedy.

    Raises:
        Unreachable: no response within ``TIMEOUT_SECONDS``.
    """
    try:
        return requests.get(url, timeout=TIMEOUT_SECONDS, auth=auth).status_code
    except (requests.RequestException, ValueError) as error:
        cause: BaseException = error
        while cause.__context__:  # the first error, such as "connection refused", is the shortest and has no URL
            cause = cause.__context__
        raise Unreachable(f"{server} does not answer ({cause}); {remedy}") from None
