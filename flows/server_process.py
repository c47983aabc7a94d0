"""The program of a Prefect server that answers no other Host than loopback's and those that are named.

Headway starts it with a listening socket and the process that it ends with, see :mod:`flows.local_server`; the containers' image
has a copy of this file and starts it with an address. Its settings are in its environment.
"""

from __future__ import annotations

import argparse
import os
import threading
import time

import uvicorn
from prefect.server.api.server import create_app
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import Receive, Scope, Send

#: The Host headers that are answered. A page that reaches the server through a name of its own (DNS rebinding) sends that name.
HOSTS = ["127.0.0.1", "localhost"]
#: The host that Prefect's automations name, see prefect.server.api.clients.
IN_PROCESS = "prefect-in-memory"
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_FOR_REQUESTS_TO_END = 5


class OwnHosts(TrustedHostMiddleware):
    """Answers requests to :data:`HOSTS`, and those that the server's own automations make within this process.

    Those do not come through the socket, so that their server is a name; what comes through it has the socket's address there,
    whatever its Host header says.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope.get("server") or ("",))[0] == IN_PROCESS:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def main() -> None:
    """Serve on an inherited listening socket, or at an address, until SIGTERM or until the parent ends."""
    parser = argparse.ArgumentParser()
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=int, help="File descriptor of the listening socket.")
    where.add_argument("--host", help="Address to listen on.")
    parser.add_argument("--port", type=int, default=4200, help="Port to listen on.")
    parser.add_argument("--parent", type=int, help="Process with which the server ends.")
    parser.add_argument(
        "--allowed-host", action="append", default=[], help="Host header that is answered besides loopback's."
    )
    options = parser.parse_args()
    if options.parent is not None:
        threading.Thread(target=_end_with, args=(options.parent,), daemon=True).start()
    app = create_app(final=True)
    app.add_middleware(OwnHosts, allowed_hosts=[*HOSTS, *options.allowed_host])
    listening = {"host": options.host, "port": options.port} if options.socket is None else {"fd": options.socket}
    uvicorn.run(app, **listening, log_level="warning", timeout_graceful_shutdown=SECONDS_FOR_REQUESTS_TO_END)


def _end_with(parent: int) -> None:
    """End this process soon after its parent, on every system. On Linux, the kernel does so at once."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


if __name__ == "__main__":
    main()
