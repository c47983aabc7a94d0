"""What runs for each part: in this process, or in a worker process, perhaps on another machine, that loads the model once."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from headway.files import TEMPORARY_PREFIX
from headway.serving.package import CONFIG, ModelPackage, fingerprint
from headway.serving.package.config import read_config


@dataclass(frozen=True)
class PackageCopy:
    """A model package in memory, which can be sent to a machine that does not have its folder.

    Attributes:
        fingerprint: of the package; copies with the same one are equal.
        files: content by name, uint8, (bytes,). Ray maps such arrays into all workers of a machine, so it has them once.
    """

    fingerprint: str
    files: dict[str, np.ndarray] = field(compare=False)

    @classmethod
    def of(cls, folder: Path) -> Self:
        names = (CONFIG, *read_config(folder).files)
        return cls(fingerprint(folder), {name: np.fromfile(folder / name, np.uint8) for name in names})

    def load(self) -> ModelPackage:
        """The package; HeadwayError if its files are not those that were saved."""
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
            for name, content in self.files.items():
                content.tofile(Path(folder) / name)
            return ModelPackage.load(Path(folder))


@lru_cache(maxsize=1)
def package_in(model: Path | PackageCopy) -> ModelPackage:
    """The model package in a folder or in memory, loaded once."""
    return model.load() if isinstance(model, PackageCopy) else ModelPackage.load(model)


def classify(model: Path | PackageCopy, texts: Sequence[str | None], _report: Any) -> tuple[np.ndarray, list[str]]:
    """Probabilities and reasons of a part's texts, see :meth:`headway.serving.package.ModelPackage.classify`.

    PyTorch has one thread, whatever the number of workers: sums over more threads differ in the last bit, and then the output
    would depend on the machine's load and on ``--workers``.
    """
    package = package_in(model)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return package.classify(texts)
    finally:
        torch.set_num_threads(threads)
