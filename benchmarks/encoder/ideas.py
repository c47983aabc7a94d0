"""Ideas for serving and reading with a pretrained encoder that Headway does not have, measured once; see ``benchmarks/notes.md``.

``python -m benchmarks.encoder.ideas int8``: linear layers with 8-bit integers, on the first fold of Rotten Tomatoes.
``python -m benchmarks.encoder.ideas windows``: long texts in windows whose features are averaged, on a cell of the panel.
``python -m benchmarks.encoder.ideas negation``: what the models of the first fold of Rotten Tomatoes say of a negated sentence.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.encoder.fits import EncoderFits
from benchmarks.encoder.rows import encode, features, identity, pooled, with_encoder
from benchmarks.folds import Folds
from benchmarks.panel.cells import mistakes_in_one_line, read_cells
from benchmarks.panel.measurement import Measurement, params_of
from benchmarks.rounds import alternated, print_table, ratio
from benchmarks.shipped import params_for
from headway.data.batching import pad
from headway.data.text.splits import SPLITS
from headway.data.tokenization.encoded import EncodedTexts
from headway.files import read_json
from headway.model import pretrained
from headway.model.pretrained import PretrainedClassifier
from headway.model.training import pin
from headway.params import Params
from headway.params_sections import MAX_SUBWORDS
from headway.serving.package import ModelPackage
from headway.tables import read_table

SENTENCES = ("Not a bad film at all.", "A bad film.", "Not a good film at all.", "A good film.")
#: Texts of a batch, and batches of one text, whose speed is measured.
BATCH, SINGLE = 64, 16
LENGTHS, WINDOW = (256, 512), 256


def main() -> None:
    """Measure one idea and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ideas = {"int8": int8, "windows": windows, "negation": negation}
    parser.add_argument("idea", choices=ideas)
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2", help="folder in data/encoders")
    parser.add_argument("--cell", default="imdb-2000", help="windows: of the panel")
    parser.add_argument("--modes", nargs="+", default=("frozen", "fine_tune"), help="negation: of the encoder")
    parser.add_argument("--rounds", type=int, default=5, help="int8: after one that warms up")
    arguments = parser.parse_args()
    console = Console(highlight=False, width=max(120, Console().width))
    with mistakes_in_one_line(console):
        ideas[arguments.idea](arguments, console)


def fits_of(encoder: str, mode: str, console: Console) -> EncoderFits:
    """The fits of ``make bench-accuracy`` on all rows of Rotten Tomatoes."""
    return EncoderFits(Folds(params_for("rotten_tomatoes", 0), "bench-accuracy", SPLITS), encoder, mode, console)


def int8(arguments: argparse.Namespace, console: Console) -> None:
    """Speed and accuracy of a package whose encoder's linear layers are quantised, against the same one in float32.

    Activations are quantised as they come (dynamic quantisation), the weights once.
    """
    fits = fits_of(arguments.encoder, "frozen", console)
    exact = fits.package()
    classifier = copy.deepcopy(exact.classifier)
    assert isinstance(classifier.attention, PretrainedClassifier)
    encoder = torch.ao.quantization.quantize_dynamic(classifier.attention.encoder, {nn.Linear}, dtype=torch.qint8)
    classifier.attention.encoder = encoder
    packages = {"float32": exact, "int8": ModelPackage(classifier, exact.encoder, exact.classes, exact.subwords)}
    mask = fits.folds.parts(0)["validation"]
    texts, labels = np.array(fits.folds.rows["text"].to_pylist())[mask].tolist(), fits.labels[mask]
    table = Table("linear layers", "validation accuracy", "one text, texts/s", "batches, texts/s")
    table.title = f"{len(texts)} validation rows of Rotten Tomatoes; joint with n-grams; {torch.get_num_threads()} threads"
    one = alternated(
        {name: partial(singly, package, texts[:SINGLE]) for name, package in packages.items()}, arguments.rounds
    )
    many = alternated(
        {name: partial(package.predict_proba, texts[:BATCH]) for name, package in packages.items()}, arguments.rounds
    )
    for name, package in packages.items():
        right = package.predict_proba(texts).argmax(axis=1) == labels
        speeds = SINGLE / np.median(one[name]), BATCH / np.median(many[name])
        table.add_row(name, f"{right.mean():.4f}", *(f"{speed:.0f}" for speed in speeds))
    table.add_row("times as fast", "", *(f"{ratio(found['float32'], found['int8']):.2f}" for found in (one, many)))
    print_table(console, table)


