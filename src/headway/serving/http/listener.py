"""The socket at the service's address, before anything heavy is imported."""

from __future__ import annotations

import errno
import socket
import ssl
import sys

from headway.errors import HeadwayError
from headway.serving.http.settings import ServeSettings

#: Connections that wait to be accepted.
BACKLOG = 2_048


def bind(settings: ServeSettings) -> socket.socket:
    """A socket that listens at the service's address. Clients that connect before there is a model wait for it.

    Raises:
        HeadwayError: the address cannot be used, or the TLS files.
    """
    where = f"{settings.host}:{settings.port}"
    check_tls(settings)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise HeadwayError(f"--host {settings.host}: no such name or address; pass one of this machine") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # with SO_REUSEADDR, a second service can bind the same address until this one listens
    except OSError as error:
        listener.close()
        reasons = {
            errno.EADDRINUSE: "in use by another program; end it, or pass another port with --port",
            errno.EADDRNOTAVAIL: "this machine has no such address; pass one that it has with --host",
            errno.EACCES: "ports below 1024 need special rights; pass another one with --port",
        }
        raise HeadwayError(f"{where}: {reasons.get(error.errno or 0, error.strerror)}") from None
    listener.set_inheritable(True)
    return listener


def check_tls(settings: ServeSettings) -> None:
    """Raise a HeadwayError if the certificate and the key cannot be used."""
    if settings.tls_certificate:
        files = f"--tls-certificate {settings.tls_certificate}, --tls-key {settings.tls_key}"
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_certificate, settings.tls_key)
        except ssl.SSLError:
            raise HeadwayError(f"{files}: not a certificate and its key; expected two PEM files") from None
        except OSError as error:
            raise HeadwayError(f"{files}: cannot be read: {error.strerror}") from None


def address_of(settings: ServeSettings, listener: socket.socket) -> str:
    """The URL of a service."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def in_terminal() -> bool:
    """Whether a terminal started this process, which sends SIGHUP when it is closed; a service manager sends it to reload."""
    return sys.__stdin__ is not None and not sys.__stdin__.closed and sys.__stdin__.isatty()
