"""Files behind a URL: each is downloaded once, with retries and checks, and again when it changes there.

fsspec's own cache assumes that files behind http never change, and keeps truncated downloads. What is http goes through
:mod:`headway.data.sources.web`, all else through fsspec.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fsspec
import requests

from headway import network
from headway.data.sources import web
from headway.data.sources.file_set import FileSet, in_order
from headway.data.sources.transfer import Transfer, watched
from headway.errors import HeadwayError, first_line
from headway.files import sha256_of_json
from headway.progress import ProgressLine

Result = TypeVar("Result")

#: Age from which a partial file is nobody's any more: a download that writes nothing is given up much earlier.
ABANDONED_SECONDS = 600
#: Fields of a store's file info that change whenever the file does. The size alone may stay the same.
VERSIONS = ("ETag", "etag", "md5Hash", "Content-MD5", "LastModified", "last_modified", "Last-Modified", "mtime", "created")
#: The same among the headers of HTTP.
HEADERS = ("ETag", "Content-MD5", "Last-Modified", "Content-Length")
#: What to do about the refusals of an HTTP server.
REMEDIES = {
    401: "the server asks for a user and a password: put them into ~/.netrc",
    403: "you have no access to it, or the link has expired: check data.path and your credentials",
    407: "the proxy asks for a user and a password: check HTTPS_PROXY",
}


def remote_files(url: str, downloads: Path, max_mb: float) -> FileSet:
    """The file or folder at a URL such as ``s3://bucket/reviews.csv``, whose files are downloaded when they are first fetched.

    A download larger than ``max_mb`` is refused; 0 for no limit. HeadwayError if the URL's kind is unknown, nothing exists there,
    or the store cannot be reached.
    """
    if re.search(r"[*\[]", url):
        raise HeadwayError(
            f"data.path: {url} is a pattern; give the folder here, and the pattern of its files in data.files"
        )
    if urlsplit(url).scheme.lower() in ("http", "https"):
        name = PurePosixPath(urlsplit(url).path).name
        return FileSet(url, [name], False, cache(lambda _: _from_web(url, name, downloads, max_mb)))
    try:
        store, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise HeadwayError(f"data.path: {url} cannot be opened: {first_line(error)}") from None
    store.invalidate_cache()

    def fetch(path: str, name: str, where: str) -> Path:
        return _from_store(store, path, name, downloads, where, max_mb)

    if _patiently(lambda: watched(lambda: store.info(path)), url)["type"] != "directory":
        return FileSet(url, [PurePosixPath(path).name], False, cache(lambda name: fetch(path, name, url)))
    prefix = path.rstrip("/") + "/"
    found = _patiently(lambda: watched(lambda: store.find(path), is_listing=True), url)
    names = in_order(one.removeprefix(prefix) for one in found)
    return FileSet(url, names, True, cache(lambda name: fetch(prefix + name, name, f"{url}: {name}")))


def require_available(url: str) -> None:
    """Ask the server of an http or https URL for the file's headers, without the file.

    Raises:
        HeadwayError: the server cannot be reached, or does not give the file.
    """
    if urlsplit(url).scheme.lower() in ("http", "https"):
        _patiently(lambda: _headers(url), url)


def _from_web(url: str, name: str, downloads: Path, max_mb: float) -> Path:
    """The local copy of a file behind http: the last one if the server reports the same version, else a new one."""
    folder = downloads / sha256_of_json([url])[:16]
    if folder.is_dir() and (version := _version(_patiently(lambda: _headers(url), url), HEADERS)):
        copy = folder / _file_name(version, name)
        if copy.is_file():
            return copy

    def attempt() -> Path:
        with _partial(folder, url, name, max_mb) as (partial, transfer):
            found = watched(lambda: web.download(url, partial, transfer), transfer)
            if "Content-MD5" in found:
                _require_md5(partial, base64.b64decode(found["Content-MD5"]).hex())
            # Without a version the copy is downloaded again next time, but needs a name of its own.
            return partial.replace(folder / _file_name(_version(found, HEADERS) or {"url": url}, name))

    return _only(_patiently(attempt, url))


def _headers(url: str) -> Mapping[str, str]:
    """The headers of a file. Some servers, and links that are signed for GET, refuse HEAD: they tell nothing about the file."""
    try:
        return watched(lambda: web.headers(url))
    except web.StatusError as error:
        if error.status in (401, 404, 410) or is_server_trouble(error.status):
            raise
        return {}


def _from_store(store: fsspec.AbstractFileSystem, path: str, name: str, downloads: Path, where: str, max_mb: float) -> Path:
    """The local copy of a file in a store: the last one if the store's file has not changed, else a new one."""
    info = _patiently(lambda: watched(lambda: store.info(path)), where)
    version = _version(info, ("size", *VERSIONS))
    folder = downloads / sha256_of_json([store.unstrip_protocol(path)])[:16]
    target = folder / _file_name(version or {"size": str(info.get("size"))}, name)
    if version and target.is_file():
        return target

    def attempt() -> Path:
        with _partial(folder, where, name, max_mb) as (partial, transfer):
            expected = info.get("size")
            transfer.expect(expected)
            watched(lambda: store.get_file(path, str(partial), callback=_Counting(transfer)), transfer)
            size = partial.stat().st_size
            if expected is not None and size != expected:
                raise OSError(f"{size:,} of {expected:,} bytes arrived")
            if checksum := _md5(store, path, info):
                _require_md5(partial, checksum)
            return partial.replace(target)

    return _only(_patiently(attempt, where))


