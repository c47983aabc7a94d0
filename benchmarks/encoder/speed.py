"""Speed of a pretrained encoder: fine-tuning, the features of a frozen one, and loading a model package that has it.

``python -m benchmarks.speed --encoder NAME`` compares fine-tuning with a plain loop over padded batches, as the Trainer of
transformers runs it, and features with sentence-transformers if it is installed, else with batches of 32 texts of similar length.
Both sides have the same texts, weights and threads, and take turns.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.encoder.rows import encode, files_of, subword_encoder, with_encoder
from benchmarks.folds import Folds
from benchmarks.rounds import SPEEDS, alternated, print_table, ratio, speeds
from benchmarks.shipped import SUBSETS, params_for, prepared
from benchmarks.targets import Target
from benchmarks.trainees import Trainee
from headway.data.batching import TextBatches, TokenBudgetSampler, pad
from headway.data.batching.datamodule import TextDataModule
from headway.data.text.splits import SPLITS
from headway.data.tokenization import tokenizer
from headway.data.tokenization.encoded import EncodedTexts
from headway.model import fine_tuning, pretrained
from headway.model.fine_tuning import FineTuningModule
from headway.model.joint import JointClassifier
from headway.model.pretrained import PretrainedClassifier
from headway.model.training import pin
from headway.params import Params
from headway.serving import package
from headway.serving.package import SavedEncoder
from headway.stages.tokenize.pretrained import TOKENS_PER_BATCH
from headway.stages.train.fitting import described_encoder
from headway.tables import read_table

#: Tokens a batch that fine-tuning derives from the whole data set.
TRAINING_BATCH = {"rotten_tomatoes": 1_024, "imdb": 2_048}
OURS, PADDED = "Headway", "padded batches of random texts"
LIBRARY, SORTED = "sentence-transformers", "batches of 32 texts of similar length"
PEER_BATCH, PEER_CLIP, PEER_RATE = 32, 1.0, 5e-5  # the Trainer's defaults, and the batch of sentence-transformers
#: Targets: times as fast as the peer, and seconds.
FASTER_TRAINING, FASTER_FEATURES, LOADING = 1.5, 1.3, 5.0
LOAD = """
import sys
import headway
model = headway.load(sys.argv[1])
print("loaded", flush=True)
model.predict(["a charming, funny and quietly moving film"])
"""


class Sample(NamedTuple):
    """Some training texts of a data set without markup, with their labels, (texts,), and sub-words."""

    name: str
    texts: list[str]
    labels: np.ndarray
    encoded: EncodedTexts


def measure(encoder: str, subsets: Sequence[str], tokens: int, rounds: int, console: Console) -> list[Target]:
    """Print a table for each comparison.

    Args:
        encoder: folder in ``data/encoders``.
        subsets: the shipped data sets whose texts are used.
        tokens: sub-words of an epoch, at least.
        rounds: of each comparison.

    Raises:
        HeadwayError: there is no such encoder.
    """
    base = with_encoder(params_for(SUBSETS[0], 0), encoder, "fine_tune")
    files_of(base)  # a mistake is reported at once
    pin(base.training.threads)
    targets: list[Target] = []
    for subset in subsets:
        params = with_encoder(params_for(subset, 0), encoder, "fine_tune")
        found = sample(params, subset, tokens)
        console.print(f"{subset}: {len(found.texts)} texts, {rounds} rounds")
        targets.append(_compared("fine-tuning", training(found, params), found, rounds, FASTER_TRAINING, console))
        targets.append(_compared("features", of_features(found, params), found, rounds, FASTER_FEATURES, console))
    return [*targets, loading(base, rounds, console)]


def sample(params: Params, subset: str, tokens: int) -> Sample:
    """The first training rows of a shipped data set that have at least this number of sub-words together."""
    rows = read_table(prepared(params_for(subset, 0), "bench-accuracy").prepared / "train.parquet", made_by="prepare")
    some = rows.slice(0, tokens // 8)
    texts = subword_encoder(params).cleaned(some["text"].to_pylist())
    labels = some["label_id"].to_numpy()
    encoded = encode(texts, labels, params)
    number = int(np.searchsorted(np.cumsum(encoded.lengths), tokens)) + 1
    return Sample(subset, texts[:number], labels[:number], encode(texts[:number], labels[:number], params))


def training(found: Sample, params: Params) -> dict[str, Callable[[], object]]:
    """An epoch of fine-tuning by a plain loop and by ours, in this order; both take the same steps on average."""
    data = TextDataModule(found.encoded, found.encoded, params.pretrained.max_length, params.seed)
    knobs = params.override({"training.tokens_per_batch": TRAINING_BATCH[found.name], "training.max_epochs": 1})
    schedule = fine_tuning.schedule(knobs, data)
    schedule = replace(schedule, evaluation_steps=schedule.steps)
    data.follow(schedule)
    class_rows = np.bincount(found.labels).tolist()
    module = FineTuningModule(files_of(params).folder, knobs, class_rows, params.seed, data)
    module.schedule = schedule
    optimisers, _ = module.configure_optimizers()
    ours = Trainee(module.classifier.train(), data.train_dataloader, optimisers, clip=knobs.training.gradient_clip_val)
    return {PADDED: padded(found, params, len(class_rows), schedule.steps).epoch, OURS: ours.epoch}


def padded(found: Sample, params: Params, n_classes: int, steps: int) -> Trainee:
    """The encoder with the dropout of its configuration, AdamW, and as many batches of random texts."""
    draw = np.random.default_rng(params.seed)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        rows = TextBatches(found.encoded)
        for some in np.array_split(draw.permutation(len(rows)), steps):
            yield rows[some.tolist()]

    encoder, knobs = pretrained.load(files_of(params).folder), params.pretrained
    model = PretrainedClassifier(encoder, knobs.resolved_pooling, knobs.max_length, n_classes).train()
    return Trainee(model, batches, [torch.optim.AdamW(model.parameters(), PEER_RATE, fused=True)], clip=PEER_CLIP)


def of_features(found: Sample, params: Params) -> dict[str, Callable[[], object]]:
    """The features of a frozen encoder from texts by the peer and by ours, in this order."""
    encoder, subwords = pretrained.load(files_of(params).folder), subword_encoder(params)

    def computed(batches: Callable[[list[np.ndarray]], Sequence[list[int]]]) -> list[Tensor]:
        tokens = subwords(found.texts)
        with torch.inference_mode():
            return [pretrained.features(encoder, pad([tokens[row] for row in rows])) for rows in batches(tokens)]

    def by_budget(tokens: list[np.ndarray]) -> list[list[int]]:
        return list(TokenBudgetSampler(np.array([len(ids) for ids in tokens]), TOKENS_PER_BATCH))

    def by_number(tokens: list[np.ndarray]) -> list[list[int]]:
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        return [order[start : start + PEER_BATCH] for start in range(0, len(order), PEER_BATCH)]

    peer = library(params)
    if peer is None:
        return {SORTED: lambda: computed(by_number), OURS: lambda: computed(by_budget)}
    return {LIBRARY: lambda: peer(found.texts), OURS: lambda: computed(by_budget)}


def library(params: Params) -> Callable[[list[str]], object] | None:
    """Mean pooling by sentence-transformers; None if it is not installed."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    words = modules.Transformer(str(files_of(params).folder))
    pooling = modules.Pooling(words.get_embedding_dimension(), "mean")
    model = SentenceTransformer(modules=[words, pooling], device="cpu")
    model.max_seq_length = params.pretrained.max_length
    return lambda texts: model.encode(texts, batch_size=PEER_BATCH, show_progress_bar=False)


