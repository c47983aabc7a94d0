"""Cost of serving model packages: latency for one text, measured for several models in alternation, and size."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from headway.serving.package import ModelPackage

#: Number of texts to measure, and of texts to predict first so that caches are warm.
SAMPLE, WARM_UP = 200, 10
ROUNDS = 3


@dataclass(frozen=True)
class MachineLoad:
    """How busy a machine is: processes that run or wait to run, on average over the last minute, and cores for this process."""

    average: float
    cores: int

    @classmethod
    def now(cls) -> Self | None:
        """The load now; None where the operating system does not say."""
        try:
            return cls(os.getloadavg()[0], len(os.sched_getaffinity(0)))
        except (OSError, AttributeError):  # not every system has both
            return None


def measure(
    models: Mapping[str, ModelPackage], texts: Sequence[str], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Latency of each model: the 95th percentile over texts of the time from one text to its probabilities, in milliseconds.

    It is measured in this process with PyTorch's current number of threads, on up to 200 texts of evenly spaced length ranks,
    because the percentile depends on the long ones. In each of three rounds all models predict a text before the next text, in
    rotating order, so that other load on the machine affects them equally. The fastest round of a text counts, because other
    load only adds time. HeadwayError if ``texts`` is empty.
    """
    if not texts:
        raise HeadwayError("no texts to measure the latency with; expected at least one")
    by_length = sorted(texts, key=len)
    chosen = [
        by_length[index] for index in np.linspace(0, len(by_length) - 1, min(SAMPLE, len(by_length))).round().astype(int)
    ]
    names = list(models)
    for text in chosen[-WARM_UP:]:
        for name in names:
            models[name].predict_proba([text])
    seconds = {name: np.zeros((ROUNDS, len(chosen))) for name in names}
    for round_number in range(ROUNDS):
        for index, text in enumerate(chosen):
            first = (round_number + index) % len(names)
            for name in names[first:] + names[:first]:
                started = clock()
                models[name].predict_proba([text])
                seconds[name][round_number, index] = clock() - started
    return {name: float(np.quantile(1000 * taken.min(axis=0), 0.95)) for name, taken in seconds.items()}


def package_bytes(folder: Path) -> int:
    """Total size of a model package's files, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
