"""Notifications through the real Apprise to servers on this machine: what arrives, what does not, and what is shown of it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from headway import notifications
from headway.cli import app
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.notifications import EVENTS, VARIABLE, Message, notify, read
from tests.mail_and_web import Inbox, mail_server, refused_port, silent_server, web_server

SECRET = "s3cret-token"
PROMOTED = Message("promotion", "reviews", "version 3 is promoted", "https://mlflow.example/#/runs/1?a=b&c=d")


@pytest.fixture
def mail() -> Iterator[Inbox]:
    with mail_server() as inbox:
        yield inbox


@pytest.fixture
def web() -> Iterator[Inbox]:
    with web_server() as inbox:
        yield inbox


def hook(port: int) -> str:
    return f"json://user:{SECRET}@127.0.0.1:{port}/services/{SECRET}?:key={SECRET}"


def mailto(port: int) -> str:
    return f"mailto://user:{SECRET}@127.0.0.1:{port}?from=headway@example.org&to=team@example.org&mode=insecure"


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the addresses, empty so far."""
    file = tmp_path / "notify.urls"
    file.touch(mode=0o600)
    monkeypatch.setenv(VARIABLE, str(file))
    return file


def warnings(message: Message = PROMOTED) -> list[str]:
    """What is warned of when a message is sent."""
    found: list[str] = []
    notify(message, found.append)
    return found


def test_a_message_arrives_by_mail_and_at_a_webhook_as_one_line_and_a_link(listed: Path, mail: Inbox, web: Inbox) -> None:
    listed.write_text(f"# our team\n\n{mailto(mail.port)}\n{hook(web.port)}\n")
    assert warnings() == []
    (letter,) = mail.arrived
    assert (letter["Subject"], letter["To"]) == ("Headway: promotion in reviews", "team@example.org")
    assert letter.get_body(("plain",)).get_content().splitlines() == [PROMOTED.line, PROMOTED.link]
    ((path, body),) = web.arrived
    assert path.startswith(f"/services/{SECRET}")
    assert (body["title"], body["message"]) == ("Headway: promotion in reviews", f"{PROMOTED.line}\n{PROMOTED.link}")
    assert body["type"] == "success"


def test_an_address_gets_only_the_events_that_it_names(listed: Path, web: Inbox) -> None:
    listed.write_text(f"refusal, failure = {hook(web.port)}\npromotion={hook(web.port)}\n")
    for event in ("promotion", "failure", "rollback"):
        assert warnings(Message(event, "reviews", event)) == []
    assert [body["message"] for _, body in web.arrived] == ["promotion", "failure"]


def test_text_of_others_stays_one_line(listed: Path, web: Inbox) -> None:
    listed.write_text(hook(web.port))
    assert warnings(Message("refusal", "a\nb", "a reason\nof two lines\x1b[31m")) == []
    ((_, body),) = web.arrived
    assert "\n" not in body["title"] + body["message"]
    assert "\x1b" not in body["message"]


def test_whatever_fails_is_one_line_and_the_others_get_the_message(
    listed: Path, mail: Inbox, web: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "handle", logged.append)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(notifications, "DEADLINE_SECONDS", 1.0)
    with web_server(status=500) as broken, silent_server() as silent:
        bad = [hook(broken.port), hook(silent), mailto(silent), hook(refused_port()), f"slack://{SECRET}", f"no://{SECRET}"]
        listed.write_text(
            "\n".join([*bad, mailto(mail.port), hook(web.port), f"{SECRET} without a scheme", f"promoted={hook(1)}"])
        )
        (line,) = warnings()
    assert (len(mail.arrived), len(web.arrived)) == (1, 1)
    assert line.startswith("notification of this promotion: ")
    for part in (
        f"line 1 (json://127.0.0.1:{broken.port}): ",
        f"line 2 (json://127.0.0.1:{silent}): no answer within 1 seconds",
        f"line 3 (mailto://127.0.0.1:{silent}): no answer within 1 seconds",
        "line 4 (json://127.0.0.1:",
        "line 5: not an address that Apprise knows",
        "line 6: not an address that Apprise knows",
        "line 9: no address",
        "line 10: unknown event promoted; expected promotion, refusal",
    ):
        assert part in line
    assert "line 7" not in line
    assert "line 8" not in line
    assert "\n" not in line
    assert SECRET not in line
    assert [record for record in logged if record.name.startswith("apprise")] == []  # it names tokens that it finds invalid


