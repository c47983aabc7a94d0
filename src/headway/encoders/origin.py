"""Where an encoder comes from, and which of the files there are taken."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackagePath
from pathlib import Path

from headway.encoders.config import CONFIG
from headway.encoders.folder import INDEX, README, TOKENIZER, WEIGHTS
from headway.errors import HeadwayError

#: What is taken beside the weights: no pickles, no code, nothing for other frameworks.
TAKEN = (CONFIG, TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", README)
LICENCE = re.compile(r"(?:licen[cs]e|notice)(?:[.\-].*)?", re.IGNORECASE)
#: Hashes that a package's metadata may have for its files.
HASHES = ("sha256", "sha384", "sha512")
MB = 10**6  # bytes
#: Free space that is left on the disk.
RESERVE = 100 * MB


@dataclass(frozen=True)
class Origin:
    """Where an encoder comes from.

    Attributes:
        what: how messages name it.
        name: name of the folder to add, unless another is chosen.
        source, revision, licence: see :class:`headway.encoders.folder.EncoderFiles`; the licence is "" where only README.md may
            name it.
        fill: writes the files into an empty folder, or one that it filled in part before.
        is_download: whether the files are fetched over the network, so that what was fetched is kept for the next attempt.
    """

    what: str
    name: str
    source: str
    revision: str
    licence: str
    fill: Callable[[Path], None]
    is_download: bool = False


def wanted(names: Iterable[str]) -> list[str]:
    """The names of the files to take, of those that are there; config.json is first.

    Of several files of weights, only the one that transformers loads is taken: others hold the same in another format.
    """
    there = sorted(names)
    weights = [WEIGHTS] if WEIGHTS in there else [name for name in there if name == INDEX or name.endswith(".safetensors")]
    others = [name for name in there if (name in TAKEN or LICENCE.fullmatch(name)) and name != CONFIG]
    return [*(name for name in there if name == CONFIG), *others, *weights]


def require_as_installed(file: PackagePath, copy: Path, what: str) -> None:
    """Compare a file of a package, or a copy of it, with the hash that was recorded when the package was installed, if any was.

    Raises:
        HeadwayError: they differ.
    """
    if file.hash is None or file.hash.mode not in HASHES:
        return
    with copy.open("rb") as opened:
        digest = hashlib.file_digest(opened, file.hash.mode).digest()
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
        raise HeadwayError(
            f"{what}: {file.name} is not the file that was installed (its {file.hash.mode} differs); install the package again: "
            "pip install --no-deps --force-reinstall"
        )


def require_space(folder: Path, size: int, what: str) -> None:
    """Check that the disk of a folder has room for this many bytes."""
    free = shutil.disk_usage(folder).free
    if size > free - RESERVE:
        raise HeadwayError(
            f"{what}: needs {size / MB:,.0f} MB, {free / MB:,.0f} MB are free on the disk of {folder}; free some space"
        )
