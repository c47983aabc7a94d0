"""Notifications by mail, chat or webhook, sent through Apprise to the addresses in a file that HEADWAY_NOTIFY_FILE names.

An address holds a password or a token, so no message shows more of it than its scheme and host. A notifier that fails, hangs
or is misconfigured is reported and never raises: what is announced has been done already.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from headway.credentials import HIDDEN
from headway.errors import HeadwayError, first_line
from headway.foreign_text import one_line

if TYPE_CHECKING:
    from apprise import Apprise

#: Names the file with the addresses.
VARIABLE = "HEADWAY_NOTIFY_FILE"
#: Everything that can be announced, with Apprise's type of it, which chooses a colour or a sign.
EVENTS: dict[str, str] = {
    "promotion": "success",
    "refusal": "info",
    "approval": "info",
    "rollback": "warning",
    "retirement": "warning",
    "failure": "failure",
    "missed_run": "failure",
    "warning": "warning",
    "alarm": "failure",
}
#: How long all addresses together may take. Apprise waits 4 seconds for each answer, and a mail takes several answers.
DEADLINE_SECONDS = 10.0
#: Shorter parts of an address are too likely to be ordinary words to be looked for in an error.
SHORTEST_SECRET = 6

_LINE = re.compile(r"(?:(?P<events>[\w\s,]*)=)?\s*(?P<url>[A-Za-z][\w+.-]*://\S.*)")
#: What is before the first slash of an address, and the rest.
_PARTS = re.compile(r"[^:]*://([^/?#]*)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Message:
    """One event: its name in :data:`EVENTS`, the project, what happened in one line, and where to read more ("" if nowhere)."""

    event: str
    project: str
    line: str
    link: str = ""

    @property
    def title(self) -> str:
        """The subject of a mail, or the first line of a chat message."""
        return one_line(f"Headway: {self.event.replace('_', ' ')} in {self.project}")

    @property
    def body(self) -> str:
        """The line, with the link below it."""
        return "\n".join(filter(None, (one_line(self.line), self.link)))


@dataclass(frozen=True)
class Address:
    """A line of the file: its number, the address, and the events that are sent there."""

    number: int
    url: str = field(repr=False)
    events: frozenset[str]


@dataclass(frozen=True)
class Delivery:
    """Where a message was sent, such as ``line 2 (slack)``, and why it did not arrive; "" if it did."""

    where: str
    problem: str = ""


def notify(message: Message, warn: Callable[[str], object]) -> None:
    """Send a message to every address that wants its event. Without a file nothing happens, and nothing is imported.

    Never raises. ``warn`` is called once at most, with everything that went wrong in one line.
    """
    file = configured_file()
    if file is None:
        return
    try:
        addresses, problems = read(file)
        wanted = [address for address in addresses if message.event in address.events]
        problems += [f"{done.where}: {done.problem}" for done in send(message, wanted) if done.problem]
    except HeadwayError as error:
        problems = [str(error)]
    except Exception as error:  # noqa: BLE001 - a run must not fail by its notification; the message may hold an address
        problems = [f"not sent ({type(error).__name__})"]
    if problems:
        warn(f"notification of this {message.event.replace('_', ' ')}: {'; '.join(problems)}")


def configured_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file with the addresses, None if the variable is not set."""
    name = environment.get(VARIABLE, "")
    return Path(name) if name else None


def read(file: Path) -> tuple[list[Address], list[str]]:
    """The addresses in a file, and what is wrong with it: a line for each mistake, and one if other users can read it.

    A line is an address, or events and an address, as in ``promotion, failure = slack://…``. Empty lines and lines that begin
    with # are skipped.

    Raises:
        HeadwayError: the file cannot be read.
    """
    try:
        text, mode = file.read_text(encoding="utf-8"), file.stat().st_mode
    except UnicodeDecodeError:
        raise HeadwayError(f"{VARIABLE}: {file} is not a text file; write one address per line") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise HeadwayError(f"{VARIABLE}: {file} cannot be read: {reason}; correct the variable, or unset it") from None
    addresses, problems = [], []
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        problems.append(f"{file} can be read or changed by other users of this machine; run `chmod 600 {file}`")
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        events = re.findall(r"\w+", found["events"]) if found and found["events"] is not None else list(EVENTS)
        if found is None or not events:
            problems.append(f"{file}, line {number}: no address; write EVENTS = URL or URL, such as failure = mailto://…")
        elif unknown := [event for event in events if event not in EVENTS]:
            problems.append(f"{file}, line {number}: unknown event {unknown[0]}; expected {', '.join(EVENTS)}")
        else:
            addresses.append(Address(number, found["url"], frozenset(events)))
    return addresses, problems


