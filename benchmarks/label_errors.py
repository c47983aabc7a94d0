"""How many wrong labels `headway label-errors` finds, if 2% of the labels of the shipped sets are replaced.

`make bench-labels` runs it. All other labels count as right, although some reviews are mislabelled, so the true precision is
somewhat higher.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks.shipped import SUBSETS, params_for, prepared
from headway import environment
from headway.data.text.splits import SPLITS
from headway.label_errors import contradicted, out_of_fold
from headway.params import Params
from headway.tables import read_table

WRONG = 0.02  # share of the labels that are replaced


@dataclass(frozen=True)
class Outcome:
    """One run."""

    wrong: np.ndarray  # whether a row's label was replaced, bool, (rows,)
    listed: np.ndarray  # indices of the rows listed, the surest first
    accuracy: float  # of the models, on the labels that they saw
    seconds: float

    def precision(self, rows: int) -> float:
        """Share of wrong labels among the first rows of the list."""
        return float(self.wrong[self.listed[:rows]].mean())

    def recall(self, rows: int) -> float:
        """Share of the wrong labels that the first rows of the list hold."""
        return float(self.wrong[self.listed[:rows]].sum() / self.wrong.sum())


def main() -> None:
    """Print a row for each set, with means over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SUBSETS, default=SUBSETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-rows", type=int, default=0, help="size of a sample; 0: all rows")
    arguments = parser.parse_args()
    environment.configure()
    console = Console()
    columns = ("set", "rows", "wrong", "accuracy", "top 0.5%: precision", "top 2%: precision", "recall")
    table = Table(*columns, "whole list: rows", "precision", "recall", "s", title="2% of the labels replaced at random")
    for subset in arguments.only:
        params = params_for(subset, arguments.max_rows)
        outcomes = [measure(params, seed) for seed in range(1, arguments.seeds + 1)]
        rows, wrong = len(outcomes[0].wrong), int(outcomes[0].wrong.sum())
        whole = [len(one.listed) for one in outcomes]
        table.add_row(
            subset,
            f"{rows:,}",
            f"{wrong:,}",
            f"{np.mean([one.accuracy for one in outcomes]):.3f}",
            _mean([one.precision(max(1, wrong // 4)) for one in outcomes]),
            _mean([one.precision(wrong) for one in outcomes]),
            _mean([one.recall(wrong) for one in outcomes]),
            f"{np.mean(whole):,.0f}",
            _mean([one.precision(size) for one, size in zip(outcomes, whole, strict=True)]),
            _mean([one.recall(size) for one, size in zip(outcomes, whole, strict=True)]),
            f"{np.mean([one.seconds for one in outcomes]):.0f}",
        )
    console.print(table)


def measure(params: Params, seed: int) -> Outcome:
    """Replace 2% of the labels by another class at random, and list what is contradicted."""
    layout = prepared(params, "bench-labels")
    rows = pa.concat_tables([read_table(layout.prepared / f"{split}.parquet", made_by="prepare") for split in SPLITS])
    labels = rows["label_id"].to_numpy().copy()
    classes = int(labels.max()) + 1
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(labels), round(WRONG * len(labels)), replace=False)
    labels[chosen] = (labels[chosen] + draw.integers(1, classes, size=len(chosen))) % classes
    started = time.monotonic()
    probabilities = out_of_fold(rows["text"].to_pylist(), labels, params.baseline, seed)
    listed = contradicted(labels, probabilities)
    wrong = np.zeros(len(labels), dtype=bool)
    wrong[chosen] = True
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return Outcome(wrong, listed, accuracy, time.monotonic() - started)


def _mean(values: list[float]) -> str:
    return f"{np.mean(values):.3f}"


if __name__ == "__main__":
    main()
