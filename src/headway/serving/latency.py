"""What model packages cost to serve: how long one text takes, all models measured in turns, and how large they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from headway.errors import HeadwayError
from headway.serving.package import ModelPackage

#: Texts that are measured, and texts that are answered before, so that nothing is done for the first time.
SAMPLE, WARM_UP = 200, 10
ROUNDS = 3


def measure(
    models: Mapping[str, ModelPackage], texts: Sequence[str], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """How long each model takes for one text at a time, in this process, with the threads that PyTorch has been given: the 95th
    percentile over texts of the time from a text to its probabilities, in milliseconds.

    Of the texts, up to 200 are taken, evenly by length: long ones are what the 95th percentile is about. In each of three
    rounds every model answers a text before the next text comes, another model first each time: what else the machine does
    meets all of them alike. A text counts with the fastest of its rounds, since everything else can only add to that.

    Args:
        models: by name, loaded.
        texts: as a server would get them, the test split's.
        clock: seconds.

    Raises:
        HeadwayError: there are no texts.
    """
    if not texts:
        raise HeadwayError("there are no texts to measure the latency on")
    by_length = sorted(texts, key=len)
    chosen = [
        by_length[index] for index in np.linspace(0, len(by_length) - 1, min(SAMPLE, len(by_length))).round().astype(int)
    ]
    names = list(models)
    for text in chosen[-WARM_UP:]:
        for name in names:
            models[name].predict_proba([text])
    seconds = {name: np.zeros((ROUNDS, len(chosen))) for name in names}
    for turn in range(ROUNDS):
        for index, text in enumerate(chosen):
            first = (turn + index) % len(names)
            for name in names[first:] + names[:first]:
                started = clock()
                models[name].predict_proba([text])
                seconds[name][turn, index] = clock() - started
    return {name: float(np.quantile(1000 * taken.min(axis=0), 0.95)) for name, taken in seconds.items()}


def package_bytes(folder: Path) -> int:
    """Size of a model package: of all its files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
