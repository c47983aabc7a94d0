"""Standard output and error as every command has them: no credentials, no control characters, no encoding or pipe errors.

This is the last line of defence, also for what libraries print. It cannot know which line breaks are foreign, so a command
passes foreign text through :func:`say` or :func:`headway.foreign_text.one_line`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from headway.credentials import redact_credentials
from headway.foreign_text import lines, one_line

#: Colours and cursor movements, which libraries such as rich write to a terminal only.
_COLOURS_AND_MOVEMENTS = re.compile(r"(\x1b\[[0-9;?]*[A-Za-z]|\r)")
#: Colours alone, which they also write elsewhere if one of the variables is set.
_COLOURS = re.compile(r"(\x1b\[[0-9;]*m)")
_FORCE_COLOUR = ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS")


class GuardedStream:
    """A text stream that redacts credentials and writes control characters as visible escapes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._stream.write(self._harmless(redact_credentials(text)))
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.write(text)

    def _harmless(self, text: str) -> str:
        if self._stream.isatty():
            kept = _COLOURS_AND_MOVEMENTS
        elif any(map(os.environ.get, _FORCE_COLOUR)):
            kept = _COLOURS
        else:
            return lines(text)
        parts = kept.split(text)
        return "".join(part if index % 2 else lines(part) for index, part in enumerate(parts))


def say(line: str) -> None:
    """Print one line that may hold foreign text."""
    print(one_line(line))


def guard() -> None:
    """Guard standard output and error. Characters that their encoding lacks are written as escapes, such as ``\\u2713``."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, GuardedStream):
            continue
        if stream is None:  # closed by the caller
            stream = open(os.devnull, "w")  # noqa: SIM115 - it stays open as long as the process
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, GuardedStream(stream))


def flush() -> None:
    """Write out what is buffered. If the reader has gone, as in ``headway history | head -1``, drop it without an error."""
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
