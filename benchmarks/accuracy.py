"""How accurate the classifier is, on rows that it never saw, against the linear baseline on the same rows.

``make bench-accuracy`` trains the configuration of params.yaml on five folds, so that each row is scored once by a model that
was neither trained nor chosen on it: a fold is tested, a tenth of the other four is for validation, the rest for training.
A row's fold is a hash of its text. Finished fits are kept in ``.headway/bench-accuracy``; an interrupted run goes on from
them.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from benchmarks.shipped import SUBSETS, params_for, prepared
from benchmarks.targets import Target, print_targets
from headway.data import encoded, fitting, vectors
from headway.data.datamodule import in_batches
from headway.data.encoded import EncodedTexts
from headway.data.splits import SPLITS, unit_hash
from headway.data.tokenizer import TextEncoder
from headway.evaluation import baseline as linear
from headway.evaluation.metrics import Interval
from headway.files import read_json, sha256_of_file
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier
from headway.params import Params
from headway.registry.differences import bootstrap_mean
from headway.stages.train import fit_attention, fit_ngrams, join
from headway.tables import read_table

FOLDS = 5
MODELS = ("linear baseline", "n-grams alone", "attention alone", "joint")
#: Points of accuracy that the joint model is to be above the linear baseline.
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
        rows = Rows(params, arguments.word_vectors)
        scores = [rows.scores(fold, arguments.seeds, console) for fold in range(arguments.folds)]
        console.print(table(subset, scores, params))
        targets.append(target(subset, _above(scores, "joint", params)))
    print_targets(console, targets)


@dataclass(frozen=True)
class Seedless:
    """What a fold has in common for all seeds.

    Attributes:
        baseline_right: which test rows the linear baseline has right, bool, (rows,).
        train, validation, test: the encoded parts.
        vocabulary_size: of the tokenizer.
        ngrams: the classifier's linear part.
        word_vectors: what its embeddings start from, None: at random.
        seconds: that each fit took, by model.
    """

    baseline_right: np.ndarray
    train: EncodedTexts
    validation: EncodedTexts
    test: EncodedTexts
    vocabulary_size: int
    ngrams: NgramClassifier | None
    word_vectors: np.ndarray | None
    seconds: dict[str, float]


class Rows:
    """All rows of a data set, whatever split they are in, and what models say of them.

    Args:
        params: of everything.
        word_vectors: a file that the embeddings start from.
    """

    def __init__(self, params: Params, word_vectors: Path | None = None) -> None:
        self.params, self.word_vectors = params, word_vectors
        self.name = f"from-{sha256_of_file(word_vectors)[:8]}-" if word_vectors else ""
        layout = prepared(params, "bench-accuracy")
        self.folder = layout.root.parent
        splits = [read_table(layout.prepared / f"{split}.parquet", made_by="prepare") for split in SPLITS]
        self.table = pa.concat_tables(splits)
        self.classes = read_json(layout.prepared / "labels.json", made_by="prepare")
        ids = self.table["id"].to_pylist()
        self.fold = np.array([int(unit_hash(row, "fold") * FOLDS) for row in ids])
        self.validation = np.array([unit_hash(row, "validation") < 0.1 for row in ids])

    def scores(self, fold: int, seeds: int, console: Console) -> dict[str, np.ndarray]:
        """By model, which test rows of a fold are right: bool, (seeds, rows); and the seconds each fit took, (seeds,)."""
        tested = self.fold == fold
        parts = {"train": ~tested & ~self.validation, "validation": ~tested & self.validation, "test": tested}
        found: dict[str, list[np.ndarray]] = {}
        seedless: Seedless | None = None
        for seed in range(1, seeds + 1):
            path = self.folder / f"{self.name}fold-{fold}-seed-{seed}.npz"
            if not path.exists():
                console.print(f"{self.params.data.subset}: fold {fold + 1} of {FOLDS}, seed {seed} of {seeds}")
                folder = self.folder / f"{self.name}fold-{fold}"
                seedless = seedless or self._fit_seedless(parts, folder)
                scored = self._fit(seedless, seed, folder)
                with path.with_suffix(".partial").open("wb") as file:
                    np.savez(file, **scored)
                path.with_suffix(".partial").rename(path)
            with np.load(path) as scored:
                for name in scored.files:
                    found.setdefault(name, []).append(scored[name])
        return {name: np.stack(values) for name, values in found.items()}

    def _fit_seedless(self, parts: dict[str, np.ndarray], folder: Path) -> Seedless:
        knobs = self.params
        texts = {name: self.table["text"].filter(pa.array(mask)).to_pylist() for name, mask in parts.items()}
        labels = {name: self.table["label_id"].filter(pa.array(mask)).to_numpy() for name, mask in parts.items()}
        started = time.monotonic()
        fitted = linear.fit(texts["train"], labels["train"].tolist(), knobs.baseline)
        right = linear.predict_proba(fitted, texts["test"], len(self.classes)).argmax(axis=1) == labels["test"]
        seconds = {"linear baseline": time.monotonic() - started}
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        words = fitting.fit(texts["train"], knobs.tokenizer, fitting.survey(texts["train"]))
        encoder = TextEncoder(words, knobs.tokenizer.max_length)
        for name, mask in parts.items():
            rows = self.table["id"].filter(pa.array(mask)), pa.array(labels[name]), encoder(texts[name])
            encoded.write(folder / f"{name}.arrow", [rows])
        found = vectors.read(self.word_vectors, words) if self.word_vectors else None
        train, validation, test = (EncodedTexts.open(folder / f"{name}.arrow") for name in parts)
        seconds["tokenizer"] = time.monotonic() - started
        started = time.monotonic()
        ngrams = fit_ngrams(train, len(self.classes), knobs)
        seconds["n-grams alone"] = time.monotonic() - started
        return Seedless(right, train, validation, test, words.get_vocab_size(), ngrams, found, seconds)

    def _fit(self, fold: Seedless, seed: int, folder: Path) -> dict[str, np.ndarray]:
        knobs = self.params.override({"seed": seed})
        right, seconds = {"linear baseline": fold.baseline_right}, dict(fold.seconds)
        train, validation, test = fold.train, fold.validation, fold.test
        started = time.monotonic()
        checkpoints = folder / "checkpoints"
        shutil.rmtree(checkpoints, ignore_errors=True)
        sizes = fold.vocabulary_size, len(self.classes)
        attention, _ = fit_attention(train, validation, *sizes, knobs, checkpoints, word_vectors=fold.word_vectors)
        shutil.rmtree(checkpoints)
        model = JointClassifier(fold.ngrams, attention)
        join(model, validation)
        seconds["attention alone"] = time.monotonic() - started
        order = np.argsort(test.lengths, kind="stable")  # in which in_batches goes through them
        logits: dict[str, list[torch.Tensor]] = {name: [] for name in MODELS[1:]}
        labels = []
        with torch.inference_mode():
            for tokens, some_labels in in_batches(test):
                labels.append(some_labels)
                first, second = model.parts(tokens)
                for name, some in zip(MODELS[1:], (first, second, model.combine(first, second)), strict=True):
                    logits[name].append(some)
        assert np.array_equal(torch.cat(labels).numpy(), test.labels[order]), "the rows came in another order"
        for name, some in logits.items():
            right[name] = np.zeros(len(test), dtype=bool)
            right[name][order] = torch.cat(some).argmax(dim=1).numpy() == test.labels[order]
        seconds["joint"] = seconds["tokenizer"] + seconds["n-grams alone"] + seconds["attention alone"]
        return {**right, **{f"{name} seconds": np.array(value) for name, value in seconds.items()}}


def target(subset: str, above: Interval) -> Target:
    """What the joint model is to be above the linear baseline, in points, surely above 0 where it is to be above at all."""
    least = LEAST[subset]
    words = f"{subset}: {100 * above.value:+.2f} points above the linear baseline, target {least:+.1f}"
    return words, 100 * above.value >= least and (not least or above.low > 0)


def _above(scores: Sequence[dict[str, np.ndarray]], name: str, params: Params) -> Interval:
    """What a model's accuracy is above the baseline's, the mean over seeds, with its paired interval over rows."""
    both = [np.concatenate([fold[one] for fold in scores], axis=1).mean(axis=0) for one in (name, MODELS[0])]
    return bootstrap_mean(both[0] - both[1], params.gate.confidence, params.gate.bootstrap_samples, params.seed)


def table(subset: str, scores: Sequence[dict[str, np.ndarray]], params: Params) -> Table:
    """Pooled over the folds: accuracy, what it is above the baseline's, and what that rests on."""
    pooled = {name: np.concatenate([fold[name] for fold in scores], axis=1) for name in MODELS}
    seeds, n = pooled["joint"].shape
    shown = Table("model", "accuracy", "by seed", "points above the baseline", "wins : losses", "McNemar p", "s a fit")
    shown.title = f"{subset}: {n:,} rows, each scored by a model that never saw it; {len(scores)} folds, {seeds} seeds"
    for name in MODELS:
        interval = _above(scores, name, params)
        above = f"{100 * interval.value:+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"
        wins = int((pooled[name][0] > pooled["linear baseline"][0]).sum())
        losses = int((pooled[name][0] < pooled["linear baseline"][0]).sum())
        p = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        seconds = np.concatenate([fold[f"{name} seconds"].ravel() for fold in scores])
        compared = name != "linear baseline"
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
