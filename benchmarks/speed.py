"""Training speed of the classifier: compared with peers and with the machine's peak, by text length, and until an accuracy.

``make bench-speed`` runs it on the rows of the last ``make run``. Models are trained in alternation, round by round, on the same
rows and threads, and medians are reported; the time to an accuracy is that of one training. Predictions, outcomes and conclusions
are in ``benchmarks/notes.md``.

``--encoder NAME`` measures a pretrained encoder instead, on the shipped texts: see ``benchmarks/encoder/speed.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.busy import Worker, busy_loops
from benchmarks.encoder import speed as encoder_speed
from benchmarks.rounds import SPEEDS, alternated, print_table, ratio, speeds
from benchmarks.shipped import PLAIN, SUBSETS
from benchmarks.targets import Target, print_targets
from benchmarks.trainees import PEER_LENGTH, Trainee, ours, peer
from headway import params as parameters
from headway.data.batching.datamodule import TextDataModule, WholeTexts, in_batches, subset
from headway.data.tokenization import tokenizer
from headway.data.tokenization.encoded import EncodedTexts
from headway.environment import CHOSEN, WAITING
from headway.errors import HeadwayError
from headway.evaluation import baseline as linear
from headway.files import read_json
from headway.layout import Layout
from headway.model.fitting import fit_ngrams
from headway.model.joint import JointClassifier
from headway.model.lightning import ClassifierModule
from headway.model.schedule import TOKENS_PER_BATCH, Schedule, resolve
from headway.model.training import fit, pin
from headway.params import Params
from headway.stages.train import join
from headway.stages.train.fitting import fit_attention
from headway.tables import read_table

#: Knobs that give our model the peer's sizes, without bigram embeddings, which the peer lacks.
PEER_SIZES = {
    "model.d_model": 128,
    "model.n_heads": 4,
    "model.n_layers": 2,
    "model.dim_feedforward": 512,
    "model.max_length": PEER_LENGTH,
    "model.bigram_buckets": 0,
    "model.dropout": 0.1,
}
PEER = "nn.TransformerEncoder, padded"
SAME, SAME_FULL = "Headway, the same sizes, in windows", "Headway, the same sizes, full attention"
OURS, OURS_BFLOAT16 = "Headway, params.yaml", "Headway, params.yaml in bfloat16"
MATRIX = 2048  # rows and columns of the product that measures the machine's peak
MORE = 8  # times as many rows for the comparison with Lightning, whose small overhead needs many steps to measure
VALIDATION_ROWS = 64
LENGTHS = (128, 200, 300, 512, 1000, 2048, 4096)  # some are multiples of the window size, some are not
#: What https://keras.io/examples/nlp/text_classification_with_transformer reaches on IMDB, on a test split of its own.
KERAS = 0.875
#: Seconds of a measurement on a busy machine, and before the first one; the share of the quiet speed to keep.
SECONDS, WARM_UP, BUSY = 2.0, 1.0, 0.30
#: The targets; the last in seconds.
FASTER, LOADING, OVERHEAD, SHARE, WINDOWED, WHOLE = 10.0, 0.05, 0.10, 0.40, 1.15, 180.0


def main() -> None:
    """Measure and print.

    Raises:
        HeadwayError: there are no encoded rows.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=320, help="training rows for each comparison")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--encoder", help="a pretrained encoder in data/encoders, which is measured alone")
    parser.add_argument("--subset", nargs="+", default=SUBSETS, choices=SUBSETS, help="with --encoder: the texts")
    parser.add_argument("--tokens", type=int, default=16_384, help="with --encoder: sub-words for each comparison")
    arguments = parser.parse_args()
    console = Console(highlight=False, width=max(120, Console().width))
    if arguments.encoder:
        options = arguments.encoder, arguments.subset, arguments.tokens, arguments.rounds
        print_targets(console, encoder_speed.measure(*options, console))
        return
    layout = Layout.find()
    params = parameters.load(layout.params).override(PLAIN)
    if not (layout.encoded / "train.arrow").exists():
        raise HeadwayError("there are no encoded rows to measure on; `make run` makes them, then try again")
    pin(params.training.threads)
    bench = Bench(layout, params, arguments.rounds, console)
    targets = [
        *bench.peers(arguments.rows),
        *bench.trainer(MORE * arguments.rows),
        *bench.lengths(arguments.lengths),
        *bench.busy(),
        *bench.accuracy(),
    ]
    print_targets(bench.console, targets)


