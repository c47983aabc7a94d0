"""Files behind a URL: each is downloaded once, patiently, checked, and kept until it changes there."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fsspec
import tenacity

from headway.data.sources.place import Place, ordered
from headway.errors import HeadwayError
from headway.files import sha256_of_json

Result = TypeVar("Result")

ATTEMPTS = 5
WAIT = tenacity.wait_random_exponential(multiplier=0.5, max=10)  # seconds
#: What a store tells of a file that changes when the file does. A size alone would not.
VERSIONS = ("ETag", "etag", "md5Hash", "Content-MD5", "LastModified", "last_modified", "Last-Modified", "mtime", "created")


class Incomplete(OSError):
    """A download that is not what the store says it has."""


def place_at(url: str, downloads: Path) -> Place:
    """The file or folder that a URL of fsspec names; its files are downloaded when they are fetched.

    Args:
        url: as ``s3://bucket/reviews.csv`` or ``https://…``.
        downloads: folder to keep them in.

    Raises:
        HeadwayError: the URL's kind is not known, nothing is there, or it cannot be reached.
    """
    if re.search(r"[*\[]", url):
        raise HeadwayError(
            f"data.path: {url} holds a pattern; give the folder here, and the pattern of its files in data.files"
        )
    try:
        files, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise HeadwayError(f"data.path: {url} cannot be opened: {' '.join(str(error).split())}") from None
    files.invalidate_cache()
    info = _patiently(lambda: files.info(path), url)
    if info["type"] != "directory":
        name = PurePosixPath(urlsplit(url).path if url.startswith("http") else path).name
        return Place(url, [name], is_folder=False, fetch=lambda _: _downloaded(files, path, name, downloads, url))
    prefix = path.rstrip("/") + "/"
    names = ordered(found.removeprefix(prefix) for found in _patiently(lambda: files.find(path), url))
    return Place(
        url, names, is_folder=True, fetch=lambda name: _downloaded(files, prefix + name, name, downloads, f"{url}: {name}")
    )


def _downloaded(files: fsspec.AbstractFileSystem, path: str, name: str, downloads: Path, where: str) -> Path:
    """The local copy of a remote file: the one from before if nothing has changed there, else a new one."""
    info = _patiently(lambda: files.info(path), where)
    version = {key: str(info[key]) for key in ("size", *VERSIONS) if info.get(key) is not None}
    folder = downloads / sha256_of_json([files.unstrip_protocol(path)])[:16]
    target = folder / f"{sha256_of_json(version)[:16]}-{PurePosixPath(name).name}"
    if not target.is_file() or not set(version) & set(VERSIONS):
        folder.mkdir(parents=True, exist_ok=True)
        _patiently(lambda: _download(files, path, target, info), where)
        for other in folder.iterdir():
            if other != target:
                other.unlink()
    return target


def _download(files: fsspec.AbstractFileSystem, path: str, target: Path, info: Mapping[str, Any]) -> None:
    """Download to a partial file, and rename it once its size and checksum are right."""
    partial = target.with_name(target.name + ".partial")
    files.get_file(path, str(partial))
    size, expected = partial.stat().st_size, info.get("size")
    if expected is not None and size != expected:
        raise Incomplete(f"{size:,} of {expected:,} bytes arrived")
    checksum = _md5(files, path, info)
    if checksum is not None:
        with partial.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != checksum:
                raise Incomplete("its MD5 is not the one that the store has")
    os.replace(partial, target)


def _md5(files: fsspec.AbstractFileSystem, path: str, info: Mapping[str, Any]) -> str | None:
    """The MD5 of a file in hex digits, where the store tells it."""
    if encoded := info.get("md5Hash") or info.get("Content-MD5"):
        return base64.b64decode(encoded).hex()
    tag = str(info.get("ETag", "")).strip('"')
    if "s3" not in files.protocol or not re.fullmatch("[0-9a-f]{32}", tag):
        return None  # an upload in parts has another kind of tag
    bucket, key, _ = files.split_path(path)
    head = files.call_s3("head_object", Bucket=bucket, Key=key)
    plain = head.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in head
    return tag if plain else None


def tried_again(action: Callable[[], Result], may_pass: Callable[[BaseException], bool]) -> Result:
    """An action's result, tried again with growing pauses as long as ``may_pass`` says so of what it raises."""
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception(may_pass), wait=WAIT, stop=tenacity.stop_after_attempt(ATTEMPTS), reraise=True
    )
    return attempts(action)


def _patiently(action: Callable[[], Result], where: str) -> Result:
    """An action's result, tried again with growing pauses while what fails may pass.

    Raises:
        HeadwayError: it does not pass, or cannot.
    """
    try:
        return tried_again(action, _may_pass)
    except Exception as error:  # every store's client raises its own
        cause = _cause(error)
        reason = " ".join(str(cause).split())[:200].rstrip(".") or type(cause).__name__
        if isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410):
            raise HeadwayError(f"{where}: does not exist ({reason}); check data.path") from error
        advice = "check the network, data.path and your credentials, and run again"
        raise HeadwayError(f"{where}: cannot be downloaded: {reason}; {advice}") from error


def _cause(error: BaseException) -> BaseException:
    """What happened: fsspec's HTTP client says that a file is not there whatever the reason."""
    return error.__cause__ or error


def _may_pass(error: BaseException) -> bool:
    """Whether trying again can help: not when the answer is a clear no."""
    cause = _cause(error)
    status = getattr(cause, "status", None)
    if isinstance(status, int):
        return status >= 500 or status in (408, 429)
    return not isinstance(cause, FileNotFoundError | PermissionError | IsADirectoryError | NotImplementedError)
