"""Functions run in a separate process, where they can be killed. The process is not forked from this one and its threads."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

#: Forks from a server process without threads. ``CONTEXT.set_forkserver_preload([__name__])`` loads a module there in advance.
CONTEXT = multiprocessing.get_context("forkserver")
SECONDS = 120.0


def is_killed(target: Callable[..., Any], *args: Any) -> bool:
    """Run a function of a module in a separate process. Returns whether the process was killed by SIGKILL."""
    process = CONTEXT.Process(target=target, args=args)
    process.start()
    process.join(SECONDS)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def dying(function: Callable[..., Any], call: int, last: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Wrap a function so that its ``call``-th call kills the process, after calling ``last`` instead of the function."""
    left = call

    @wraps(function)
    def dies(*args: Any, **more: Any) -> Any:
        nonlocal left
        left -= 1
        if left:
            return function(*args, **more)
        if last:
            last(*args, **more)
        return os.kill(os.getpid(), signal.SIGKILL)

    return dies
