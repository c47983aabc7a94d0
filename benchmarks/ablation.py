"""What each option of the classifier is worth: it is switched off, or another is chosen, and everything else stays.

Ideas that the classifier does not have are tried as well (``benchmarks/ideas.py``).

``make bench-ablation`` trains each variant with three seeds and scores it on validation rows, on which all choices are made;
the test split is not looked at. It writes ``benchmarks/ablation.md``. Finished fits are kept in ``.headway/bench-ablation``;
an interrupted run goes on from them.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import shlex
import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from inspect import getsource
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks import ideas
from benchmarks.ideas import IDEAS
from benchmarks.shipped import PROJECT, SUBSETS, params_for, prepared
from headway.data import tokenizer, vectors
from headway.data.datamodule import subset
from headway.data.encoded import EncodedTexts
from headway.data.splits import unit_hash
from headway.files import read_json, sha256_of_json, write_json
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier
from headway.params import Params
from headway.stages.tokenize import tokenize
from headway.stages.train import fit_attention, fit_ngrams, join

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
    "twice as wide": {"model.d_model": 128, "model.d_feedforward": 256},
    "no embedding dropout": {"model.embedding_dropout": 0.0},
    "no dropout in blocks": {"model.dropout": 0.0},
    "no dropout of pairs": {"model.bigram_dropout": 0.0},
    "no word dropout": {"training.word_dropout": 0.0},
    "no label smoothing": {"training.label_smoothing": 0.0},
    "no weight decay": {"training.weight_decay": 0.0},
    "no warm-up": {"training.warmup_share": 0.0},
    "hardly any gradient clipping": {"training.gradient_clip": 1e6},
    "linear part without triples": {"ngrams.max_order": 2},
    "linear part of single words": {"ngrams.max_order": 1},
    "no linear part": {"ngrams.max_order": 0},
    **{name: {} for name in IDEAS},
    "idea: first token, no windows": {"model.window_size": 0},
}


def main() -> None:
    """Train what is not trained yet, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--subset", default="imdb", choices=SUBSETS)
    parser.add_argument("--max-rows", type=int, default=0, help="a sample of the rows, for a quick try")
    parser.add_argument("--train-share", type=float, default=1.0, help="of the training rows, for less time")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=VARIANTS, metavar="VARIANT")
    parser.add_argument("--word-vectors", type=Path, help=f"a file for one more variant, {VECTORS!r}")
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args()
    names = list(dict.fromkeys([USUAL, *arguments.only, *([VECTORS] if arguments.word_vectors else [])]))
    trial = Ablation(params_for(arguments.subset, arguments.max_rows), arguments.train_share, arguments.word_vectors)
    console = Console()
    for number, alike in enumerate(groups := by_attention(names)):
        for seed in range(1, arguments.seeds + 1):
            if not all(trial.path(name, seed).exists() for name in alike):
                console.print(f"training {number + 1} of {len(groups)}, {alike[0]}: seed {seed} of {arguments.seeds}")
                trial.fit(alike, seed)
    command = f"python -m benchmarks.ablation --subset {arguments.subset} --max-rows {arguments.max_rows}"
    command += f" --train-share {arguments.train_share:g} --seeds {arguments.seeds}"
    if arguments.only != list(VARIANTS):
        command += f" --only {shlex.join(arguments.only)}"
    if arguments.word_vectors:
        command += f" --word-vectors {arguments.word_vectors.name}"
    arguments.out.write_text(trial.page(names, arguments.seeds, command), encoding="utf-8")
    console.print(f"written: {arguments.out}")


def by_attention(names: Sequence[str]) -> list[list[str]]:
    """The variants in groups that have the same attention part, which one training makes for all of them."""
    groups: dict[str, list[str]] = {}
    for name in names:
        knobs = {path: value for path, value in VARIANTS.get(name, {}).items() if not path.startswith("ngrams.")}
        apart = name if name in IDEAS or name == VECTORS else ""
        groups.setdefault(sha256_of_json([knobs, apart]), []).append(name)
    return list(groups.values())


