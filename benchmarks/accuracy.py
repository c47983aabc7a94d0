"""Accuracy of the classifier on rows it was not trained on, compared with the linear baseline on the same rows.

``make bench-accuracy`` trains the configuration of params.yaml on five folds, so that each row is scored once by a model that
was neither trained nor selected on it (``benchmarks/folds.py``). Finished fits are kept in ``.headway/bench-accuracy``, so that
an interrupted run can continue.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from benchmarks.folds import BASELINE, FOLDS, JOINT, PARTS, Fold, Folds, keep
from benchmarks.shipped import SUBSETS, params_for
from benchmarks.targets import Target, print_targets
from headway.data.text.splits import SPLITS
from headway.evaluation.metrics import Interval
from headway.files import sha256_of_file
from headway.params import Params
from headway.promotion.bootstrap import bootstrap_mean

MODELS = (BASELINE, *PARTS, JOINT)
#: Targets for the gain in accuracy of the joint model over the linear baseline, in points.
LEAST = {"imdb": 1.0, "rotten_tomatoes": 0.0}


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subset", nargs="+", default=SUBSETS, choices=SUBSETS)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of the attention part in each fold")
    parser.add_argument("--folds", type=int, default=FOLDS, help="fewer for a quick look")
    parser.add_argument("--max-rows", type=int, default=0, help="a sample of the rows, for a quick look")
    parser.add_argument(
        "--word-vectors", type=Path, help="a file that embeddings start from, as tokenizer.word_vectors names one"
    )
    arguments = parser.parse_args()
    console = Console(width=max(130, Console().width))
    targets: list[Target] = []
    for subset in arguments.subset:
        params = params_for(subset, arguments.max_rows)
        scores = Scores(params, arguments.word_vectors)
        folds = [scores.of(number, arguments.seeds, console) for number in range(arguments.folds)]
        console.print(table(subset, folds, params))
        targets.append(target(subset, _above(folds, JOINT, params)))
    print_targets(console, targets)


class Scores:
    """Scores of the models on all rows of a data set.

    Args:
        params: of everything.
        word_vectors: a file from which embeddings are initialised.
    """

    def __init__(self, params: Params, word_vectors: Path | None = None) -> None:
        self.params, self.word_vectors = params, word_vectors
        self.folds = Folds(params, "bench-accuracy", SPLITS)
        self._name = f"from-{sha256_of_file(word_vectors)[:8]}-" if word_vectors else ""

    def of(self, number: int, seeds: int, console: Console) -> dict[str, np.ndarray]:
        """By model: correctness on the test rows of a fold, bool, (seeds, rows), and seconds of each fit, (seeds,)."""
        found: dict[str, list[np.ndarray]] = {}
        for seed in range(1, seeds + 1):
            path = self.folds.folder / f"{self._name}fold-{number}-seed-{seed}.npz"
            if not path.exists():
                console.print(f"{self.params.data.subset}: fold {number + 1} of {FOLDS}, seed {seed} of {seeds}")
                keep(path, **self._fit(self.folds.fold(number), self.params.override({"seed": seed})))
            with np.load(path) as kept:
                for name in kept.files:
                    found.setdefault(name, []).append(kept[name])
        return {name: np.stack(values) for name, values in found.items()}

    def _fit(self, fold: Fold, knobs: Params) -> dict[str, np.ndarray]:
        ngrams, linear_seconds = fold.ngrams(knobs)
        start = fold.vectors(self.word_vectors)
        started = time.monotonic()
        model = fold.joined(ngrams, fold.attention(knobs, start))
        seconds = {**fold.seconds, PARTS[0]: linear_seconds, PARTS[1]: time.monotonic() - started}
        seconds[JOINT] = seconds["tokenizer"] + seconds[PARTS[0]] + seconds[PARTS[1]]
        right = {BASELINE: fold.baseline_right, **dict(zip((*PARTS, JOINT), fold.right(fold.logits(model)), strict=True))}
        return {**right, **{f"{name} seconds": np.array(value) for name, value in seconds.items()}}


def target(subset: str, above: Interval) -> Target:
    """The gain of the joint model over the linear baseline and whether it meets its target, significantly if that is above 0."""
    least = LEAST[subset]
    words = f"{subset}: {100 * above.value:+.2f} points above the linear baseline, target {least:+.1f}"
    return words, 100 * above.value >= least and (not least or above.low > 0)


def _above(scores: Sequence[dict[str, np.ndarray]], name: str, params: Params) -> Interval:
    """Gain in accuracy over the baseline, the mean over seeds, with a paired bootstrap interval over rows."""
    both = [np.concatenate([fold[one] for fold in scores], axis=1).mean(axis=0) for one in (name, BASELINE)]
    return bootstrap_mean(both[0] - both[1], params.gate.confidence, params.gate.bootstrap_samples, params.seed)


def table(subset: str, scores: Sequence[dict[str, np.ndarray]], params: Params) -> Table:
    """Accuracies pooled over the folds, and gains over the baseline with their evidence."""
    pooled = {name: np.concatenate([fold[name] for fold in scores], axis=1) for name in MODELS}
    seeds, n = pooled["joint"].shape
    shown = Table("model", "accuracy", "by seed", "points above the baseline", "wins : losses", "McNemar p", "s a fit")
    shown.title = f"{subset}: {n:,} rows, each scored by a model that never saw it; {len(scores)} folds, {seeds} seeds"
    for name in MODELS:
        interval = _above(scores, name, params)
        above = f"{100 * interval.value:+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"
        wins = int((pooled[name][0] > pooled[BASELINE][0]).sum())
        losses = int((pooled[name][0] < pooled[BASELINE][0]).sum())
        p = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        seconds = np.concatenate([fold[f"{name} seconds"].ravel() for fold in scores])
        compared = name != BASELINE
        shown.add_row(
            name,
            f"{pooled[name].mean():.4f}",
            " ".join(f"{value:.4f}" for value in pooled[name].mean(axis=1)) if name in MODELS[2:] else "",
            above if compared else "",
            f"{wins} : {losses}" if compared else "",
            f"{p:.1g}" if compared else "",
            f"{np.median(seconds):.0f}",
        )
    level = f"{params.gate.confidence:.0%}"
    shown.caption = (
        f"{level} paired bootstrap over rows, of the mean over seeds; wins, losses and exact McNemar test of seed 1"
    )
    return shown


if __name__ == "__main__":
    main()