def test_a_part_of_an_address_in_an_error_is_hidden(listed: Path, web: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaks(*_: object, **__: object) -> None:
        raise RuntimeError(f"POST http://127.0.0.1/services/{SECRET}?key={SECRET} failed")

    monkeypatch.setattr("apprise.Apprise.notify", leaks)
    listed.write_text(hook(web.port))
    (line,) = warnings()
    assert "127.0.0.1/" in line
    assert SECRET not in line


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "abcdefg_hijklmnop"),
        ("join://abcdef0123456789/group", "abcdef0123456789"),
        ("mailtos://me:ab12!@mail.example.org", "ab12!"),
        ("mailtos://me:pass%21word@mail.example.org", "pass!word"),
        ("json://example.org/hook?token=abc%2Fsecretvalue", "secretvalue"),
        ("ntfys://mytopicsecret", "mytopicsecret"),
    ],
)
def test_no_secret_of_an_address_is_left_in_an_error(url: str, secret: str) -> None:
    for words in (f"failed: {url}", f"failed at {secret} again"):
        assert secret not in notifications._without_secrets(words, url)
    kept = notifications._without_secrets("connection to mail.example.org refused", url)
    assert kept == "connection to mail.example.org refused"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_use_is_reported_and_used(listed: Path, web: Inbox, mode: int) -> None:
    listed.write_text(hook(web.port))
    listed.chmod(mode)
    (line,) = warnings()
    assert line.endswith(f"{listed} can be read or changed by other users of this machine; run `chmod 600 {listed}`")
    assert len(web.arrived) == 1


@pytest.mark.parametrize("make", [lambda file: None, Path.mkdir, lambda file: file.write_bytes(b"\xff\xfe\x00")])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: object) -> None:
    file = tmp_path / "absent"
    make(file)  # type: ignore[operator]
    monkeypatch.setenv(VARIABLE, str(file))
    (line,) = warnings()
    assert str(file) in line
    assert "\n" not in line


def test_an_unforeseen_error_is_a_warning_too(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(notifications, "send", broken)
    (line,) = warnings()
    assert line.endswith("not sent (RuntimeError)")


def test_without_a_file_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    code = """
import sys
from headway.notifications import Message, notify
notify(Message("failure", "reviews", "an error"), sys.exit)
print(sorted({"apprise", "requests"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@given(
    events=st.lists(st.sampled_from(sorted(EVENTS)), min_size=1, unique=True),
    space=st.sampled_from(["", " ", "\t"]),
    url=st.from_regex(r"[a-z]{2,8}://[!-~]{1,40}", fullmatch=True),
)
def test_every_address_is_read_as_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, events: list[str], space: str, url: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "addresses"
    file.touch(mode=0o600)
    file.write_text(f"{(space + ',' + space).join(events)}{space}={space}{url}\n{url}\n")
    (named, for_all), problems = read(file)
    assert (named.url, named.events, named.number) == (url, frozenset(events), 1)
    assert (for_all.url, for_all.events, for_all.number) == (url, frozenset(EVENTS), 2)
    assert problems == []
    assert url not in repr(named)


def headway(*words: str) -> Result:
    return CliRunner().invoke(app, ["notify", *words])


def test_the_command_lists_the_addresses_without_secrets_and_sends_nothing(
    listed: Path, web: Inbox, project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    listed.write_text(f"failure, promotion = {hook(web.port)}\n{mailto(25)}\n")
    done = headway()
    assert done.output == (
        f"line 1 (json://127.0.0.1:{web.port}): promotion, failure\nline 2 (mailto://127.0.0.1): {', '.join(EVENTS)}\n"
    )
    assert web.arrived == []


def test_a_test_message_is_sent_to_each_and_each_result_is_shown(
    listed: Path, web: Inbox, project: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    with web_server(status=403) as broken:
        listed.write_text(f"failure = {hook(web.port)}\n{hook(broken.port)}\n")
        done = headway("--test")
    assert isinstance(done.exception, HeadwayError)
    assert str(done.exception) == "1 address of 2 did not get the test message"
    first, second = done.output.splitlines()
    assert first == f"line 1 (json://127.0.0.1:{web.port}): delivered"
    assert second.startswith(f"line 2 (json://127.0.0.1:{broken.port}): Failed to send")
    ((_, body),) = web.arrived
    assert body["title"] == f"Headway: test in {project.root.name}"


@pytest.mark.parametrize("content", [None, "# nothing\n"], ids=["no variable", "no address"])
def test_without_addresses_the_command_says_how_to_name_some(
    listed: Path, project: Layout, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.chdir(project.root)
    if content is None:
        monkeypatch.delenv(VARIABLE)
    else:
        listed.write_text(content)
    done = headway("--test")
    assert isinstance(done.exception, HeadwayError)
    assert "mailto://user:" not in str(done.exception)  # what looks like a password is never shown