class Ablation:
    """The variants' fits on one data set.

    Args:
        params: of everything.
        train_share: of the training rows, chosen by a hash.
        word_vectors: a file of them, for the variant that starts from these.
    """

    def __init__(self, params: Params, train_share: float, word_vectors: Path | None = None) -> None:
        self.params, self.train_share = params, train_share
        layout = prepared(params, "bench-ablation")
        self.folder = layout.root.parent
        if not (layout.encoded / "validation.arrow").exists():
            tokenize(params, layout)
        every, self.validation = (EncodedTexts.open(layout.encoded / f"{split}.arrow") for split in ("train", "validation"))
        self.train = subset(every, np.flatnonzero([unit_hash(row_id, "ablation") < train_share for row_id in every.ids]))
        self.n_classes = len(read_json(layout.prepared / "labels.json", made_by="prepare"))
        fitted = tokenizer.load(layout.encoded / "tokenizer.json")
        self.vocabulary_size = fitted.get_vocab_size()
        self.word_vectors = vectors.read(word_vectors, fitted) if word_vectors else None
        self._ngrams: dict[str, NgramClassifier | None] = {}

    def path(self, name: str, seed: int) -> Path:
        """Where a fit's figures are kept."""
        how = getsource(ideas) if name in IDEAS else ""
        if name == VECTORS and self.word_vectors is not None:
            how = hashlib.sha256(self.word_vectors.tobytes()).hexdigest()
        return self.folder / f"{sha256_of_json([name, VARIANTS.get(name), seed, self.train_share, how])[:12]}.json"

    def fit(self, alike: Sequence[str], seed: int) -> None:
        """Train variants that have the same attention part, with the seed, and keep their figures."""
        name = alike[0]
        knobs = self.params.override({**VARIANTS.get(name, {}), "seed": seed})
        checkpoints = self.folder / "checkpoints"
        shutil.rmtree(checkpoints, ignore_errors=True)
        started = time.monotonic()
        with IDEAS.get(name, nullcontext)():
            attention, _ = fit_attention(
                self.train,
                self.validation,
                self.vocabulary_size,
                self.n_classes,
                knobs,
                checkpoints,
                word_vectors=self.word_vectors if name == VECTORS else None,
            )
        seconds = time.monotonic() - started
        for one in alike:
            report = join(JointClassifier(self._linear(one), attention), self.validation)
            write_json(self.path(one, seed), {**report, "seconds": round(seconds, 1)})

    def _linear(self, name: str) -> NgramClassifier | None:
        """A variant's linear part: a convex fit, with no seed in it, and so made once."""
        knobs = self.params.override(VARIANTS.get(name, {}))
        key = sha256_of_json(knobs.ngrams.model_dump())
        if key not in self._ngrams:
            self._ngrams[key] = fit_ngrams(self.train, self.n_classes, knobs)
        return self._ngrams[key]

    def page(self, names: Sequence[str], seeds: int, command: str) -> str:
        """The table as Markdown, with the command that makes it."""
        rows = {name: [json.loads(self.path(name, seed).read_text()) for seed in range(1, seeds + 1)] for name in names}
        usual = rows[USUAL]
        lines = []
        for name, some in rows.items():
            joint = [row["validation_accuracy"] for row in some]
            alone = [row["attention"]["validation_accuracy"] for row in some]
            gain = [one - other["validation_accuracy"] for one, other in zip(joint, usual, strict=True)]
            lines.append(
                f"| {name} | {np.mean(joint):.4f} ± {_spread(joint):.4f} | {100 * np.mean(gain):+.2f} "
                f"| {np.mean(alone):.4f} ± {_spread(alone):.4f} | {statistics.median(row['seconds'] for row in some):.0f} |"
            )
        linear = usual[0].get("ngrams", {}).get("validation_accuracy")
        both = np.mean([row["validation_accuracy"] for row in usual])
        added = (
            f"The linear part alone: {linear:.4f}. Attention adds {100 * (both - linear):+.2f} points to it."
            if linear
            else ""
        )
        if self.train_share < 1:
            added += (
                f" That is on {self.train_share:.0%} of the training rows; `make bench-accuracy` says what it adds with all."
            )
        rows_used = f"{len(self.train):,} training and {len(self.validation):,} validation rows"
        return "\n".join(
            [
                "# What each option is worth",
                "",
                f"{self.params.data.subset}, {rows_used}, {seeds} seeds; accuracy on the validation rows, mean ± standard "
                f"deviation over the seeds. {datetime.date.today():%d %B %Y}, `{command}`.",
                "",
                added,
                "",
                "| variant | joint | points against params.yaml | attention alone | seconds of attention's training |",
                "| --- | --- | --- | --- | --- |",
                *lines,
                "",
                f"One row is {100 / len(self.validation):.2f} points; differences of less than about "
                f"{100 * 2 * _standard_error(len(self.validation)):.1f} points are within what other validation rows would do.",
                "",
            ]
        )


def _spread(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _standard_error(rows: int) -> float:
    """Of the difference of two models' accuracies on the same rows, when they disagree on 4% of them."""
    return float(np.sqrt(0.04 / rows))


if __name__ == "__main__":
    main()
