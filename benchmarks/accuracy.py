"""Accuracy of the classifier on rows it was not trained on, compared with the linear baseline on the same rows.

``make bench-accuracy`` trains the configuration of params.yaml on five folds, so that each row is scored once by a model that
was neither trained nor selected on it (``benchmarks/folds.py``). Finished fits are kept in ``.headway/bench-accuracy``, so that
an interrupted run can continue.

``--encoder NAME`` puts a pretrained encoder in the place of the attention part, frozen or fine-tuned (``--mode``). The features
of a frozen one are computed once for all folds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, get_args

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from benchmarks.encoder.fits import ENCODER, EncoderFits
from benchmarks.folds import BASELINE, FOLDS, JOINT, PARTS, Folds, keep
from benchmarks.panel.cells import mistakes_in_one_line
from benchmarks.shipped import SUBSETS, params_for
from benchmarks.targets import Target, print_targets
from headway.data.text.splits import SPLITS
from headway.evaluation.metrics import Interval
from headway.files import sha256_of_file
from headway.params import Params
from headway.params_sections import PretrainedParams
from headway.promotion.bootstrap import bootstrap_mean

MODELS = (BASELINE, *PARTS, JOINT)
#: Trainings of the attention part in each fold.
SEEDS = 3
#: Targets for the gain in accuracy of the joint model over the linear baseline, in points.
LEAST = {"imdb": 1.0, "rotten_tomatoes": 0.0}
#: Targets with a pretrained encoder, by data set and mode: accuracy of the joint model, and seconds of the encoder's fit.
ENCODER_TARGETS: dict[tuple[str, str], tuple[float, float | None]] = {
    ("rotten_tomatoes", "frozen"): (0.80, 180.0),
    ("rotten_tomatoes", "fine_tune"): (0.85, 900.0),
    ("imdb", "frozen"): (0.93, None),
}
MODES = get_args(PretrainedParams.model_fields["mode"].annotation)

Scores = dict[str, np.ndarray]


class Fits(Protocol):
    """Fits of all models on the folds of a data set.

    Attributes:
        folds: of the rows.
        name: prefix of the files in which finished fits are kept.
        models: names of the models.
    """

    @property
    def folds(self) -> Folds: ...
    @property
    def name(self) -> str: ...
    @property
    def models(self) -> Sequence[str]: ...
    def fit(self, number: int, seed: int) -> Scores:
        """By model: correctness on the test rows of fold ``number``, bool, (rows,), and seconds of the fit."""


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subset", nargs="+", default=SUBSETS, choices=SUBSETS)
    parser.add_argument("--seeds", type=int, help="trainings of the attention part in each fold: 3, or 1 with an encoder")
    parser.add_argument("--folds", type=int, default=FOLDS, help="fewer for a quick look")
    parser.add_argument("--max-rows", type=int, default=0, help="a sample of the rows, for a quick look")
    parser.add_argument("--encoder", help="a pretrained encoder in data/encoders as the attention part")
    parser.add_argument("--mode", choices=MODES, default="frozen", help="of the encoder, as pretrained.mode names it")
    parser.add_argument(
        "--word-vectors", type=Path, help="a file that embeddings start from, as tokenizer.word_vectors names one"
    )
    console = Console(width=max(130, Console().width))
    with mistakes_in_one_line(console):
        run(parser.parse_args(), console)


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Measure what the arguments name."""
    targets: list[Target] = []
    for subset in arguments.subset:
        params = params_for(subset, arguments.max_rows)
        folds, encoder = Folds(params, "bench-accuracy", SPLITS), arguments.encoder
        fits: Fits = (
            EncoderFits(folds, encoder, arguments.mode, console) if encoder else ScratchFits(folds, arguments.word_vectors)
        )
        seeds = arguments.seeds or (1 if encoder else SEEDS)
        scores = [scores_of(fits, number, seeds, console) for number in range(arguments.folds)]
        console.print(table(subset, scores, params, fits.models))
        targets += (
            encoder_targets(subset, arguments.mode, scores) if encoder else [target(subset, _above(scores, JOINT, params))]
        )
    print_targets(console, targets)


