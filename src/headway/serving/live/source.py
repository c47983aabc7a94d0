"""Where the model that answers comes from. A folder is read here; registered models are read by :mod:`headway.registry.sources`.

The registry is a layer above, because it knows MLflow, which is not needed to serve a package on disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from headway.errors import HeadwayError
from headway.serving.live.model import ServedModel, load
from headway.serving.package import fingerprint


class ModelSource(Protocol):
    """Says which model is to be served, and fetches it."""

    @property
    def moves(self) -> bool:
        """Whether another model may be served later without anybody's hint, as with an alias."""
        ...

    def newest(self) -> str:
        """A key that is different for another model.

        Raises:
            Unreachable: the registry does not answer.
            HeadwayError: there is no such model.
        """
        ...

    def fetch(self, key: str) -> ServedModel:
        """The model with a key, with its hashes checked and its golden predictions replayed.

        Raises:
            Unreachable: its files cannot be fetched, which does not mean that they are lost.
            HeadwayError: it is missing, damaged or altered, or gives other answers than when it was saved.
        """
        ...


class FolderSource:
    """The package in a folder; its key is its fingerprint. A package that replaces it is served after a hint."""

    moves = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def newest(self) -> str:
        """The fingerprint of the package that is in the folder now; HeadwayError if there is none."""
        return fingerprint(self.folder)

    def fetch(self, key: str) -> ServedModel:
        """The package in the folder; HeadwayError if it is damaged, or another one than that of the key."""
        served = load(self.folder, self.folder.resolve().name)
        if served.fingerprint != key:
            raise HeadwayError(f"{self.folder}: the model package was replaced while it was read; it is read again")
        return served
