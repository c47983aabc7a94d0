"""The effect of each option of the classifier: it is switched off or changed, and everything else stays the same.

Variants that Headway does not offer are measured too (``benchmarks/ideas.py``).

``make bench-ablation`` trains each variant with three seeds, each on a different fold of the training and validation rows
(``benchmarks/folds.py``), and scores it on rows it was not trained on. The test split is not read, because no choice may depend
on it. The results are written to ``benchmarks/ablation.md``. Finished fits are kept in ``.headway/bench-ablation``, so that an
interrupted run can continue.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import itertools
import multiprocessing
import shlex
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from inspect import getsource
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy.special import log_softmax

from benchmarks import ideas
from benchmarks.folds import FOLDS, Fold, Folds, keep
from benchmarks.ideas import IDEAS
from benchmarks.shipped import PROJECT, SUBSETS, params_for
from headway.evaluation.metrics import Interval
from headway.files import sha256_of_file, sha256_of_json
from headway.params import Params
from headway.promotion.bootstrap import bootstrap_mean

PAGE = PROJECT / "benchmarks" / "ablation.md"
USUAL = "as in params.yaml"
VECTORS = "from word vectors"
VARIANTS: dict[str, dict[str, Any]] = {
    USUAL: {},
    "cosine similarity": {"model.similarity": "cosine"},
    "no windows: a text attends to all of itself": {"model.window_size": 0},
    "no embeddings of pairs": {"model.bigram_buckets": 0},
    "two layers": {"model.n_layers": 2},
    "four heads": {"model.n_heads": 4},
    "twice as wide": {"model.d_model": 128, "model.dim_feedforward": 256},
    "no embedding dropout": {"model.embedding_dropout": 0.0},
    "no dropout in blocks": {"model.dropout": 0.0},
    "no dropout of pairs": {"model.bigram_dropout": 0.0},
    "no warm-up": {"training.warmup_ratio": 0.0},
    "hardly any gradient clipping": {"training.gradient_clip_val": 1e6},
    "linear part with inverse regularisation 100": {"ngrams.inverse_regularisation": [100.0]},
    "linear part without triples": {"ngrams.max_order": 2},
    "linear part of single words": {"ngrams.max_order": 1},
    "no linear part": {"ngrams.max_order": 0},
    **{name: {} for name in IDEAS},
    "idea: first token, no windows": {"model.window_size": 0},
}


def main() -> None:
    """Train the missing variants and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subset", default="imdb", choices=SUBSETS)
    parser.add_argument("--max-rows", type=int, default=0, help="a sample of the rows, for a quick try")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, FOLDS + 1), help="each with a fold of its own")
    parser.add_argument("--workers", type=int, default=1, help="trainings at the same time, which share the threads")
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="VARIANT")
    parser.add_argument("--word-vectors", type=Path, help=f"a file for one more variant, {VECTORS!r}")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    names = list(dict.fromkeys([USUAL, *arguments.only, *([VECTORS] if arguments.word_vectors else [])]))
    params = params_for(arguments.subset, arguments.max_rows)
    params = params.override({"training.threads": max(1, params.training.threads // arguments.workers)})
    fits = Fits(Folds(params, "bench-ablation", ("train", "validation")), arguments.word_vectors)
    fits.make(by_attention(names), range(1, arguments.seeds + 1), arguments.workers, Console())
    found = {name: [fits.of(name, seed) for seed in range(1, arguments.seeds + 1)] for name in names}
    command = f"python -m benchmarks.ablation --subset {arguments.subset} --seeds {arguments.seeds}"
    command += f" --max-rows {arguments.max_rows}" if arguments.max_rows else ""
    command += f" --workers {arguments.workers}" if arguments.workers > 1 else ""
    command += f" --only {shlex.join(arguments.only)}" if arguments.only != list(VARIANTS) else ""
    command += f" --word-vectors {arguments.word_vectors.name}" if arguments.word_vectors else ""
    arguments.out.write_text(page(found, params, command), encoding="utf-8")
    Console().print(f"written: {arguments.out}")


def by_attention(names: Sequence[str]) -> list[list[str]]:
    """Groups of variants with the same attention part, which is trained once per group."""
    groups: dict[str, list[str]] = {}
    for name in names:
        knobs = {path: value for path, value in VARIANTS.get(name, {}).items() if not path.startswith("ngrams.")}
        apart = name if name in IDEAS or name == VECTORS else ""
        groups.setdefault(sha256_of_json([knobs, apart]), []).append(name)
    return list(groups.values())


@dataclass(frozen=True)
class Fit:
    """A variant trained with one seed, and its predictions on the test rows of its fold.

    Attributes:
        baseline: whether the linear baseline is correct, bool, (rows,).
        right: whether the linear part, the attention part and the joint model are correct, bool, (3, rows).
        loss: negative log-likelihood of the joint model per row, in nats, (rows,).
        seconds: training time of the attention part.
    """

    baseline: np.ndarray
    right: np.ndarray
    loss: np.ndarray
    seconds: float


class Fits:
    """Fits of the variants on one data set.

    Args:
        folds: of its rows.
        word_vectors: a file, for the variant whose embeddings are initialised from it.
    """

    def __init__(self, folds: Folds, word_vectors: Path | None = None) -> None:
        self.folds, self.word_vectors = folds, word_vectors
        self._vectors_hash = sha256_of_file(word_vectors) if word_vectors else ""

    def make(self, groups: Sequence[Sequence[str]], seeds: Sequence[int], workers: int, console: Console) -> None:
        """Train each group of variants with each seed, except finished ones."""
        missing = [
            (alike, seed)
            for alike, seed in itertools.product(groups, seeds)
            if not all(self._path(name, seed).exists() for name in alike)
        ]
        folds = {seed: self.folds.fold(seed - 1) for seed in sorted({seed for _, seed in missing})}
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            waiting = {}
            for alike, seed in missing:
                paths = {name: self._path(name, seed) for name in alike}
                vectors = self.word_vectors if alike[0] == VECTORS else None
                waiting[pool.submit(_train, self.folds.params, folds[seed], seed, paths, vectors)] = (
                    f"{alike[0]}, seed {seed}"
                )
            for number, done in enumerate(as_completed(waiting), 1):
                done.result()
                console.print(f"trained {number} of {len(waiting)}: {waiting[done]}")

    def of(self, name: str, seed: int) -> Fit:
        """A finished fit."""
        with np.load(self._path(name, seed)) as kept:
            return Fit(kept["baseline"], kept["right"], kept["loss"], float(kept["seconds"]))

    def _path(self, name: str, seed: int) -> Path:
        how = hashlib.sha256(getsource(ideas).encode()).hexdigest() if name in IDEAS else ""
        how = self._vectors_hash if name == VECTORS else how
        return self.folds.folder / "fits" / f"{sha256_of_json([name, VARIANTS.get(name), seed, how])[:12]}.npz"


def _train(params: Params, fold: Fold, seed: int, paths: Mapping[str, Path], word_vectors: Path | None) -> None:
    """Train variants with the same attention part and save their predictions."""
    first = next(iter(paths))
    start = fold.vectors(word_vectors)
    started = time.monotonic()
    with IDEAS.get(first, nullcontext)():
        knobs = params.override({**VARIANTS.get(first, {}), "seed": seed})
        attention = fold.attention(knobs, start)
        seconds = time.monotonic() - started
        for name, path in paths.items():
            ngrams, _ = fold.ngrams(params.override(VARIANTS.get(name, {})))
            logits = fold.logits(fold.joined(ngrams, attention))
            labels = fold.part("test").labels
            keep(
                path,
                baseline=fold.baseline_right,
                right=fold.right(logits),
                loss=-np.take_along_axis(log_softmax(logits[2], axis=1), labels[:, None], axis=1)[:, 0],
                seconds=seconds,
            )


def page(found: Mapping[str, Sequence[Fit]], params: Params, command: str) -> str:
    """The table as Markdown, with the command that makes it.

    Args:
        found: fits by variant, one per seed, USUAL included; a seed has the same rows in all variants.
        params: of everything.
        command: that makes the page.
    """
    usual = found[USUAL]
    lines = []
    for name, fits in found.items():
        points = _interval([100.0 * fit.right[2] - 100.0 * at.right[2] for fit, at in zip(fits, usual, strict=True)], params)
        worse = [1000 * (fit.loss - at.loss) for fit, at in zip(fits, usual, strict=True)]
        nats, by_seed = _interval(worse, params), " ".join(f"{one.mean():+.1f}" for one in worse)
        lines.append(
            f"| {name} | {_accuracy(fits, 2):.4f} | {'' if name == USUAL else _formatted(points, 2)} "
            f"| {'' if name == USUAL else _formatted(nats, 1)} | {'' if name == USUAL else by_seed} "
            f"| {_accuracy(fits, 1):.4f} | {statistics.median(fit.seconds for fit in fits):.0f} |"
        )
    rows = sum(fit.right.shape[1] for fit in usual)
    over_linear = _interval([100.0 * fit.right[2] - 100.0 * fit.right[0] for fit in usual], params)
    over_baseline = _interval([100.0 * fit.right[2] - 100.0 * fit.baseline for fit in usual], params)
    level = f"{params.gate.confidence:.0%}"
    return "\n".join(
        [
            "# Effect of each option",
            "",
            f"{params.data.subset}, {datetime.date.today():%d %B %Y}, `{command}`.",
            "",
            f"Each of {len(usual)} seeds is trained on four of five folds of the training and validation rows and scored on the "
            f"fifth, which differs between seeds: {rows:,} rows in total. The test split is not read. Differences are paired by "
            f"row, with a {level} bootstrap interval over rows. The interval does not include the variation between seeds, so an "
            "effect counts only where the seeds agree.",
            "",
            f"The linear part alone: {_accuracy(usual, 0):.4f}. Attention adds {_formatted(over_linear, 2)} points; both are "
            f"{_formatted(over_baseline, 2)} points above the linear baseline.",
            "",
            "| variant | accuracy | difference from params.yaml (points) | difference in negative log-likelihood (mnat per row, "
            "lower is better) | by seed | attention alone | training time of attention (s) |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *lines,
            "",
        ]
    )


def _accuracy(fits: Sequence[Fit], model: int) -> float:
    """Of one of the three models over the rows of all seeds."""
    return float(np.concatenate([fit.right[model] for fit in fits]).mean())


def _interval(differences: Sequence[np.ndarray], params: Params) -> Interval:
    return bootstrap_mean(np.concatenate(differences), params.gate.confidence, params.gate.bootstrap_samples, params.seed)


def _formatted(interval: Interval, digits: int) -> str:
    value, low, high = (f"{one:+.{digits}f}" for one in (interval.value, interval.low, interval.high))
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    main()
