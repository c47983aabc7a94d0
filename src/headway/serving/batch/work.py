"""What runs for each part: in this process, or in a worker process that loads the model once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headway.serving.package import ModelPackage


@lru_cache(maxsize=1)
def package_in(folder: Path) -> ModelPackage:
    """The model package in a folder, loaded once."""
    return ModelPackage.load(folder)


def classify(folder: Path, texts: Sequence[str | None], _report: Any) -> tuple[np.ndarray, list[str]]:
    """Probabilities and reasons of a part's texts, see :meth:`headway.serving.package.ModelPackage.classify`.

    PyTorch has one thread, whatever the number of workers: sums over more threads differ in the last bit, and then the output
    would depend on the machine's load and on ``--workers``.
    """
    package = package_in(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return package.classify(texts)
    finally:
        torch.set_num_threads(threads)
