"""Checks that the Prefect server named by the environment answers."""

from __future__ import annotations

import os

from headway.errors import HeadwayError, redact_credentials
from headway.network import check_reachable


def check(required: bool = False) -> None:
    """Return if the server of PREFECT_API_URL answers, or if none is set and none is required.

    Raises:
        HeadwayError: the server does not answer, or one is required and none is set.
    """
    url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if not url:
        if required:
            raise HeadwayError(
                "schedules need a Prefect server: start one with `prefect server start`, then "
                "`export PREFECT_API_URL=http://127.0.0.1:4200/api` and try again"
            )
        return
    remedy = "start it, or unset PREFECT_API_URL to run without one"
    check_reachable(f"{url}/health", f"the Prefect server at {redact_credentials(url)}", remedy)