def singly(package: ModelPackage, texts: Sequence[str]) -> None:
    """Classify texts one by one."""
    for text in texts:
        package.predict_proba([text])


def windows(arguments: argparse.Namespace, console: Console) -> None:
    """A linear layer on a frozen encoder's features of the first and last half of a text, against the mean over its windows."""
    (cell,), _ = read_cells(console, [arguments.cell])
    base = with_encoder(params_of(cell, 1, {}), arguments.encoder)
    pin(base.training.threads)
    measurement = Measurement(cell, 1, base)
    layout = measurement.data()
    n_classes = len(read_json(layout.prepared / "labels.json", made_by="prepare"))
    rows = {name: read_table(layout.prepared / f"{name}.parquet", made_by="prepare") for name in SPLITS}
    ends = np.cumsum([len(table) for table in rows.values()])
    texts = [text for table in rows.values() for text in table["text"].to_pylist()]
    labels = np.concatenate([table["label_id"].to_numpy() for table in rows.values()]).astype(np.int64)
    table = Table("what is read", "sub-words", "validation accuracy", "test accuracy", "seconds of features")
    table.title = f"{cell.name}: {len(rows['test'])} test rows"
    right: list[np.ndarray] = []
    ways: list[tuple[str, Params, Callable[[EncodedTexts], tuple[EncodedTexts, np.ndarray]]]] = [
        (f"first and last half of {length}", base.override({"pretrained.max_length": length}), whole) for length in LENGTHS
    ]
    longest = base.override({"pretrained.max_length": MAX_SUBWORDS})
    ways.append((f"mean over windows of {WINDOW}", longest, cut))
    for name, params, split in ways:
        pieces, starts = split(encode(texts, labels, params))
        values, seconds = features(pieces, params, measurement.folder / f"features-{identity(params)}")
        x = np.add.reduceat(pooled(values, params).numpy(), starts) / np.diff([*starts, len(pieces)])[:, None]
        parts = [torch.from_numpy(part) for part in np.split(x, ends[:-1])]
        train, validation, test = zip(parts, np.split(labels, ends[:-1]), strict=True)
        head = pretrained.fit_head(train, validation, n_classes, params.pretrained.inverse_regularisation)
        marks = [head(part).numpy().argmax(axis=1) == own for part, own in (validation, test)]
        right.append(np.concatenate(marks))
        cells = (f"{len(pieces.tokens):,}", *(f"{mark.mean():.4f}" for mark in marks), f"{seconds:.0f}")
        table.add_row(name, *cells)
    print_table(console, table)
    wins, losses = ((right[-1] > right[0]).sum(), (right[-1] < right[0]).sum())
    console.print(
        f"validation and test rows that windows alone have right: {wins}, that halves of {LENGTHS[0]} alone: {losses}"
    )


def whole(texts: EncodedTexts) -> tuple[EncodedTexts, np.ndarray]:
    """Each text as one piece; where each text's pieces start."""
    return texts, np.arange(len(texts))


def cut(texts: EncodedTexts) -> tuple[EncodedTexts, np.ndarray]:
    """Each text as windows of about the same length, each between the special tokens of its text."""
    pieces: list[np.ndarray] = []
    labels: list[int] = []
    starts: list[int] = []
    for row, label in enumerate(texts.labels):
        first, *_, last = ids = texts[row]
        starts.append(len(pieces))
        inner = np.array_split(ids[1:-1], max(1, -(-(len(ids) - 2) // (WINDOW - 2))))
        pieces += [np.concatenate([[first], piece, [last]]).astype(np.int32) for piece in inner]
        labels += [label] * len(inner)
    offsets = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    return EncodedTexts(np.concatenate(pieces), offsets, np.array(labels), ()), np.array(starts)


def negation(arguments: argparse.Namespace, console: Console) -> None:
    """The probability of the class "positive" that each part and the joint model give to sentences."""
    for mode in arguments.modes:
        package = fits_of(arguments.encoder, mode, console).package()
        positive = package.classes.index("positive")
        assert package.subwords is not None
        table = Table(f"{mode}: P(positive)", "n-grams alone", "encoder alone", "joint")
        for sentence in SENTENCES:
            tokens, subwords = (pad(encoder([sentence])) for encoder in (package.encoder, package.subwords))
            with torch.inference_mode():
                parts = package.classifier.parts(tokens, subwords)
                logits = torch.stack([*parts, package.classifier.combine(*parts)])
            table.add_row(sentence, *(f"{value:.3f}" for value in logits.softmax(dim=2)[:, 0, positive].tolist()))
        print_table(console, table)


if __name__ == "__main__":
    main()
