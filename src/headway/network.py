"""A quick check that a server is reachable before work that needs it begins."""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.parse
import urllib.request

from headway.errors import Unreachable

TIMEOUT_SECONDS = 10


def check_reachable(url: str, server: str, remedy: str) -> None:
    """Send a GET request; any HTTP response counts, whatever its status.

    Args:
        url: may contain a user and password, which are sent as Basic authorisation.
        server: name of the server, for the message.
        remedy: what to do when it does not answer, for the message.

    Raises:
        Unreachable: no response within ``TIMEOUT_SECONDS``.
    """
    try:
        with urllib.request.urlopen(_request(url), timeout=TIMEOUT_SECONDS):
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise Unreachable(f"{server} does not answer ({reason}); {remedy}") from None


def _request(url: str) -> urllib.request.Request:
    """A request with the URL's credentials in a header: urllib would take them for part of the host's name."""
    parts = urllib.parse.urlsplit(url)
    user, _, address = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=address).geturl())
    if user:
        token = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request
