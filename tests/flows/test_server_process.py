"""Which requests the Prefect server that Headway starts answers."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from prefect.server.api.clients import OrchestrationClient
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from flows.server_process import HOSTS, IN_PROCESS, OwnHosts


def status(host: str, server: str) -> int:
    """Of the answer to a request with this Host header that came in at this address."""

    async def hello(_: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    inner = Starlette(routes=[Route("/", hello)])
    inner.add_middleware(OwnHosts, allowed_hosts=HOSTS)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await inner({**scope, "server": (server, 4200)}, receive, send)

    async def ask() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x") as client:
            return (await client.get("/", headers={"Host": host})).status_code

    return asyncio.run(ask())


def test_only_loopback_names_are_answered_through_the_socket() -> None:
    assert status("localhost", "127.0.0.1") == 200
    assert status("127.0.0.1:4200", "127.0.0.1") == 200
    assert status("rebound.example.org", "127.0.0.1") == 400
    assert status(IN_PROCESS, "127.0.0.1") == 400, "a header alone says nothing about where a request comes from"


def test_automations_reach_the_server_that_they_run_in() -> None:
    assert status(IN_PROCESS, IN_PROCESS) == 200
    client = OrchestrationClient()._http_client
    assert client.base_url.host == IN_PROCESS
