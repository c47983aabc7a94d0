"""The runs that schedules of this project will start next, and those that should have started, from the Prefect server that is
named or running and from what `headway schedule` keeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort

from flows import missed_runs, server
from flows.timezones import describe
from headway.errors import HeadwayError, first_line
from headway.layout import Layout

#: Runs that are listed.
MOST_RUNS = 3
LATE = "its worker or `headway schedule` does not run; start it"


@dataclass(frozen=True)
class Schedule:
    """What is known about scheduled runs.

    Attributes:
        next: descriptions of the next runs, the first one first; none without a server.
        missed: runs that should have started and did not.
        problem: why the server's schedule could not be read, "" if it was read or there is no server.
    """

    next: list[str]
    missed: list[missed_runs.MissedRun]
    problem: str = ""


def schedule(layout: Layout) -> Schedule:
    """What is known about the scheduled runs of a project."""
    missed = missed_runs.find(layout)
    try:
        if not server.is_there():
            return Schedule([], missed)
        with server.connected():
            runs = _scheduled(layout)
    except HeadwayError as error:
        return Schedule([], missed, str(error))
    except Exception as error:  # noqa: BLE001 - a server and its client can raise anything
        return Schedule([], missed, f"the schedule is unknown: {first_line(error)}; see the Prefect server's log")
    now = datetime.now(UTC)
    late = [(start, name) for start, name in runs if start < now - missed_runs.GRACE]
    if late and not missed:
        missed = [missed_runs.MissedRun(f"{late[0][1]} of {describe(late[0][0])}", LATE)]
    return Schedule([f"{describe(start)}, {name}" for start, name in runs if start >= now][:MOST_RUNS], missed)


def _scheduled(layout: Layout) -> list[tuple[datetime, str]]:
    """Times and deployments of the runs that have not started, the first one first."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])))
    with get_client(sync_client=True) as client:
        deployments = {one.id: one for one in client.read_deployments()}
        runs = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=200)
    found: list[tuple[datetime, str]] = []
    for run in runs:
        deployment = deployments.get(run.deployment_id) if run.deployment_id else None
        if not deployment or not run.expected_start_time:
            continue
        if (run.parameters.get("project") or _folder(deployment)) == str(layout.root):
            # The time as Prefect has it compares wrongly with others.
            time = datetime.fromtimestamp(run.expected_start_time.timestamp()).astimezone()
            found.append((time, deployment.name))
    return found


def _folder(deployment: DeploymentResponse) -> str:
    """The folder in which a worker runs a deployment of prefect.yaml, "" if it is none."""
    steps = {name: options for step in deployment.pull_steps or [] for name, options in step.items()}
    return str(steps.get("prefect.deployments.steps.set_working_directory", {}).get("directory", ""))
