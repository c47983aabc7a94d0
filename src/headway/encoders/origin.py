"""Where an encoder comes from, and which of the files there are taken."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from headway.encoders.folder import CONFIG, INDEX, README, TOKENIZER, WEIGHTS
from headway.errors import HeadwayError

#: What is taken beside the weights: no pickles, no code, nothing for other frameworks.
TAKEN = (CONFIG, TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", README)
LICENCE = re.compile(r"(?:licen[cs]e|notice)(?:[.\-].*)?", re.IGNORECASE)
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


def require_space(folder: Path, size: int, what: str) -> None:
    """Check that the disk of a folder has room for this many bytes."""
    free = shutil.disk_usage(folder).free
    if size > free - RESERVE:
        raise HeadwayError(
            f"{what}: needs {size / MB:,.0f} MB, {free / MB:,.0f} MB are free on the disk of {folder}; free some space"
        )
