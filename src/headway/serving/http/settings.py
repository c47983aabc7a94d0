"""How a service is run: its address, who may ask it, and its limits."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass

from headway.errors import HeadwayError
from headway.serving.http.tokens import NOBODY, Tokens

#: Variable with the folder where several processes share their metrics. The metrics library reads it when it is imported.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
#: How long the end waits for each thread (those of the queue, the shadow and the live models), and for the prediction log.
SECONDS_TO_STOP, SECONDS_TO_FLUSH = 10.0, 10.0
THREADS_TO_STOP = 4
#: For what else a process does at its end.
SECONDS_TO_SPARE = 5.0
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class ServeSettings:
    """Settings of one service.

    Attributes:
        host, port: the address; port 0 is any free port.
        workers: number of processes.
        threads: of PyTorch in each process; 0 for its share of the cores.
        tokens: who may ask; without any, everyone who reaches the address.
        token_file: where the tokens are read again at SIGHUP; "" for nowhere.
        allowed_hosts: names in the Host header; "*" for any, "*.example.org" for names below it.
        cors_origins: origins of other pages whose scripts may ask.
        rate: requests per second for each token; 0 for no limit.
        max_texts: in one request.
        max_characters: of one text.
        max_body_bytes: of one request.
        queue_texts: number of texts that may wait to be classified.
        request_seconds: how long a request may wait for its answer.
        body_seconds: how long a client may take to send a request's body.
        drain_seconds: between SIGTERM, after which the service is not ready, and the end of listening.
        tls_certificate, tls_key: PEM files; "" for plain HTTP.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int = 0
    tokens: Tokens = NOBODY
    token_file: str = ""
    allowed_hosts: tuple[str, ...] = LOOPBACK_NAMES
    cors_origins: tuple[str, ...] = ()
    rate: float = 0.0
    max_texts: int = 256
    max_characters: int = 100_000
    max_body_bytes: int = 8_000_000
    queue_texts: int = 2_048
    request_seconds: float = 30.0
    body_seconds: float = 30.0
    drain_seconds: float = 2.0
    tls_certificate: str = ""
    tls_key: str = ""

    @property
    def max_waiting_bytes(self) -> int:
        """Sum of the sizes of all requests that are read or answered at a time, beyond which further ones are refused."""
        return 8 * self.max_body_bytes

    @property
    def torch_threads(self) -> int:
        """Threads of PyTorch in each process."""
        return self.threads or max(1, (os.cpu_count() or 1) // self.workers)

    @property
    def graceful_seconds(self) -> float:
        """How long requests that have been accepted may take at the end, with their bodies."""
        return self.body_seconds + self.request_seconds + SECONDS_TO_SPARE

    @property
    def end_seconds(self) -> float:
        """How long a process may take to end, after which it is killed."""
        parts = THREADS_TO_STOP * SECONDS_TO_STOP + SECONDS_TO_FLUSH + SECONDS_TO_SPARE
        return self.drain_seconds + self.graceful_seconds + parts

    def check(self) -> None:
        """Raise a HeadwayError if the service would answer anyone on the network, or an option does not fit the others."""
        if not self.tokens and not is_loopback(self.host):
            raise HeadwayError(
                f"--host {self.host}: reachable from other machines, so tokens are needed; pass --token-file FILE with one "
                "token per line, or set HEADWAY_TOKENS, or leave --host out"
            )
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise HeadwayError("--tls-certificate and --tls-key belong together; pass both or none")
        for origin in self.cors_origins:
            if not origin.startswith(("http://", "https://")) or origin.count("/") != 2:
                raise HeadwayError(
                    f"--cors-origin {origin}: expected scheme and host alone, such as https://app.example.org"
                )
        if self.queue_texts < self.max_texts:
            raise HeadwayError(
                f"--queue {self.queue_texts}: less than one request may have (--max-texts {self.max_texts}); raise it"
            )


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
