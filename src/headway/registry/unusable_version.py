"""The error for a registered version whose files cannot be used; MLflow is not needed to raise it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headway.errors import HeadwayError, Unreachable, first_line
from headway.serving.package import OtherAnswers, OtherFormat


class UnusableVersion(HeadwayError):
    """A version's files are lost or damaged, belong to another model than the registered one, or give other answers."""


class NeedsPackage(HeadwayError):
    """A version's files may be intact, but a package that is needed for them is not installed. The message says which one."""


@contextmanager
def loading(what: str, folder: Path, *damage: type[Exception]) -> Iterator[None]:
    """Turn errors while the files of a version are fetched and loaded into one that says what to do.

    Args:
        what: the version, such as ``version 3 of headway``.
        folder: temporary folder with the files, which the message leaves out.
        damage: further exceptions that mean the files are damaged.

    Raises:
        UnusableVersion: the block raised a HeadwayError or one of ``damage``.
        Unreachable: the block raised it, which does not mean that the files are lost.
    """
    kinds: tuple[type[Exception], ...] = (HeadwayError, *damage)
    try:
        yield
    except Unreachable:
        raise
    except OtherAnswers as error:
        raise UnusableVersion(f"{what}: {error}") from None
    except kinds as error:
        reason = first_line(error).replace(f"{folder}/", "")
        if isinstance(error, NeedsPackage) or isinstance(error.__context__, ImportError):
            raise UnusableVersion(f"{what} cannot be loaded: {reason}") from None
        advice = "use the Headway that made it" if isinstance(error, OtherFormat) else "restore its files"
        raise UnusableVersion(f"{what} cannot be loaded ({reason}); {advice}") from None