def send(message: Message, addresses: list[Address]) -> list[Delivery]:
    """Send a message to all addresses at the same time; those without an answer after the deadline are given up."""
    if not addresses:
        return []
    listener, notifiers = _listener(), [_notifier(address.url) for address in addresses]
    problems: dict[int, str] = {}

    def deliver(address: Address, notifier: Apprise) -> None:
        try:
            arrived = notifier.notify(
                message.body, message.title, notify_type=EVENTS.get(message.event, "info"), body_format="text"
            )
            problem = "" if arrived else listener.heard() or "not delivered"
        except Exception as error:  # noqa: BLE001 - a plugin of Apprise can raise anything
            problem = first_line(error)
        problems[address.number] = _without_secrets(problem, address.url)

    threads = []
    for address, notifier in zip(addresses, notifiers, strict=True):
        if len(notifier):
            threads.append(threading.Thread(target=deliver, args=(address, notifier), daemon=True))
            threads[-1].start()
        else:
            problems[address.number] = "not an address that Apprise knows; see https://appriseit.com/services"
    deadline = time.monotonic() + DEADLINE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    ended = dict(problems)
    late = f"no answer within {DEADLINE_SECONDS:g} seconds"
    described = zip(addresses, notifiers, strict=True)
    return [Delivery(_describe(one, notifier), ended.get(one.number, late)) for one, notifier in described]


def describe(address: Address) -> str:
    """An address without its secrets, such as ``line 2 (mailto://mail.example.org)``."""
    return _describe(address, _notifier(address.url))


def _describe(address: Address, notifier: Apprise) -> str:
    # Apprise hides what it knows to be secret. The path of a webhook is not, although it may be all that protects it.
    shown = re.match(r"([\w+.-]+)://(?:[^/?@]*@)?([^/?]*)", _private_url(notifier))
    if not shown:
        return f"line {address.number}"
    return f"line {address.number} ({shown[1]}://{shown[2] if _is_host(shown[2]) else HIDDEN})"


def _private_url(notifier: Apprise) -> str:
    return str(notifier[0].url(privacy=True)) if len(notifier) else ""


def _notifier(url: str) -> Apprise:
    """Apprise with one address; empty if it does not know the address."""
    from apprise import Apprise, AppriseAsset

    # Not async: a notifier runs in the thread that calls it, so that its log lines can be told apart. No key files are made.
    asset = AppriseAsset(app_id="Headway", app_desc="Headway", async_mode=False, pgp_autogen=False, pem_autogen=False)
    notifier = Apprise(asset=asset)
    _listener()
    notifier.add(url)
    return notifier


class _Listener(logging.Handler):
    """Keeps what Apprise logs in place of raising, the last line of each thread, and lets it go nowhere else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lines: dict[int, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self._lines[threading.get_ident()] = record.getMessage()

    def heard(self) -> str:
        """The last line of this thread."""
        return one_line(self._lines.pop(threading.get_ident(), ""))


@cache
def _listener() -> _Listener:
    log, listener = logging.getLogger("apprise"), _Listener()
    log.propagate = False
    log.addHandler(listener)
    return listener


def _without_secrets(problem: str, url: str) -> str:
    """An error without any part of the address but the name of its host."""
    secrets: set[str] = set()
    for written in (url, unquote(url)):
        authority, rest = _PARTS.fullmatch(written).groups()  # type: ignore[union-attr]
        user, _, host = authority.rpartition("@")
        secrets |= {written, user, user.partition(":")[2], *rest.split("/"), *re.split(r"[^\w.-]+", f"{user}/{rest}")}
        if not _is_host(host):
            secrets |= {host, *host.split(":")}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= SHORTEST_SECRET or (secret and secret == unquote(url).rpartition("@")[0].rpartition(":")[2]):
            problem = problem.replace(secret, HIDDEN)
    return problem


def _is_host(authority: str) -> bool:
    """Whether the part of an address before its path names a host, not a token or a topic as with some services."""
    name, _, port = authority.partition(":")
    return (not port or port.isdigit()) and ("." in name or name in ("localhost", ""))
