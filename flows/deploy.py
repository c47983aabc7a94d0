"""Scheduled retraining: the flow is served from one process, and overlapping runs are cancelled."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from datetime import timedelta

import psutil
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import DeploymentEventTrigger
from prefect.events.schemas.automations import Posture
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.settings import get_current_settings
from pydantic import ValidationError

from flows import local_server, missed_runs, server, timezones
from flows.monitor import EVENT, monitor
from flows.pipeline import pipeline
from headway import preflight
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.monitoring.record import ALARM
from headway.process import raise_on_termination

NAME, MONITOR = "retrain", "monitor"
SECONDS_AFTER_CTRL_C = 15.0


class Scheduler(Runner):
    """Prefect's runner without its own reaction to SIGTERM, which leaves the schedule active."""

    def handle_sigterm(self, *_: object) -> None:
        """Nothing: :func:`_run_until_a_signal` handles it."""


def serve(cron: str, timezone: str | None = None, port: int | None = None, monitor_cron: str = "") -> None:
    """Run the flow at the times of a cron expression until this process ends.

    A run that is due while another is still running is cancelled, not queued.

    Args:
        timezone: an IANA name; by default the machine's time zone.
        monitor_cron: when the champion is monitored; "" for never. An alarm starts the flow at once, at most once a day.
        port: of the Prefect server, if none is named or running and one is started here.

    Raises:
        HeadwayError: the cron expression or the time zone is invalid, or a Prefect server is named and does not answer.
    """
    layout = Layout.find()
    _require_cron("--cron", cron)
    params = preflight.check(layout)
    if monitor_cron:
        _require_cron("--monitor", monitor_cron)
        if not params.serving.log.folder:
            raise HeadwayError(
                "--monitor: serving.log.folder is empty, so there are no answers to monitor; set it in params.yaml"
            )
    zone = timezones.named(timezone) if timezone is not None else timezones.local()
    raise_on_termination()
    with server.connected_for_a_schedule(port) as started:
        if started:
            _print_address(started)
        _print_times("Retraining", cron, zone)
        scheduler = Scheduler(name=NAME, pause_on_shutdown=True)
        one_at_a_time = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
        scheduler.add_flow(
            pipeline,
            name=NAME,
            schedule=Cron(cron, timezone=zone),
            parameters={"project": str(layout.root)},
            description="Bring every stage up to date, then promote or refuse the candidate.",
            concurrency_limit=one_at_a_time,
            triggers=[_after_an_alarm(params.registry.model_name)] if monitor_cron and params.retrain.on_alarm else None,
        )
        if monitor_cron:
            _print_times("Monitoring", monitor_cron, zone)
            scheduler.add_flow(
                monitor,
                name=MONITOR,
                schedule=Cron(monitor_cron, timezone=zone),
                parameters={"project": str(layout.root)},
                description="Read what is new in the prediction log, and say whether the champion is still as good.",
                concurrency_limit=one_at_a_time,
            )
        missed_runs.note_schedule(layout, {NAME: cron} | ({MONITOR: monitor_cron} if monitor_cron else {}), zone)
        asyncio.run(_run_until_a_signal(scheduler))
        missed_runs.forget_schedule(layout)


async def _run_until_a_signal(scheduler: Scheduler) -> None:
    """Run scheduled flows until Ctrl+C, SIGTERM or SIGHUP; the schedule is paused and running flows are ended then."""
    others = set(psutil.Process().children())  # the server
    received: list[signal.Signals] = []
    ended = asyncio.Event()

    def end(number: signal.Signals) -> None:
        received.append(number)
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, end, number)
    serving, waiting = asyncio.create_task(scheduler.start()), asyncio.create_task(ended.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not received:
        await serving
        return
    serving.cancel()  # pauses the schedule, then waits for running flows
    if received == [signal.SIGINT]:  # a terminal sends Ctrl+C to them too
        await asyncio.wait({serving}, timeout=SECONDS_AFTER_CTRL_C)
    if not serving.done():
        for flow in set(psutil.Process().children()) - others:
            with suppress(psutil.NoSuchProcess):
                flow.terminate()
    with suppress(asyncio.CancelledError):
        await serving
    print_line("The schedule is paused. Run the command again to continue.")


def run_server(port: int | None = None) -> None:
    """Run the project's Prefect server until this process ends.

    Raises:
        HeadwayError: the port is taken, this project's server is running already, or the server ends by itself.
    """
    Layout.find()
    raise_on_termination()
    with local_server.standing(get_current_settings().home, port) as (address, process):
        _print_address(address)
        status = process.wait()
    raise HeadwayError(
        f"the Prefect server ended with status {status}; see {get_current_settings().home / local_server.LOG}"
    )


def _print_address(address: local_server.Address) -> None:
    credentials = get_current_settings().home / local_server.CREDENTIALS
    print_line(f"Prefect: {address.page} (Ctrl+C to stop)")
    print_line(f"Log in with the value of PREFECT_API_AUTH_STRING in {credentials}")
    print_line(f"In other shells: source {credentials}")


def _after_an_alarm(model: str) -> DeploymentEventTrigger:
    """Starts a deployment when monitoring of a model raises an alarm. While the alarm lasts, it is raised by every monitoring
    run, so that the same alarm starts it again only a day later."""
    return DeploymentEventTrigger(
        name=f"headway: retrain {model} after an alarm",
        expect={f"{EVENT}{ALARM}"},
        match={"prefect.resource.id": f"headway.model.{model}"},
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(days=1),
    )


def _require_cron(option: str, cron: str) -> None:
    try:
        CronSchedule(cron=cron)
    except (ValidationError, ValueError):
        raise HeadwayError(
            f'{option} {cron!r}: not a cron expression; expected five fields, for example "0 3 * * *"'
        ) from None


def _print_times(what: str, cron: str, zone: str) -> None:
    print_line(f'{what} at "{cron}" in the time zone {zone}. The next times:')
    for time in timezones.next_times(cron, zone):
        print_line(f"  {timezones.describe(time)}")


def print_line(line: str) -> None:
    """Write a line at once, also into a pipe or a file."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
