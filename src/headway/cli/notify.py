"""The command about notifications: where they go, and whether they arrive."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from headway.cli.streams import say

app = typer.Typer()


@app.command(rich_help_panel="Project")
def notify(
    test: Annotated[bool, typer.Option("--test", help="Send a test message to each address.")] = False,
) -> None:
    """List the addresses that notifications are sent to, without their secrets, and the events that each gets.

    The addresses are in the file that HEADWAY_NOTIFY_FILE names.
    """
    import socket

    from headway import notifications as sent
    from headway.errors import HeadwayError
    from headway.layout import Layout
    from headway.phrases import counted

    layout = Layout.find()
    file = sent.configured_file()
    if file is None:
        raise HeadwayError(
            f"no notifications are sent, because {sent.VARIABLE} is not set; write one address per line into a file that only "
            f"you can read, such as mailto://user:password@mail.example.org, and set {sent.VARIABLE} to its path"
        )
    addresses, problems = sent.read(file)
    for problem in problems:
        print(f"headway: {problem}", file=sys.stderr)
    if not addresses:
        raise HeadwayError(f"{file}: no address in it; write one per line, such as mailto://user:password@mail.example.org")
    if not test:
        for address in addresses:
            say(f"{sent.describe(address)}: {', '.join(event for event in sent.EVENTS if event in address.events)}")
        return
    message = sent.Message(
        "test", layout.root.name, f"a test message, sent by `headway notify --test` on {socket.gethostname()}"
    )
    done = sent.send(message, addresses)
    for delivery in done:
        say(f"{delivery.where}: {delivery.problem or 'delivered'}")
    if failed := [delivery for delivery in done if delivery.problem]:
        raise HeadwayError(f"{counted(len(failed), 'address', 'addresses')} of {len(done)} did not get the test message")
