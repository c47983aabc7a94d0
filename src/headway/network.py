"""Whether a server answers at all, told in seconds and one line."""

from __future__ import annotations

import base64
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request

from headway.errors import Unreachable

SECONDS = 10


def without_password(text: str) -> str:
    """A server's URI, or a message that names one, as it may be shown: without user and password."""
    return re.sub(r"://[^/\s]*@", "://", text)


def first_line(error: Exception) -> str:
    """What an error says, fit for one line."""
    said = without_password(str(error).strip()) or type(error).__name__
    return said.splitlines()[0][:200]


def require_answer(url: str, server: str, remedy: str) -> None:
    """Return when anything answers at a URL, whatever its status.

    Args:
        url: asked with GET; the user and password that it may hold are sent as Basic authorisation.
        server: how a person calls it.
        remedy: what a person can do when it does not answer.

    Raises:
        Unreachable: nothing answers within some seconds.
    """
    try:
        with urllib.request.urlopen(_request(url), timeout=SECONDS):
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise Unreachable(f"{server} does not answer ({reason}); {remedy}") from None


def _request(url: str) -> urllib.request.Request:
    """urllib takes what stands before an @ for part of the host's name, so it goes into a header."""
    parts = urllib.parse.urlsplit(url)
    user, _, address = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=address).geturl())
    if user:
        token = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request
