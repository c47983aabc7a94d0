"""The guard after a promotion: how soon a better former champion is found, and how often an equal one is brought back."""

from __future__ import annotations

import numpy as np

from benchmarks.monitor.quiet import ALPHA
from benchmarks.monitor.tables import Table, delay, rate
from headway.monitoring.guard import log10_capital

DISAGREEMENTS, GAINS = (0.05, 0.1, 0.2), (0.01, 0.02, 0.04)
#: Labelled rows, at most.
LONGEST = 50_000
#: Streams that are simulated at once.
BLOCK = 500


def guarded(streams: int, seed: int) -> Table:
    """Labels until a better former champion is found, and the share of equal ones that are ever brought back."""
    table = Table(
        "Guard: labelled rows until a better former champion is found",
        f"Median / 90% quantile over {max(1, streams // 10):,} streams of up to {LONGEST:,} labelled rows that both models"
        f" answered, α {ALPHA:.0%}; “–”: not found by then. Equal: share of {streams:,} streams of equal models that are rolled"
        " back at any time, with its 95% interval.",
        ("disagreement", *(f"better by {100 * gain:.1f} points" for gain in GAINS), "equal", "95% interval"),
    )
    for disagreement in DISAGREEMENTS:
        cells = [delay(labels_until_found(max(1, streams // 10), disagreement, gain, seed)) for gain in GAINS]
        equal = np.isfinite(labels_until_found(streams, disagreement, 0.0, seed))
        table.rows.append((f"{disagreement:.0%}", *cells, *rate(equal)))
    return table


def labels_until_found(streams: int, disagreement: float, gain: float, seed: int) -> np.ndarray:
    """Labelled rows until the capital reaches 1 / α, float, (streams,); infinite if more than LONGEST are needed.

    Args:
        streams: how many.
        disagreement: share of the rows that exactly one of the two models gets right.
        gain: accuracy of the former champion minus that of the champion, at most the disagreement.
    """
    random = np.random.default_rng(seed)
    discordant = int(LONGEST * disagreement + 6 * np.sqrt(LONGEST * disagreement))
    needed = wins_needed(discordant)
    chance = 0.5 + gain / (2 * disagreement)
    labels = []
    for start in range(0, streams, BLOCK):
        size = min(BLOCK, streams - start)
        wins = np.cumsum(random.random((size, discordant), dtype=np.float32) < chance, axis=1, dtype=np.int32)
        reached = wins >= needed
        first = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, 0)  # 0: never
        # The number of labels up to a discordant row: as many as there are, and the concordant ones between them.
        number = first + np.where(first > 0, random.negative_binomial(np.maximum(first, 1), disagreement), 0)
        labels.append(np.where((first > 0) & (number <= LONGEST), number, np.inf))
    return np.concatenate(labels)


def wins_needed(discordant: int) -> np.ndarray:
    """The fewest rows of the former champion among the first 1, 2, … discordant ones with a capital of 1 / α, (discordant,).

    The capital grows with that number, so it is found by bisection; one more than there are rows if no number suffices.
    """
    rows = np.arange(1, discordant + 1)
    low, high = rows // 2, rows + 1  # the capital is below 1 / α at low; high suffices, or is impossible
    while (high - low > 1).any():
        middle = (low + high) // 2
        enough = log10_capital(middle, rows - middle) >= -np.log10(ALPHA)
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high
