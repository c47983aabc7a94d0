"""What work with a server needs: a quick check before it begins that the server is reachable, and retries of what fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import requests
import tenacity

from headway.errors import Unreachable, first_line

Result = TypeVar("Result")

TIMEOUT_SECONDS = 10
ATTEMPTS = 5
WAIT = tenacity.wait_random_exponential(multiplier=0.5, max=10)  # seconds


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


def retried(
    action: Callable[[], Result],
    is_transient: Callable[[BaseException], bool],
    what: str,
    note: Callable[[str], None],
    reason: Callable[[BaseException], str] = first_line,
    attempts: int | None = None,
) -> Result:
    """An action's result, after several attempts with growing pauses while its errors are transient; the last error is raised.

    Args:
        what: what the action works on, for the line that ``note`` is given before each further attempt.
        reason: an error in a few words.
        attempts: at most; by default ``ATTEMPTS``.
    """
    most = ATTEMPTS if attempts is None else attempts

    def announce(state: tenacity.RetryCallState) -> None:
        if state.outcome and state.next_action and (error := state.outcome.exception()):
            again = f"attempt {state.attempt_number + 1} of {most} in {state.next_action.sleep:.0f} s"
            note(f"{what}: {reason(error)}; {again}")

    retrying = tenacity.Retrying(
        # An interrupt is no error of the action's: tenacity would retry it too.
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, Exception) and is_transient(error)),
        wait=WAIT,
        stop=tenacity.stop_after_attempt(most),
        before_sleep=announce,
        reraise=True,
    )
    return retrying(action)
