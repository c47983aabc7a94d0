"""The zone of a schedule: the machine's own unless one is named, with its changes to and from daylight saving time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tzlocal

from flows import timezones
from headway.errors import HeadwayError


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """A function that gives this process's clock a value of TZ; undone after the test."""

    def change(value: str) -> None:
        monkeypatch.setenv("TZ", value)
        time.tzset()

    yield change
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("written", ["Europe/Berlin", "europe/berlin", " Europe/Berlin "])
def test_a_zone_is_named_in_any_case(written: str) -> None:
    assert timezones.named(written) == "Europe/Berlin"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("Berlin", "Europe/Berlin"), ("new york", "America/New_York"), ("Europe/Berln", "Europe/Berlin"), ("CETT", "CET")],
)
def test_an_unknown_zone_is_one_line_with_similar_names(written: str, meant: str) -> None:
    with pytest.raises(
        HeadwayError, match=rf"^--timezone '{written}': no such time zone; .*did you mean .*{meant}"
    ) as error:
        timezones.named(written)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("written", ["", "03:00", "../../etc/passwd", "\x1b[31m"])
def test_what_resembles_no_zone_is_refused_without_a_suggestion(written: str) -> None:
    with pytest.raises(HeadwayError, match="no such time zone") as error:
        timezones.named(written)
    assert "did you mean" not in str(error.value)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (":America/New_York", "America/New_York"),
        ("/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
    ],
)
def test_the_machines_zone_is_the_one_in_tz(in_zone: Callable[[str], None], setting: str, zone: str) -> None:
    if setting.startswith("/") and not Path(setting).is_file():
        pytest.skip(f"no {setting} on this machine")
    in_zone(setting)
    assert timezones.local() == zone


def test_a_zone_without_an_iana_name_is_one_line(in_zone: Callable[[str], None]) -> None:
    in_zone("CET-1CEST,M3.5.0,M10.5.0/3")
    with pytest.raises(
        HeadwayError, match=r"cannot tell this machine's time zone \(.*\); .*--timezone Europe/Berlin"
    ) as error:
        timezones.local()
    assert "\n" not in str(error.value)


def test_a_file_that_names_another_zone_than_the_clocks_is_not_believed(
    in_zone: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container with the host's /etc/localtime and its own /etc/timezone."""
    in_zone("Europe/Berlin")
    monkeypatch.setattr(tzlocal, "reload_localzone", lambda: None)
    monkeypatch.setattr(tzlocal, "get_localzone_name", lambda: "Etc/UTC")
    with pytest.raises(HeadwayError, match="its clock does not run in Etc/UTC"):
        timezones.local()


def test_a_machine_without_a_setting_is_in_utc(in_zone: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    in_zone("UTC")
    monkeypatch.setattr(tzlocal, "reload_localzone", lambda: None)
    monkeypatch.setattr(tzlocal, "get_localzone_name", lambda: None)
    assert timezones.local() == "UTC"


@pytest.mark.parametrize(
    ("day", "times"),
    [
        (27, ["Sun 2027-03-28 03:00 +02:00", "Mon 2027-03-29 03:00 +02:00", "Tue 2027-03-30 03:00 +02:00"]),
        (26, ["Sat 2027-03-27 03:00 +01:00", "Sun 2027-03-28 03:00 +02:00", "Mon 2027-03-29 03:00 +02:00"]),
    ],
)
def test_every_night_at_three_stays_three_when_clocks_go_forward(day: int, times: list[str]) -> None:
    after = datetime(2027, 3, day, 12, tzinfo=UTC)
    assert [timezones.describe(time) for time in timezones.next_times("0 3 * * *", "Europe/Berlin", after=after)] == times


def test_every_night_at_three_stays_three_when_clocks_go_back() -> None:
    after = datetime(2027, 10, 29, 12, tzinfo=UTC)
    assert [timezones.describe(time) for time in timezones.next_times("0 3 * * *", "Europe/Berlin", after=after)] == [
        "Sat 2027-10-30 03:00 +02:00",
        "Sun 2027-10-31 03:00 +01:00",
        "Mon 2027-11-01 03:00 +01:00",
    ]


def test_the_program_prints_the_zone_for_prefects_file(repository: Path) -> None:
    environment = {**os.environ, "TZ": "Asia/Kolkata"}
    command = [sys.executable, "-m", "flows.timezones"]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "Asia/Kolkata\n"
    environment["TZ"] = "CET-1CEST"
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"headway: cannot tell .*\n", done.stderr)
