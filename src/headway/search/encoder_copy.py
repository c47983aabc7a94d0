"""The files of a pretrained encoder as a value that can be sent to another machine, for trials that fine-tune it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from headway.encoders import EncoderFiles
from headway.encoders.folder import check
from headway.errors import HeadwayError
from headway.files import TEMPORARY_PREFIX


@dataclass(frozen=True)
class EncoderCopy:
    """An encoder's files in memory.

    Attributes:
        files: content by name, uint8, (bytes,).
        fingerprint: of the files when they were checked; see :class:`headway.encoders.EncoderFiles`.
    """

    files: dict[str, np.ndarray]
    fingerprint: str

    @classmethod
    def of(cls, encoder: EncoderFiles) -> Self:
        return cls({name: np.fromfile(encoder.folder / name, np.uint8) for name in encoder.sha256}, encoder.fingerprint)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder on this machine with the files, which disappears with the block.

        Raises:
            HeadwayError: they are not the files that were checked.
        """
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as name:
            for file, content in self.files.items():
                content.tofile(Path(name) / file)
            if check(Path(name), None).fingerprint != self.fingerprint:
                raise HeadwayError("the encoder's files changed while they were read or sent; run the search again")
            yield Path(name)
