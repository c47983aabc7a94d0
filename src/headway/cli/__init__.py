"""The command line: one module per group of commands. Heavy imports happen inside the commands, so that help is immediate."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from headway import __version__, environment
from headway.cli import (
    cleanup,
    data,
    doctor,
    encoders,
    flow,
    label,
    label_errors,
    model,
    monitor,
    notify,
    predict,
    registry,
    serve,
    stages,
    streams,
)
from headway.errors import HeadwayError
from headway.process import Terminated

app = typer.Typer(
    help="Train, prove and promote self-attention text classifiers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (
    flow,
    doctor,
    notify,
    cleanup,
    data,
    label_errors,
    predict,
    serve,
    label,
    monitor,
    model,
    encoders,
    registry,
    stages,
):
    app.add_typer(group.app)


#: Errors of the disk that any command can meet at any time, with what to do.
OF_THE_DISK = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "your quota on the disk is used up; free some space",
    errno.EROFS: "its disk cannot be written to; mount it for writing",
}


def _show_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    trace: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options that come before any command."""
    if trace:
        os.environ[environment.DEBUG] = "1"  # the stages' own processes inherit it


def main() -> None:
    """Entry point. A mistake of the caller is one line and exit status 2; an interruption is exit status 130, SIGTERM 143."""
    environment.configure()
    streams.guard()
    try:
        app()
    except HeadwayError as error:
        if environment.DEBUG in os.environ:
            raise
        print(f"headway: {error}", file=sys.stderr)
        sys.exit(2)
    except Terminated as ended:
        print(f"headway: ended by {ended}; run it again to continue", file=sys.stderr)
        sys.exit(128 + ended.number)
    except OSError as error:
        if environment.DEBUG in os.environ or error.errno not in OF_THE_DISK:
            raise
        where = error.filename or "a file of the project"
        print(f"headway: {where}: {OF_THE_DISK[error.errno]}, and run it again to continue", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("headway: interrupted; run it again to continue", file=sys.stderr)
        sys.exit(130)
    finally:
        streams.flush()
