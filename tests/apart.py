"""Functions run in a process of their own, which may be killed there: none of this process's threads goes along."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from functools import wraps
from typing import Any

#: Forks from a server that has started no thread. A module has it load what is heavy with
#: ``CONTEXT.set_forkserver_preload([__name__])`` before the first process.
CONTEXT = multiprocessing.get_context("forkserver")
SECONDS = 120.0


def is_killed(target: Callable[..., Any], *args: Any) -> bool:
    """Run a module's function to its end; whether it was killed with kill -9 before that."""
    process = CONTEXT.Process(target=target, args=args)
    process.start()
    process.join(SECONDS)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def dying(function: Callable[..., Any], call: int, last: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """The function, but for one call of it: there the process is killed, after ``last`` has been called in its stead."""
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