class Bench:
    """The measurements, each of which prints a table and returns its targets.

    Args:
        layout: of a project with encoded rows.
        params: its params, to train on the CPU.
        rounds: of each comparison, after one that warms up.
        console: to print on.
    """

    def __init__(self, layout: Layout, params: Params, rounds: int, console: Console) -> None:
        self.layout, self.params, self.rounds, self.console = layout, params, rounds, console
        self.train = EncodedTexts.open(layout.encoded / "train.arrow")
        self.validation = EncodedTexts.open(layout.encoded / "validation.arrow")
        self.vocabulary_size = tokenizer.load(layout.encoded / "tokenizer.json").get_vocab_size()
        self.n_classes = len(read_json(layout.prepared / "labels.json", made_by="prepare"))

    def peers(self, rows: int) -> list[Target]:
        """Documents per second of the models, and their share of the machine's peak."""
        texts = self._some(rows)
        sizes = self.params.override(PEER_SIZES)
        trainees = {
            PEER: peer(texts, sizes, self.vocabulary_size, self.n_classes),
            SAME_FULL: self._ours(sizes.override({"model.window_size": 0}), texts),
            SAME: self._ours(sizes, texts),
            OURS: self._ours(self.params, texts),
            OURS_BFLOAT16: self._ours(self.params, texts, bfloat16=True),
        }
        self.console.print(f"Training {len(trainees)} models in alternation on {len(texts)} texts, {self.rounds} rounds")
        flops = {name: trainee.flops() for name, trainee in trainees.items()}
        square = torch.randn(MATRIX, MATRIX)
        contests: dict[str, Callable[[], object]] = {name: trainee.epoch for name, trainee in trainees.items()}
        loader = self._loader(self.params, texts)
        seconds = alternated(
            {**contests, "peak": lambda: square @ square, "loader": lambda: deque(loader(), maxlen=0)}, self.rounds
        )
        peak = 2 * MATRIX**3 / statistics.median(seconds.pop("peak"))
        loading = ratio(seconds.pop("loader"), seconds[OURS])
        table = Table("training", *SPEEDS, "times the first", "Gflop/s", "of peak")
        table.title = f"Training steps, {len(texts)} texts, {self.rounds} rounds, {self.params.training.threads} threads"
        table.caption = (
            f"peak: float32 product of two {MATRIX} × {MATRIX} matrices, {peak / 1e9:.0f} Gflop/s. The first pads each text to "
            f"{PEER_LENGTH} tokens and drops single numbers, also inside attention; Headway batches texts of similar length, and "
            "drops features of a whole text and pairs"
        )
        shares, ratios = {}, {}
        for name, times in seconds.items():
            shares[name] = flops[name] / statistics.median(times) / peak
            ratios[name] = ratio(seconds[PEER], times)
            cells = f"{ratios[name]:.1f}", f"{shares[name] * peak / 1e9:.0f}", f"{shares[name]:.0%}"
            table.add_row(name, *speeds(len(texts), times), *cells)
        print_table(self.console, table)
        best = "bfloat16" if ratios[OURS_BFLOAT16] > ratios[OURS] else "float32"
        self.console.print(f"On this machine's CPU, training.precision: {best} is the faster one")
        faster = ratios[SAME]
        return [
            (f"the loader alone takes {loading:.1%} of the training's time, target {LOADING:.0%}", loading <= LOADING),
            (f"{SAME}: {faster:.1f} times as fast as the peer, target {FASTER:.0f}", faster >= FASTER),
            *(
                (f"{name}: {shares[name]:.0%} of the peak, target {SHARE:.0%}", shares[name] >= SHARE)
                for name in (SAME, OURS)
            ),
        ]

    def trainer(self, rows: int) -> list[Target]:
        """The overhead of Lightning's Trainer over a plain loop with the same steps."""
        texts = self._some(rows)
        ways = {"a plain loop": train_plainly, "Lightning's Trainer": train_by_lightning}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        self.console.print(f"Training with and without Lightning on {len(texts)} texts, {self.rounds} rounds")
        for _ in range(self.rounds + 1):
            for name, way in ways.items():
                taken[name].append(way(*self._module(texts)))
        taken = {name: times[1:] for name, times in taken.items()}  # the first warms up
        table = Table("the same steps", *SPEEDS)
        table.title = f"Lightning, {len(texts)} texts, {self.rounds} rounds"
        for name, times in taken.items():
            table.add_row(name, *speeds(len(texts), times))
        print_table(self.console, table)
        loop, trainer = taken.values()
        added = ratio(trainer, loop) - 1
        return [(f"Lightning's Trainer adds {added:.1%} to the steps' time, target {OVERHEAD:.0%}", added <= OVERHEAD)]

    def lengths(self, lengths: Iterable[int]) -> list[Target]:
        """Growth of a step's cost with the length of texts, for full attention and for windows."""
        kinds = {"full attention": {"model.window_size": 0}, "windows": {}}
        table = Table("tokens of a text", *(f"{kind}, ms per text" for kind in kinds), "full / windows")
        taken: dict[str, list[tuple[int, float]]] = {kind: [] for kind in kinds}
        for length in lengths:
            self.console.print(f"Training on texts of {length} tokens")
            rows = max(2, TOKENS_PER_BATCH[1] // length)
            tokens = torch.from_numpy(np.resize(self.train.tokens, (rows, length)).astype(np.int64))
            batch = tokens, torch.from_numpy(np.resize(self.train.labels, rows).astype(np.int64))
            contests: dict[str, Callable[[], object]] = {}
            for kind, knobs in kinds.items():
                params = self.params.override({"model.max_length": length, **knobs})
                contests[kind] = ours(partial(iter, [batch]), params, self.vocabulary_size, self.n_classes).epoch
            for kind, times in alternated(contests, self.rounds).items():
                taken[kind].append((length, statistics.median(times) / len(tokens)))
            full, windows = (sizes[-1][1] for sizes in taken.values())
            table.add_row(str(length), f"{1000 * full:.1f}", f"{1000 * windows:.1f}", f"{full / windows:.1f}")
        exponents = {kind: exponent(sizes) for kind, sizes in taken.items()}
        table.add_section()
        table.add_row("growth exponent", *(f"{value:.2f}" for value in exponents.values()), "")
        table.title = f"Cost against length; windows of {self.params.model.window_size} tokens"
        table.caption = "growth exponent: slope of the fitted line through all lengths, in logarithms; 1 is linear"
        print_table(self.console, table)
        grown = exponents["windows"]
        return [(f"growth of the cost with the length, windows: {grown:.2f}, target {WINDOWED}", grown <= WINDOWED)]

    def busy(self) -> list[Target]:
        """Tokens per second on this machine as it is, and with a busy loop on each core."""
        size, threads = TOKENS_PER_BATCH[1], self.params.training.threads
        cores = os.cpu_count() or 1
        self.console.print(f"Training with and without {cores} busy loops, {self.rounds} rounds")
        start = partial(Worker, tokens_per_batch=size, threads=threads)
        own = (*WAITING, CHOSEN)
        with ExitStack() as stack:
            # Headway decides when a process starts.
            quiet, spinning = (
                stack.enter_context(closing(start(variables, own))) for variables in ({}, {"GOMP_SPINCOUNT": "300000"})
            )
            quiet.train(WARM_UP)
            spinning.train(WARM_UP)
            with busy_loops(cores):
                started_busy = stack.enter_context(closing(start({}, own)))
                started_busy.train(WARM_UP)
            speeds: dict[str, list[float]] = {name: [] for name in ("quiet", "quiet, spinning", "busy", "busy, spinning")}
            for _ in range(self.rounds):
                speeds["quiet"].append(quiet.train(SECONDS))
                speeds["quiet, spinning"].append(spinning.train(SECONDS))
                with busy_loops(cores):
                    speeds["busy"].append(started_busy.train(SECONDS))
                    speeds["busy, spinning"].append(spinning.train(SECONDS))
        table = Table("OpenMP's threads", "quiet, tokens/s", "busy, tokens/s", "busy / quiet")
        kept: list[float] = []
        for name, suffix in (("as Headway sets them", ""), ("spinning, OpenMP's default", ", spinning")):
            alone, crowded = speeds["quiet" + suffix], speeds["busy" + suffix]
            kept.append(ratio(crowded, alone))
            table.add_row(name, *(f"{statistics.median(found):,.0f}" for found in (alone, crowded)), f"{kept[-1]:.2f}")
        table.title = f"Training beside {cores} busy loops, {size:,} tokens a batch, {threads} threads"
        print_table(self.console, table)
        return [(f"share of the quiet speed kept on a busy machine: {kept[0]:.0%}, target {BUSY:.0%}", kept[0] >= BUSY)]

    def accuracy(self) -> list[Target]:
        """Validation accuracy over the seconds of training."""
        self.console.print(f"Training params.yaml's model on all {len(self.train):,} texts")
        reference = self._linear()
        reached: list[tuple[str, float, float]] = []
        started = time.monotonic()

        def note(name: str, accuracy: float) -> None:
            reached.append((name, time.monotonic() - started, accuracy))

        ngrams = fit_ngrams(WholeTexts(self.train, self.validation), self.n_classes, self.params)
        if ngrams is not None:
            right = sum(
                int((ngrams(tokens).argmax(dim=1) == labels).sum()) for tokens, labels in in_batches(self.validation)
            )
            note("n-grams alone", right / len(self.validation))
        with tempfile.TemporaryDirectory() as checkpoints:
            fitted = fit_attention(
                self.train,
                self.validation,
                self.vocabulary_size,
                self.n_classes,
                self.params,
                Path(checkpoints),
                lambda entry: note(f"attention alone, epoch {entry['epoch']:.2g}", entry["validation_accuracy"]),
            )
        class_rows = np.bincount(self.train.labels, minlength=self.n_classes).tolist()
        report = join(JointClassifier(ngrams, fitted.classifier), self.validation, class_rows)
        note("both", report["validation_accuracy"])
        table = Table("what is trained", "seconds", "accuracy")
        table.title = f"Time to accuracy: {len(self.train):,} training, {len(self.validation):,} validation texts"
        table.add_row("linear baseline", f"{reference[0]:.0f}", f"{reference[1]:.4f}")
        table.add_section()
        for name, seconds, accuracy in reached:
            table.add_row(name, f"{seconds:.0f}", f"{accuracy:.4f}")
        table.caption = (
            "seconds since the start of training, on texts that the stage tokenize has encoded; the baseline trains on raw "
            "texts"
        )
        print_table(self.console, table)
        scores = {"the linear baseline's": reference[1]}
        if (self.params.data.source, self.params.data.subset) == ("package", "imdb"):
            scores["the Keras recipe's"] = KERAS
        for what, score in scores.items():
            found = next((f"after {seconds:.0f} s ({name})" for name, seconds, value in reached if value >= score), "never")
            self.console.print(f"{what} accuracy, {score:.4f}, is reached {found}")
        whole = reached[-1][1]
        return [(f"the whole training: {whole:.0f} s, target {WHOLE:.0f}", whole <= WHOLE)]

    def _some(self, rows: int) -> EncodedTexts:
        chosen = np.random.default_rng(self.params.seed).permutation(len(self.train))[:rows]
        return subset(self.train, chosen)

    def _ours(self, params: Params, texts: EncodedTexts, bfloat16: bool = False) -> Trainee:
        return ours(self._loader(params, texts), params, self.vocabulary_size, self.n_classes, bfloat16)

    def _loader(self, params: Params, texts: EncodedTexts) -> Callable[[], Iterable[Any]]:
        """A function that gives an epoch's batches as in training."""
        data = TextDataModule(texts, texts, params.model.max_length, params.seed)
        data.follow(one_epoch(data, params))
        return data.train_dataloader

    def _module(self, texts: EncodedTexts) -> tuple[Timed, TextDataModule]:
        knobs = self.params
        few = subset(self.validation, range(min(VALIDATION_ROWS, len(self.validation))))
        data = TextDataModule(texts, few, knobs.model.max_length, knobs.seed)
        rows = np.bincount(self.train.labels, minlength=self.n_classes).tolist()
        schedule = one_epoch(data, knobs)
        return Timed(knobs.model, knobs.training, self.vocabulary_size, rows, knobs.seed, schedule), data

    def _linear(self) -> tuple[float, float]:
        """Seconds of the linear baseline's training, and its accuracy on the validation rows."""
        train, validation = (
            read_table(self.layout.prepared / f"{name}.parquet", made_by="prepare") for name in ("train", "validation")
        )
        started = time.monotonic()
        fitted = linear.fit(train["text"].to_pylist(), train["label_id"].to_pylist(), self.params.baseline)
        seconds = time.monotonic() - started
        predicted = linear.predict_proba(fitted, validation["text"].to_pylist(), self.n_classes).argmax(axis=1)
        return seconds, float((predicted == validation["label_id"].to_numpy()).mean())


def one_epoch(data: TextDataModule, params: Params) -> Schedule:
    """The schedule of one epoch with an evaluation at its end."""
    schedule = resolve(params.training, data, max_epochs=1)
    return replace(schedule, evaluation_steps=schedule.steps)


class Timed(ClassifierModule):
    """Measures its training epoch, from the request for the first batch to the end of the last step."""

    seconds = 0.0

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.began = time.perf_counter()

    def on_train_batch_end(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.began


def train_by_lightning(module: Timed, data: TextDataModule) -> float:
    """Seconds of an epoch's steps in the Trainer."""
    with contextlib.redirect_stdout(io.StringIO()):
        fit(module, data)
    return module.seconds


def train_plainly(module: Timed, data: TextDataModule) -> float:
    """Seconds of the same steps in a plain loop."""
    data.follow(module.schedule)
    optimisers, schedulers = module.configure_optimizers()
    started = time.perf_counter()
    for tokens, labels in data.train_dataloader():
        loss = module.loss(module.classifier(tokens), labels)
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        dense = [p for p in module.classifier.parameters() if p.grad is not None and not p.grad.is_sparse]
        nn.utils.clip_grad_norm_(dense, module.params.gradient_clip_val)
        for optimiser, scheduler in zip(optimisers, schedulers, strict=True):
            optimiser.step()
            scheduler.step()
    return time.perf_counter() - started


def exponent(sizes: list[tuple[int, float]]) -> float:
    """Growth exponent: the slope of the least-squares line through the logarithms of lengths and times."""
    lengths, times = np.log(np.array(sizes, dtype=float)).T
    return float(np.polyfit(lengths, times, 1)[0])


if __name__ == "__main__":
    try:
        main()
    except HeadwayError as error:
        sys.stderr.write(f"bench: {error}\n")
        sys.exit(2)
