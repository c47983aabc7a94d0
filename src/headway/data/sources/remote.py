"""Files behind a URL: each is downloaded once, with retries and checks, and again when it changes there.

fsspec's own cache assumes that files behind http never change, and keeps truncated downloads.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fsspec
import tenacity

from headway.data.sources.file_set import FileSet, in_order
from headway.errors import HeadwayError, first_line
from headway.files import sha256_of_json

Result = TypeVar("Result")

ATTEMPTS = 5
WAIT = tenacity.wait_random_exponential(multiplier=0.5, max=10)  # seconds
#: Fields of a store's file info that change whenever the file does. The size alone may stay the same.
VERSIONS = ("ETag", "etag", "md5Hash", "Content-MD5", "LastModified", "last_modified", "Last-Modified", "mtime", "created")


def remote_files(url: str, downloads: Path) -> FileSet:
    """The file or folder at a URL such as ``s3://bucket/reviews.csv``, whose files are downloaded when they are fetched.

    HeadwayError if the URL's kind is unknown, nothing exists there, or the store cannot be reached.
    """
    if re.search(r"[*\[]", url):
        raise HeadwayError(
            f"data.path: {url} is a pattern; give the folder here, and the pattern of its files in data.files"
        )
    try:
        store, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise HeadwayError(f"data.path: {url} cannot be opened: {first_line(error)}") from None
    store.invalidate_cache()
    if _patiently(lambda: store.info(path), url)["type"] != "directory":
        name = PurePosixPath(urlsplit(url).path if url.startswith("http") else path).name
        return FileSet(url, [name], False, lambda name: _downloaded(store, path, name, downloads, url))
    prefix = path.rstrip("/") + "/"
    names = in_order(found.removeprefix(prefix) for found in _patiently(lambda: store.find(path), url))
    return FileSet(url, names, True, lambda name: _downloaded(store, prefix + name, name, downloads, f"{url}: {name}"))


def _downloaded(store: fsspec.AbstractFileSystem, path: str, name: str, downloads: Path, where: str) -> Path:
    """The local copy of a remote file: the last one if the store's file has not changed, else a new one."""
    info = _patiently(lambda: store.info(path), where)
    version = {key: str(info[key]) for key in ("size", *VERSIONS) if info.get(key) is not None}
    folder = downloads / sha256_of_json([store.unstrip_protocol(path)])[:16]
    target = folder / f"{sha256_of_json(version)[:16]}-{PurePosixPath(name).name}"
    if not target.is_file() or not set(version) & set(VERSIONS):
        folder.mkdir(parents=True, exist_ok=True)
        _patiently(lambda: _download(store, path, target, info), where)
        for other in folder.iterdir():
            if other != target:
                other.unlink()
    return target


def _download(store: fsspec.AbstractFileSystem, path: str, target: Path, info: dict[str, Any]) -> None:
    """Download to a partial file, and rename it once its size and checksum are right."""
    partial = target.with_name(target.name + ".partial")
    store.get_file(path, str(partial))
    size, expected = partial.stat().st_size, info.get("size")
    if expected is not None and size != expected:
        raise OSError(f"{size:,} of {expected:,} bytes arrived")
    if checksum := _md5(store, path, info):
        with partial.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != checksum:
                raise OSError("its MD5 differs from the store's")
    os.replace(partial, target)


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


def retried(action: Callable[[], Result], is_transient: Callable[[BaseException], bool]) -> Result:
    """An action's result, after up to ``ATTEMPTS`` attempts with growing pauses while its errors are transient."""
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_transient), wait=WAIT, stop=tenacity.stop_after_attempt(ATTEMPTS), reraise=True
    )
    return attempts(action)


def is_server_trouble(status: int) -> bool:
    """Whether an HTTP status is a temporary error of the server."""
    return status >= 500 or status in (408, 429)


def _patiently(action: Callable[[], Result], where: str) -> Result:
    """An action on a store, retried; HeadwayError if the last attempt failed, or a new one would not help."""
    try:
        return retried(action, _is_transient)
    except Exception as error:  # every store's client raises its own
        cause = error.__cause__ or error
        reason = first_line(cause).rstrip(".")
        if isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410):
            raise HeadwayError(f"{where}: does not exist ({reason}); check data.path") from error
        advice = "check the network, data.path and your credentials, and run again"
        raise HeadwayError(f"{where}: cannot be downloaded: {reason}; {advice}") from error


def _is_transient(error: BaseException) -> bool:
    cause = error.__cause__ or error  # fsspec's HTTP client raises FileNotFoundError whatever the cause
    status = getattr(cause, "status", None)
    if isinstance(status, int):
        return is_server_trouble(status)
    return not isinstance(cause, FileNotFoundError | PermissionError | IsADirectoryError | NotImplementedError)
