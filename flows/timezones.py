"""The time zone of a schedule: the machine's own, unless one is named. Run as a program, it prints the machine's zone."""

from __future__ import annotations

import asyncio
import difflib
import os
import sys
import time
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from headway.errors import HeadwayError, first_line

REMEDY = "name the zone of the schedule, for example --timezone Europe/Berlin"
#: A winter and a summer day: zones that agree with the machine's clock on both also change to daylight saving time as it does.
SAMPLED = (datetime(2026, 1, 15, 12), datetime(2026, 7, 15, 12))


def named(name: str) -> str:
    """The name of an IANA time zone, as it was given or with its letters in the usual case.

    Raises:
        HeadwayError: there is no such zone; the message lists similar names.
    """
    zones = sorted(available_timezones())
    usual = {zone.casefold(): zone for zone in zones}
    wanted = name.strip().casefold().replace(" ", "_")
    if wanted in usual:
        return usual[wanted]
    by_city = [zone for zone in zones if wanted and zone.casefold().rpartition("/")[2] == wanted]
    similar = by_city or [usual[zone] for zone in difflib.get_close_matches(wanted, usual, n=3, cutoff=0.6)]
    meant = f"; did you mean {' or '.join(similar[:3])}?" if similar else ""
    raise HeadwayError(f"--timezone {name!r}: no such time zone; expected an IANA name such as Europe/Berlin{meant}")


def local() -> str:
    """The name of the machine's time zone: from TZ, from /etc/localtime, or from what else the system keeps it in.

    A machine without any such setting runs in UTC.

    Raises:
        HeadwayError: the zone has no name, or not the one that the system's files say.
    """
    import tzlocal

    try:
        tzlocal.reload_localzone()
        name = tzlocal.get_localzone_name()
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise HeadwayError(f"cannot tell this machine's time zone ({first_line(error)}); {REMEDY}") from None
    name = name or "UTC"
    if name not in available_timezones():
        setting = f"TZ={os.environ['TZ']}" if os.environ.get("TZ") else name
        raise HeadwayError(f"cannot tell this machine's time zone ({setting} is not an IANA name); {REMEDY}")
    if not _agrees_with_the_clock(ZoneInfo(name)):
        raise HeadwayError(f"cannot tell this machine's time zone (its clock does not run in {name}); {REMEDY}")
    return name


def _agrees_with_the_clock(zone: ZoneInfo) -> bool:
    """Whether the machine's clock has the zone's offsets in winter and in summer."""
    for day in SAMPLED:
        offset = day.replace(tzinfo=zone).utcoffset()
        if offset is None or time.localtime(day.replace(tzinfo=zone).timestamp()).tm_gmtoff != offset.total_seconds():
            return False
    return True


def next_times(cron: str, zone: str, number: int = 3, after: datetime | None = None) -> list[datetime]:
    """The next times of a cron expression in a zone, as Prefect's server computes them."""
    from prefect.server.schemas.schedules import CronSchedule

    return list(asyncio.run(CronSchedule(cron=cron, timezone=zone).get_dates(number, after)))


def describe(time: datetime) -> str:
    """A time with its weekday and its offset from UTC, such as ``Sun 2027-03-28 03:00 +02:00``."""
    return f"{time:%a} {time.isoformat(sep=' ', timespec='minutes')[:16]} {time.isoformat()[-6:]}"


def main() -> None:
    """Print the machine's zone, for prefect.yaml."""
    try:
        sys.stdout.write(f"{local()}\n")
    except HeadwayError as error:
        sys.exit(f"headway: {error}".replace("--timezone Europe/Berlin", "TZ=Europe/Berlin"))


if __name__ == "__main__":
    main()
