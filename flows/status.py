"""The runs that schedules of this project will start next, from the Prefect server that is named or running."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

from flows import deploy, server
from headway.errors import first_line
from headway.layout import Layout

#: Runs that are listed.
MOST_RUNS = 3


def next_runs(layout: Layout) -> list[str]:
    """Descriptions of the next runs, the first one first; none without a server, or if it does not answer, which is reported."""
    try:
        if not server.is_there():
            return []
        with server.connected():
            return [f"{deploy.describe(start)}, {name}" for start, name in _scheduled(layout)]
    except Exception as error:  # noqa: BLE001 - a server and its client can raise anything
        sys.stderr.write(f"headway: the schedule is unknown: {first_line(error)}\n")
        return []


def _scheduled(layout: Layout) -> list[tuple[datetime, str]]:
    """Times and deployments of the next runs."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])))
    with get_client(sync_client=True) as client:
        names = {one.id: one.name for one in client.read_deployments()}
        runs = client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=200)
    found: list[tuple[datetime, str]] = [
        (run.expected_start_time.astimezone(), names.get(run.deployment_id, run.name))
        for run in runs
        if run.parameters.get("project") == str(layout.root) and run.expected_start_time and run.deployment_id
    ]
    return [one for one in found if one[0] >= datetime.now(UTC)][:MOST_RUNS]
