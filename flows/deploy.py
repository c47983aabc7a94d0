"""Scheduled retraining: the flow is served from one process, and overlapping runs are cancelled."""

from __future__ import annotations

from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from flows import server
from flows.pipeline import pipeline
from headway.errors import HeadwayError
from headway.layout import Layout

NAME = "retrain"


def serve(cron: str) -> None:
    """Run the flow at the times of a cron expression until this process ends.

    A run that is due while another is still running is cancelled, not queued.

    Raises:
        HeadwayError: the cron expression is invalid, or no Prefect server answers.
    """
    layout = Layout.find()
    try:
        CronSchedule(cron=cron)
    except (ValidationError, ValueError):
        raise HeadwayError(
            f'--cron {cron!r}: not a cron expression; expected five fields, for example "0 3 * * *"'
        ) from None
    server.check(required=True)
    pipeline.serve(
        name=NAME,
        cron=cron,
        parameters={"project": str(layout.root)},
        description="Bring every stage up to date, then promote or refuse the candidate.",
        global_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
    )
