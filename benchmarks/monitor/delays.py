"""How many rows pass until a change is noticed, without labels and with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

from benchmarks.monitor.lockstep import Lockstep
from benchmarks.monitor.quiet import ALPHA, SCORES
from benchmarks.monitor.tables import Table, delay, rate
from headway.monitoring.loss import LossMartingale

#: p-values under drift, of the same shape, from uniform numbers.
Drift = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def shifted(by: float) -> Drift:
    """All scores are higher by a number of standard deviations of a normal score."""
    return lambda uniform, _: np.asarray(ndtr(ndtri(uniform) - by))


def scaled(by: float) -> Drift:
    """All scores, normal ones, are further from or closer to their mean by a factor."""
    return lambda uniform, _: np.asarray(ndtr(by * ndtri(uniform)))


def contaminated(share: float) -> Drift:
    """A share of the rows has scores that 2% of the earlier rows had."""
    return lambda uniform, random: np.where(random.random(len(uniform)) < share, 0.02 * uniform, uniform)


DRIFTS = {
    **{f"all rows, score +{by:g} sd": shifted(by) for by in (0.25, 0.5, 1, 2)},
    **{f"{share:.0%} of the rows, p below 0.02": contaminated(share) for share in (0.1, 0.3)},
    "all rows, score 1.5 times as wide": scaled(1.5),
    "all rows, score half as wide": scaled(0.5),
}
#: Rows before the change.
STARTS = (0, 1_000, 20_000, 100_000)
#: Rows after it, at most.
LONGEST = 20_000
#: The promised accuracy minus the margin, how far the accuracy falls below it, and labelled rows before.
LEAST, FALLS, LABELLED_STARTS = 0.9, (0.01, 0.02, 0.05, 0.1), (0, 1_000, 10_000)


def delays_of_drift(streams: int, seed: int) -> Table:
    """Rows from the change to the alarm of the one score that drifts."""
    table = Table(
        "Drift: rows until the alarm",
        f"Median / 90% quantile over {streams:,} streams; the capital of the score that drifts has to reach"
        f" {SCORES / ALPHA:.0f}, as one of {SCORES} scores at α {ALPHA:.0%}. “–”: more than {LONGEST:,} rows.",
        ("change", *(f"after {start:,} rows" for start in STARTS)),
    )
    random = np.random.default_rng(seed)
    cells: dict[str, list[str]] = {name: [] for name in DRIFTS}
    quiet = Lockstep(streams)
    for start in STARTS:
        while quiet.rows < start:
            quiet.step(random.random(streams))
        for name, drift in DRIFTS.items():
            cells[name].append(delay(rows_until_alarm(quiet.kept(np.ones(streams, dtype=bool)), drift, random)))
    table.rows = [(name, *of_drift) for name, of_drift in cells.items()]
    return table


def rows_until_alarm(capitals: Lockstep, drift: Drift, random: np.random.Generator) -> np.ndarray:
    """Rows until each stream alarms under drift, float, (streams,); infinite if it takes more than LONGEST."""
    rows = np.full(len(capitals.capital), np.inf)
    waiting = np.arange(len(rows))
    for row in range(1, LONGEST + 1):
        found = capitals.step(drift(random.random(len(waiting)), random)) >= SCORES / ALPHA
        if found.any():
            rows[waiting[found]] = row
            waiting, capitals = waiting[~found], capitals.kept(~found)
            if not len(waiting):
                break
    return rows


def delays_of_loss(streams: int, seed: int) -> Table:
    """Labelled rows from the loss to the alarm."""
    table = Table(
        "Loss: labelled rows until the alarm",
        f"Median / 90% quantile over {streams:,} streams; the lowest accepted accuracy is {LEAST:.0%}, α {ALPHA:.0%}; before the"
        f" loss the accuracy is 2 points above it. “–”: more than {LONGEST:,} rows.",
        ("accuracy falls to", *(f"after {start:,} rows" for start in LABELLED_STARTS)),
    )
    random = np.random.default_rng(seed)
    for fall in FALLS:
        cells = []
        for start in LABELLED_STARTS:
            right = [
                np.concatenate([random.random(start) < LEAST + 0.02, random.random(LONGEST) < LEAST - fall])
                for _ in range(streams)
            ]
            cells.append(delay(np.array([_rows_until_loss(one, start) for one in right])))
        table.rows.append((f"{LEAST - fall:.0%}", *cells))
    return table


def false_losses(streams: int, rows: int, seed: int) -> Table:
    """Accuracies exactly at the limit: how many streams ever get an alarm."""
    table = Table(
        "No loss: streams with any false alarm",
        f"{streams:,} streams of {rows:,} labelled rows whose accuracy is exactly the lowest accepted one, α {ALPHA:.0%}.",
        ("accuracy", "streams with a false alarm", "95% interval"),
    )
    for least in (0.7, 0.9, 0.98):
        random = np.random.default_rng(seed)
        found = []
        for _ in range(streams):
            martingale = LossMartingale(least, [1 / ALPHA])
            martingale.update(random.random(rows) < least)
            found.append(martingale.crossed_at(1 / ALPHA) is not None)
        table.rows.append((f"{least:.0%}", *rate(np.array(found))))
    return table


def _rows_until_loss(right: np.ndarray, start: int) -> float:
    """Rows after ``start`` until the alarm; infinite if there is none after it."""
    martingale = LossMartingale(LEAST, [1 / ALPHA])
    for part in np.split(right, range(start or 500, len(right), 500)):
        martingale.update(part)
        crossed = martingale.crossed_at(1 / ALPHA)
        if crossed is not None:
            return float(crossed - start) if crossed > start else np.inf
    return np.inf
