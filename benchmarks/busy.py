"""Training throughput in processes with different settings of OpenMP, measured in turns: the busy row of the speed benchmark.

OpenMP reads its environment variables when it is loaded, so each setting needs a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

#: What keeps a core busy, and ends with this process.
BUSY_LOOP = "from headway.process import die_with_parent\ndie_with_parent()\nwhile True: pass"


@contextmanager
def busy_loops(number: int) -> Iterator[None]:
    """Other processes that use as many cores until the block ends, each in a session of its own, as other users' are."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP], start_new_session=True) for _ in range(number)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


class Worker:
    """A process that trains on the project's encoded rows when it is asked to.

    Args:
        variables: of its environment, besides the inherited ones.
        without: names of variables that it does not inherit.
        tokens_per_batch: padding included.
        threads: of the training.
    """

    def __init__(self, variables: Mapping[str, str], without: Sequence[str], tokens_per_batch: int, threads: int) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in without}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.busy", str(tokens_per_batch), str(threads)],
            env=inherited | dict(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def train(self, seconds: float) -> float:
        """Train for so many seconds; returns tokens per second, padding included."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def main(tokens_per_batch: int, threads: int) -> None:
    """For each line of the standard input, train for that many seconds, and print the tokens per second."""
    from torch.utils.data import DataLoader

    from benchmarks.shipped import PLAIN
    from benchmarks.trainees import ours
    from headway import params as parameters
    from headway.data.batching import TextBatches, TokenBudgetSampler
    from headway.data.tokenization import tokenizer
    from headway.data.tokenization.encoded import EncodedTexts
    from headway.files import read_json
    from headway.layout import Layout
    from headway.model.training import pin

    layout = Layout.find()
    params = parameters.load(layout.params).override(PLAIN)
    pin(threads)
    texts = EncodedTexts.open(layout.encoded / "train.arrow")
    data = TextBatches(texts, params.model.max_length)
    loader = DataLoader(data, sampler=TokenBudgetSampler(data.lengths, tokens_per_batch, params.seed), batch_size=None)

    def endlessly() -> Iterator[tuple[object, object]]:
        while True:
            yield from loader

    source = endlessly()
    trained, end = 0, 0.0

    def batches() -> Iterator[tuple[object, object]]:
        nonlocal trained
        trained = 0
        while time.perf_counter() < end:
            tokens, labels = next(source)
            trained += tokens.numel()  # type: ignore[attr-defined]
            yield tokens, labels

    n_classes = len(read_json(layout.prepared / "labels.json", made_by="prepare"))
    vocabulary_size = tokenizer.load(layout.encoded / "tokenizer.json").get_vocab_size()
    trainee = ours(batches, params, vocabulary_size, n_classes)  # type: ignore[arg-type]
    for line in sys.stdin:
        began = time.perf_counter()
        end = began + float(line)
        trainee.epoch()
        sys.stdout.write(f"{trained / (time.perf_counter() - began)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
