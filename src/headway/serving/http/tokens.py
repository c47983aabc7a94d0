"""Bearer tokens: read from a file or the environment, kept as digests, compared in constant time; and their rates."""

from __future__ import annotations

import hashlib
import hmac
import re
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from headway.errors import HeadwayError

#: Where tokens may be given, one per line, instead of a file.
VARIABLE = "HEADWAY_TOKENS"
SHORTEST = 16
#: The characters of RFC 6750.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


@dataclass(frozen=True)
class Tokens:
    """The SHA-256 digests of the tokens that are accepted."""

    digests: tuple[bytes, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.digests)

    def holder(self, authorization: str) -> str | None:
        """A name for the token in an Authorization header, the first digits of its SHA-256; None if it is not accepted.

        All digests are compared, whichever of them fits, so that the time says nothing about them.
        """
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        found = [hmac.compare_digest(digest, known) for known in self.digests]
        return digest.hex()[:8] if any(found) and scheme.lower() == "bearer" else None


NOBODY = Tokens()


def read_tokens(text: str, where: str) -> Tokens:
    """The tokens in the lines of a text. Blank lines and those that begin with # are left out.

    Raises:
        HeadwayError: there is none, or one is too short or has characters that a header cannot have. It is not quoted.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    found = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not found:
        raise HeadwayError(f"{where}: has no token; write one per line, such as the output of `openssl rand -hex 32`")
    for number, token in found:
        if not _TOKEN.fullmatch(token):
            raise HeadwayError(
                f"{where}, line {number}: not a token; expected letters, digits and - . _ ~ + / without spaces"
            )
        if len(token) < SHORTEST:
            raise HeadwayError(
                f"{where}, line {number}: {len(token)} characters can be guessed; expected at least {SHORTEST}, such as the "
                "output of `openssl rand -hex 32`"
            )
    return Tokens(tuple(dict.fromkeys(hashlib.sha256(token.encode()).digest() for _, token in found)))


def read_token_file(path: Path) -> Tokens:
    """The tokens in a file; errors as for :func:`read_tokens`, and a HeadwayError if it cannot be read."""
    try:
        return read_tokens(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise HeadwayError(f"{path}: not a text file; write one token per line") from None
    except OSError as error:
        raise HeadwayError(f"{path}: cannot be read: {error.strerror or type(error).__name__}") from None


def others_can_read(path: Path) -> bool:
    """Whether other users of this machine can read a file."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


class RateLimit:
    """A token bucket for each holder: ``rate`` requests per second, and as many at once as come in one second."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._clock = rate, clock
        self._burst = max(1.0, rate)
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left, and when that was

    def wait(self, holder: str) -> float:
        """Take one request from a holder's bucket; seconds until the next one is allowed, 0 if this one is."""
        if not self.rate:
            return 0.0
        now = self._clock()
        left, since = self._buckets.get(holder, (self._burst, now))
        left = min(self._burst, left + (now - since) * self.rate)
        if left < 1:
            self._buckets[holder] = left, now
            return (1 - left) / self.rate
        self._buckets[holder] = left - 1, now
        return 0.0


def host_allowed(header: str, allowed: Iterable[str]) -> bool:
    """Whether a Host header names an allowed host, whatever its port."""
    name = re.sub(r":\d*$", "", header.lower())
    return any(
        pattern == "*" or name == pattern.lower() or (pattern.startswith("*.") and name.endswith(pattern[1:].lower()))
        for pattern in allowed
    )


def origin_allowed(origin: str, host: str, cors_origins: Iterable[str]) -> bool:
    """Whether the page whose script sends a request is one of this service's own, or one of an origin that was named.

    Only host and port are compared with the Host header: behind a proxy that ends TLS, the schemes differ.
    """
    return origin in cors_origins or ("://" in origin and origin.lower().partition("://")[2] == host.lower())
