"""Whether a server answers at all, told in seconds and one line."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

from headway.errors import Unreachable

SECONDS = 10


def require_answer(url: str, server: str, remedy: str) -> None:
    """Return when anything answers at a URL, whatever its status.

    Args:
        url: asked with GET.
        server: how a person calls it.
        remedy: what a person can do when it does not answer.

    Raises:
        Unreachable: nothing answers within some seconds.
    """
    try:
        with urllib.request.urlopen(url, timeout=SECONDS):
            return
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise Unreachable(f"{server} does not answer ({reason}); {remedy}") from None