def _version(facts: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """The facts about a file that change whenever it does; {} if there are none, since its size alone may stay the same."""
    version = {name: str(facts[name]) for name in names if facts.get(name) is not None}
    return version if set(version) & set(VERSIONS) else {}


def _file_name(version: Mapping[str, str], name: str) -> str:
    return f"{sha256_of_json(version)[:16]}-{PurePosixPath(name).name}"


def _only(copy: Path) -> Path:
    """Remove other versions of a file that was downloaded. Partial files may belong to another process."""
    for other in copy.parent.iterdir():
        if other != copy and other.suffix != ".partial":
            other.unlink(missing_ok=True)
    return copy


@contextmanager
def _partial(folder: Path, where: str, name: str, max_mb: float) -> Iterator[tuple[Path, Transfer]]:
    """A new file to download to, and the count of its bytes. The file is removed unless the block moves it into place."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.partial"):  # by a process that was killed
        if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
            left.unlink(missing_ok=True)
    partial = folder / f"{uuid.uuid4().hex}.partial"  # an attempt that was given up may still write to its own
    transfer = Transfer(where, PurePosixPath(name).name, folder, max_mb)
    try:
        with transfer.line:
            yield partial, transfer
    finally:
        partial.unlink(missing_ok=True)


class _Counting(fsspec.Callback):  # type: ignore[misc]
    """Reports the bytes of fsspec's downloads."""

    def __init__(self, transfer: Transfer) -> None:
        super().__init__()
        self.transfer = transfer

    def relative_update(self, inc: int = 1) -> None:
        self.transfer.add(inc)

    def absolute_update(self, value: int) -> None:
        self.transfer.add(value - self.transfer.received)


def _require_md5(file: Path, expected: str) -> None:
    with file.open("rb") as opened:
        if hashlib.file_digest(opened, "md5").hexdigest() != expected:
            raise OSError("its MD5 differs from the store's")


def _md5(store: fsspec.AbstractFileSystem, path: str, info: dict[str, Any]) -> str | None:
    """A file's MD5 in hex digits, if the store reports it."""
    if encoded := info.get("md5Hash") or info.get("Content-MD5"):
        return base64.b64decode(encoded).hex()
    tag = str(info.get("ETag", "")).strip('"')
    if "s3" not in store.protocol or not re.fullmatch("[0-9a-f]{32}", tag):
        return None  # the tag of an upload in parts has another form
    bucket, key, _ = store.split_path(path)
    head = store.call_s3("head_object", Bucket=bucket, Key=key)
    unencrypted = head.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in head
    return tag if unencrypted else None


def is_server_trouble(status: int) -> bool:
    """Whether an HTTP status is a temporary error of the server."""
    return status >= 500 or status in (408, 429)


def _patiently(action: Callable[[], Result], where: str) -> Result:
    """An action on a store, retried; HeadwayError if the last attempt failed, or a new one would not help."""
    try:
        return network.retried(action, _is_transient, where, ProgressLine().note, _reason)
    except HeadwayError:
        raise
    except Exception as error:  # every store's client raises its own
        cause, tried = error.__cause__ or error, f", {network.ATTEMPTS} attempts" if _is_transient(error) else ""
        if isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410):
            raise HeadwayError(f"{where}: does not exist ({_reason(error)}); check data.path") from error
        raise HeadwayError(f"{where}: cannot be downloaded: {_reason(error)}{tried}; {_remedy(error)}") from error


def _reason(error: BaseException) -> str:
    """The cause in a few words. The innermost error of ``requests``, such as "connection refused", is the shortest."""
    if isinstance(error, requests.RequestException):
        while error.__context__:
            error = error.__context__
    else:
        error = error.__cause__ or error
    return first_line(error).rstrip(".")


def _remedy(error: BaseException) -> str:
    """What a person can do about an error."""
    status = getattr(error.__cause__ or error, "status", None)
    if isinstance(status, int):
        if is_server_trouble(status):
            return "the server has trouble, or is overloaded: run again later"
        return REMEDIES.get(status, "check data.path")
    if isinstance(error, requests.exceptions.SSLError):
        return "check data.path, this machine's clock, and, for a certificate of your own, REQUESTS_CA_BUNDLE"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space"
    return "check the network, data.path and your credentials, and run again"


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, HeadwayError | requests.exceptions.SSLError):
        return False
    if isinstance(error, requests.RequestException) and isinstance(error, ValueError):
        return False  # a malformed URL; JSON, the other such error, is not read here
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return False
    cause = error.__cause__ or error
    status = getattr(cause, "status", None)
    if isinstance(status, int):
        return is_server_trouble(status)
    return not isinstance(cause, FileNotFoundError | PermissionError | IsADirectoryError | NotImplementedError)