def _compared(
    what: str, contests: dict[str, Callable[[], object]], found: Sample, rounds: int, target: float, console: Console
) -> Target:
    """Print a table of two contests, of which the first is the peer's, and return ours against its target."""
    seconds = alternated(contests, rounds)
    peer, ours = seconds.values()
    table = Table(f"{what}, {found.name}", *SPEEDS, "times the first")
    table.title = f"{len(found.texts)} texts, {len(found.encoded.tokens):,} sub-words, {rounds} rounds"
    for name, times in seconds.items():
        table.add_row(name, *speeds(len(found.texts), times), f"{ratio(peer, times):.2f}")
    print_table(console, table)
    faster = ratio(peer, ours)
    return f"{found.name}, {what}: {faster:.2f} times as fast as {next(iter(contests))}, target {target}", faster >= target


def loading(params: Params, rounds: int, console: Console) -> Target:
    """Seconds from the start of a process until a package with the encoder is loaded, and until it has classified a text."""
    rows: dict[str, list[tuple[float, float, float]]] = {"import torch alone": [], "headway.load": []}
    with tempfile.TemporaryDirectory() as folder:
        package = write_package(params, Path(folder) / "package")
        for _ in range(rounds):
            rows["import torch alone"].append(in_new_process('import torch\nprint("loaded", flush=True)'))
            rows["headway.load"].append(in_new_process(LOAD, str(package)))
    table = Table("a new process", "seconds until loaded", "until the first prediction", "CPU seconds in all")
    for name, found in rows.items():
        table.add_row(name, *(f"{statistics.median(values):.2f}" for values in zip(*found, strict=True)))
    print_table(console, table)
    seconds = statistics.median(loaded for loaded, *_ in rows["headway.load"])
    return f"loading a package, with all imports: {seconds:.1f} s, target {LOADING:.0f}", seconds <= LOADING


def in_new_process(code: str, *arguments: str) -> tuple[float, float, float]:
    """Seconds until code prints a line, seconds until it ends, and the CPU seconds that it used."""
    before = os.times()
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        loaded = time.perf_counter() - started
    ended, after = time.perf_counter() - started, os.times()
    if process.returncode or line != "loaded\n":
        sys.exit("the process that loads the package failed")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return loaded, ended, used


def write_package(params: Params, folder: Path) -> Path:
    """Write a package with the n-grams of a fold of Rotten Tomatoes and the encoder into a new folder, which is returned.

    The linear layer on the encoder is not fitted, which changes neither size nor speed.
    """
    folds = Folds(params_for("rotten_tomatoes", 0), "bench-accuracy", SPLITS)
    fold, files, knobs = folds.fold(0), files_of(params), params.pretrained
    classifier = PretrainedClassifier(
        pretrained.load(files.folder), knobs.resolved_pooling, knobs.max_length, folds.n_classes
    )
    words = fold.folder / "tokenizer.json"
    size = tokenizer.load(words).get_vocab_size()
    encoder = SavedEncoder(files, described_encoder(files, params), params.tokenizer.strip_html)
    model = JointClassifier(fold.ngrams(params)[0], classifier)
    folder.mkdir()
    package.save(folder, model, words, params.tokenizer.max_length, size, folds.classes, encoder)
    return folder
