"""Errors that a person can act on, and how the errors of other libraries are quoted in them."""

from __future__ import annotations

from pathlib import Path

from headway.credentials import redact_credentials
from headway.foreign_text import one_line

__all__ = ["HeadwayError", "StageOutputError", "Unreachable", "first_line", "redact_credentials"]

#: Said where a pretrained encoder is wanted and the library is not there.
NO_TRANSFORMERS = (
    "a pretrained encoder needs the library transformers, which is not installed; install it with "
    "`pip install -e '.[pretrained]'`"
)
#: The same of low-rank adapters.
NO_PEFT = (
    "pretrained.mode: lora needs the library peft, which is not installed; install it with `pip install -e '.[pretrained]'`"
)


class HeadwayError(Exception):
    """One line that says what is wrong, where, what was expected and what to do.

    The command line prints the message and exits with status 2; it shows a traceback only with ``--debug``. Whatever the
    message quotes, it has no credentials and no control characters, because it also goes to logs, databases and pages.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(redact_credentials(message)))


class Unreachable(HeadwayError):
    """An outside service does not answer, or answers incorrectly; the work itself is not at fault.

    The interrupted work has neither failed nor been refused: it can continue once the service answers again.
    """


class StageOutputError(HeadwayError):
    """An output of a stage is missing or damaged.

    Attributes:
        damage: why it cannot be read; "" if there is no such file.
    """

    def __init__(self, path: Path, stage: str, damage: str = "") -> None:
        if damage:
            super().__init__(f"{path}: damaged ({damage}); write it again with `dvc repro --force {stage}`")
        else:
            super().__init__(f"{path}: missing; write it with `dvc repro {stage}`")
        self.path, self.stage, self.damage = path, stage, damage


def first_line(error: BaseException | str) -> str:
    """The first line of an error's message without credentials, at most 300 characters; its type if the message is empty."""
    message = redact_credentials(str(error).strip()) or type(error).__name__
    return one_line(message.splitlines()[0][:300])
