"""Progress of long work in one line: redrawn on a terminal, and repeated now and then in a log. It goes to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from headway.foreign_text import one_line

#: Seconds between two updates, on a terminal and elsewhere.
ON_TERMINAL, IN_LOG = 0.1, 10.0


class ProgressLine:
    """A line that says how far some work is. Use it as a context, so that the line on a terminal ends with the work.

    Names in it may come from others: control characters are shown as escapes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stream = sys.stderr
        self._on_terminal = self._stream.isatty()
        self._shown = clock()
        self._is_open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()

    def update(self, describe: Callable[[], str]) -> None:
        """Show where the work is, unless that was shown a moment ago; ``describe`` is called only if it is shown."""
        now = self._clock()
        if now - self._shown < (ON_TERMINAL if self._on_terminal else IN_LOG):
            return
        self._shown = now
        if self._on_terminal:
            self._write(f"\r\x1b[K{one_line(describe())}")
            self._is_open = True
        else:
            self._write(one_line(describe()) + "\n")

    def note(self, line: str) -> None:
        """Print a line that stays, such as the beginning of the next step."""
        self._end()
        self._write(one_line(line) + "\n")
        self._shown = self._clock()

    def _end(self) -> None:
        if self._is_open:
            self._write("\r\x1b[K")
            self._is_open = False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
