"""Files behind http and https: one request that follows redirects, and the reasons for which a server's answer is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from headway.data.sources.transfer import Stalled, Transfer
from headway.errors import HeadwayError

CONNECT_SECONDS, READ_SECONDS = 10, 30
MAX_REDIRECTS = 10
CHUNK = 1 << 14  # bytes; a slow server fills it well within the time after which a download counts as stalled
#: No content encoding, so that the size is the file's. ``requests`` adds what ~/.netrc holds for the host.
HEADERS = {"User-Agent": "headway", "Accept": "*/*", "Accept-Encoding": "identity"}
HEAD = 4096  # bytes in which a web page is recognised


class StatusError(OSError):
    """An HTTP status that is not a success.

    Attributes:
        status: the number.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}".strip())
        self.status = status


def headers(url: str) -> Mapping[str, str]:
    """The headers of a file's answer to a HEAD request, after redirects; errors as for :func:`download`."""
    with _answer("HEAD", url) as response:
        return response.headers


def download(url: str, target: Path, transfer: Transfer) -> Mapping[str, str]:
    """Write a file's bytes to ``target``, and return the headers of the answer.

    Raises:
        HeadwayError: the file is too large, a web page, or behind a redirect that is refused.
        StatusError, requests.RequestException: the server refused, or the connection failed.
    """
    with _answer("GET", url) as response, target.open("wb") as file:
        length = response.headers.get("Content-Length", "")
        encoded = response.headers.get("Content-Encoding", "identity") != "identity"  # although HEADERS ask for none
        transfer.expect(int(length) if length.isdecimal() and len(length) < 100 and not encoded else None)
        for chunk in response.iter_content(CHUNK):
            transfer.add(len(chunk))
            file.write(chunk)
        if transfer.total is not None and transfer.received != transfer.total:
            raise Stalled(f"{transfer.received:,} of {transfer.total:,} bytes arrived")
    with target.open("rb") as file:
        _require_no_page(file.read(HEAD), transfer.where)
    return response.headers


@contextmanager
def _answer(method: str, url: str) -> Iterator[requests.Response]:
    """A successful response whose body is not read yet."""
    address = url
    with requests.Session() as session:
        session.headers.clear()
        session.headers.update(HEADERS)
        for _ in range(MAX_REDIRECTS + 1):
            timeout = (CONNECT_SECONDS, READ_SECONDS)
            response = session.request(method, address, stream=True, allow_redirects=False, timeout=timeout)
            place = session.get_redirect_target(response)
            if place is None:
                break
            response.close()
            address = _redirected(url, address, place)
        else:
            raise HeadwayError(f"{url}: redirected more than {MAX_REDIRECTS} times; check data.path")
        with response:
            if not response.ok or response.status_code != 200:
                raise StatusError(response.status_code, response.reason or "")
            yield response


def _redirected(url: str, address: str, place: str) -> str:
    """The address that a redirect leads to. A redirect must not leave http and https, nor give up the encryption."""
    target = urljoin(address, place)
    before, after = urlsplit(address), urlsplit(target)
    if after.scheme not in ("http", "https") or not after.hostname:
        raise HeadwayError(f"{url}: redirected to {after.scheme}: instead of http or https; check data.path")
    if before.scheme == "https" and after.scheme == "http":
        raise HeadwayError(
            f"{url}: redirected from https to http at {after.hostname}, where anyone on the way can change the data; "
            "give a URL in data.path that stays with https"
        )
    return target


def _require_no_page(head: bytes, where: str) -> None:
    """Refuse a web page in place of a file, which is how many servers ask for a login."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        title = re.search(rb"<title[^>]*>([^<]{1,80})", head, re.IGNORECASE)
        named = f" ({' '.join(title[1].decode(errors='replace').split())})" if title else ""
        raise HeadwayError(
            f"{where}: a web page{named} arrived instead of a file, perhaps to log in; give the file's direct link, or download "
            "it in a browser and give its path in data.path"
        )
