"""What is in data/encoders, for a person: sizes, licences and hashes. No weights are loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from headway.encoders.config import tensors
from headway.encoders.folder import EncoderFiles, names, read
from headway.errors import HeadwayError
from headway.files import bytes_of


@dataclass(frozen=True)
class Listed:
    """An encoder that can be used.

    Attributes:
        name: name of its folder.
        files: its files.
        parameters: number of weights.
        size: bytes of all files in the folder.
    """

    name: str
    files: EncoderFiles
    parameters: int
    size: int


def listing(encoders: Path) -> tuple[list[Listed], list[str]]:
    """The encoders that can be used, and for each other folder in data/encoders why it cannot be."""
    found, problems = [], []
    for name in names(encoders):
        try:
            files = read(encoders, name)
            found.append(Listed(name, files, parameters(files), bytes_of(files.folder.resolve())))
        except HeadwayError as error:
            problems.append(str(error))
    return found, problems


def parameters(files: EncoderFiles) -> int:
    """Number of weights, of whatever precision; buffers of long integers, such as positions, are not counted."""
    headers = [tensors(path) for path in files.weights]
    return sum(
        math.prod(shape) for header in headers for kind, shape in header.values() if kind.startswith(("F", "BF", "I8"))
    )