def scores_of(fits: Fits, number: int, seeds: int, console: Console) -> Scores:
    """By model: correctness on the test rows of a fold, bool, (seeds, rows), and seconds of each fit, (seeds,)."""
    found: dict[str, list[np.ndarray]] = {}
    for seed in range(1, seeds + 1):
        path = fits.folds.folder / f"{fits.name}fold-{number}-seed-{seed}.npz"
        if not path.exists():
            console.print(f"{fits.folds.params.data.subset}: fold {number + 1} of {FOLDS}, seed {seed} of {seeds}")
            keep(path, **fits.fit(number, seed))
        with np.load(path) as kept:
            for name in kept.files:
                found.setdefault(name, []).append(kept[name])
    return {name: np.stack(values) for name, values in found.items()}


class ScratchFits:
    """Fits of the model of params.yaml, whose attention part is trained from scratch.

    Args:
        folds: of the rows.
        word_vectors: a file from which embeddings are initialised.
    """

    models = MODELS

    def __init__(self, folds: Folds, word_vectors: Path | None = None) -> None:
        self.folds, self.word_vectors = folds, word_vectors
        self.name = f"from-{sha256_of_file(word_vectors)[:8]}-" if word_vectors else ""

    def fit(self, number: int, seed: int) -> Scores:
        """See :class:`Fits`."""
        fold, knobs = self.folds.fold(number), self.folds.params.override({"seed": seed})
        ngrams, linear_seconds = fold.ngrams(knobs)
        start = fold.vectors(self.word_vectors)
        started = time.monotonic()
        model = fold.joined(ngrams, fold.attention(knobs, start))
        seconds = {**fold.seconds, PARTS[0]: linear_seconds, PARTS[1]: time.monotonic() - started}
        seconds[JOINT] = seconds["tokenizer"] + seconds[PARTS[0]] + seconds[PARTS[1]]
        right = {BASELINE: fold.baseline_right, **dict(zip((*PARTS, JOINT), fold.right(fold.logits(model)), strict=True))}
        return {**right, **{f"{name} seconds": np.array(value) for name, value in seconds.items()}}


def encoder_targets(subset: str, mode: str, scores: Sequence[Scores]) -> list[Target]:
    """Accuracy of the joint model with a pretrained encoder, and seconds of the encoder's fits, against their targets."""
    least, most = ENCODER_TARGETS.get((subset, mode), (None, None))
    found: list[Target] = []
    if least is not None:
        accuracy = float(np.concatenate([fold[JOINT] for fold in scores], axis=1).mean())
        found.append((f"{subset}, {mode}: joint accuracy {accuracy:.4f}, target {least:.2f}", accuracy >= least))
    if most is not None:
        seconds = float(np.median(np.concatenate([fold[f"{ENCODER} seconds"].ravel() for fold in scores])))
        what = "features of all rows and linear layer" if mode == "frozen" else "training in a fold"
        found.append((f"{subset}, {mode}: {what}, {seconds:.0f} s, target {most:.0f}", seconds <= most))
    return found


def target(subset: str, above: Interval) -> Target:
    """The gain of the joint model over the linear baseline and whether it meets its target, significantly if that is above 0."""
    least = LEAST[subset]
    words = f"{subset}: {100 * above.value:+.2f} points above the linear baseline, target {least:+.1f}"
    return words, 100 * above.value >= least and (not least or above.low > 0)


def _above(scores: Sequence[Scores], name: str, params: Params) -> Interval:
    """Gain in accuracy over the baseline, the mean over seeds, with a paired bootstrap interval over rows."""
    both = [np.concatenate([fold[one] for fold in scores], axis=1).mean(axis=0) for one in (name, BASELINE)]
    return bootstrap_mean(both[0] - both[1], params.gate.confidence, params.gate.bootstrap_samples, params.seed)


def table(subset: str, scores: Sequence[Scores], params: Params, models: Sequence[str] = MODELS) -> Table:
    """Accuracies pooled over the folds, and gains over the baseline with their evidence."""
    pooled = {name: np.concatenate([fold[name] for fold in scores], axis=1) for name in models}
    seeds, n = pooled["joint"].shape
    shown = Table("model", "accuracy", "by seed", "points above the baseline", "wins : losses", "McNemar p", "s a fit")
    shown.title = f"{subset}: {n:,} rows, each scored by a model that never saw it; {len(scores)} folds, {seeds} seeds"
    for name in models:
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
            " ".join(f"{value:.4f}" for value in pooled[name].mean(axis=1)) if name in models[2:] else "",
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
