"""A pretrained encoder on the five folds of a data set, alone and joined with the n-grams, for the accuracy benchmark."""

from __future__ import annotations

import time
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.encoder.rows import encode, features, files_of, identity, pooled, subword_encoder, with_encoder
from benchmarks.folds import BASELINE, JOINT, PARTS, Fold, Folds
from headway.data.batching.datamodule import TextDataModule, in_batches, in_text_order, subset
from headway.data.tokenization import tokenizer
from headway.data.tokenization.encoded import EncodedTexts
from headway.data.tokenization.tokenizer import TextEncoder
from headway.files import read_json, sha256_of_json, write_json
from headway.model import combination, pretrained
from headway.model.fine_tuning import FineTuningModule
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier
from headway.model.pretrained import Head, PretrainedClassifier
from headway.model.training import fit, pin
from headway.params import Params
from headway.serving.package import ModelPackage

ENCODER = "encoder alone"


class EncoderFits:
    """Fits of an encoder on the folds of a data set's rows. Sub-words and features of all rows are computed once, for all folds.

    Args:
        folds: of the rows.
        encoder: folder in ``data/encoders``.
        mode: ``pretrained.mode``.
        console: to print progress on.
    """

    models = (BASELINE, PARTS[0], ENCODER, JOINT)

    def __init__(self, folds: Folds, encoder: str, mode: str, console: Console) -> None:
        self.folds, self.console = folds, console
        self.params = with_encoder(folds.params, encoder, mode)
        pin(self.params.training.threads)
        self.key = identity(self.params)
        self.name = f"encoder-{sha256_of_json([self.key, self.params.pretrained.model_dump()])[:8]}-"
        self.labels = folds.rows["label_id"].to_numpy().astype(np.int64)

    @cached_property
    def texts(self) -> EncodedTexts:
        """The sub-words of all rows."""
        return encode(self.folds.rows["text"].to_pylist(), self.labels, self.params)

    def fit(self, number: int, seed: int) -> dict[str, np.ndarray]:
        """By model: correctness on the test rows of fold ``number``, bool, (rows,), and seconds of the fit."""
        knobs = self.params.override({"seed": seed})
        fold, rows = self.folds.fold(number), self.folds.parts(number)
        ngrams, linear_seconds = fold.ngrams(knobs)
        if knobs.pretrained.mode == "frozen":
            values, head, seconds = self._head(rows, knobs)
            parts = [head(pooled(values[rows[name]], knobs)) for name in ("validation", "test")]
        else:
            classifier, seconds = self._trained(number, rows, knobs)
            parts = [classified(classifier, self._part(rows[name])) for name in ("validation", "test")]
        validation, test = (
            torch.stack([ngram_logits(ngrams, fold, name, own), own])
            for name, own in zip(("validation", "test"), parts, strict=True)
        )
        weights, _ = combination.fit_weights(validation, torch.from_numpy(self.labels[rows["validation"]]))
        logits = dict(zip(self.models[1:], (*test, combination.combine(test, weights)), strict=True))
        taken = {BASELINE: fold.seconds[BASELINE], PARTS[0]: linear_seconds, ENCODER: seconds}
        taken[JOINT] = fold.seconds["tokenizer"] + linear_seconds + seconds
        right = {name: fold.right(values.numpy()) for name, values in logits.items()}
        return {BASELINE: fold.baseline_right, **right, **{f"{name} seconds": np.array(s) for name, s in taken.items()}}

    def package(self, number: int = 0, seed: int = 1) -> ModelPackage:
        """The joint model of a fold, as it would be served."""
        knobs = self.params.override({"seed": seed})
        fold, rows = self.folds.fold(number), self.folds.parts(number)
        ngrams, _ = fold.ngrams(knobs)
        if knobs.pretrained.mode == "frozen":
            encoder = pretrained.load(files_of(knobs).folder)
            sizes = (knobs.pretrained.resolved_pooling, knobs.pretrained.max_length, self.folds.n_classes)
            classifier = PretrainedClassifier(encoder, *sizes).eval()
            classifier.set_head(self._head(rows, knobs)[1])
        else:
            classifier, _ = self._trained(number, rows, knobs)
        model = JointClassifier(ngrams, classifier)
        own = classified(classifier, self._part(rows["validation"]))
        linear = ngram_logits(ngrams, fold, "validation", own)
        model.fit_weights(linear, own, torch.from_numpy(self.labels[rows["validation"]]))
        words = TextEncoder(tokenizer.load(fold.folder / "tokenizer.json"), knobs.tokenizer.max_length)
        return ModelPackage(model, words, self.folds.classes, subword_encoder(knobs))

    def _part(self, mask: np.ndarray) -> EncodedTexts:
        return subset(self.texts, np.flatnonzero(mask))

    def _head(self, rows: dict[str, np.ndarray], knobs: Params) -> tuple[np.ndarray, Head, float]:
        """The features of all rows, the linear layer fitted on them, and the seconds of both."""
        values, seconds = features(self.texts, knobs, self.folds.folder / f"features-{self.key}")
        train, validation = (
            (pooled(values[rows[name]], knobs), self.labels[rows[name]]) for name in ("train", "validation")
        )
        started = time.monotonic()
        balanced = knobs.training.class_weights == "balanced"
        head = pretrained.fit_head(
            train, validation, self.folds.n_classes, knobs.pretrained.inverse_regularisation, balanced
        )
        return values, head, seconds + time.monotonic() - started

    def _trained(self, number: int, rows: dict[str, np.ndarray], knobs: Params) -> tuple[PretrainedClassifier, float]:
        """An encoder that has learned, and the seconds. An interrupted training continues after its last evaluation."""
        train, validation = (self._part(rows[name]) for name in ("train", "validation"))
        folder = self.folds.folder / f"{self.name}fold-{number}-seed-{knobs.seed}"
        watch = Stopwatch(folder / "seconds.json")
        data = TextDataModule(train, validation, knobs.pretrained.max_length, knobs.seed)

        def report(entry: dict[str, float]) -> None:
            watch.keep()
            accuracy = entry["validation_accuracy"]
            self.console.print(f"  step {entry['step']:,.0f}, {watch.seconds:.0f} s: validation accuracy {accuracy:.4f}")

        class_rows = np.bincount(train.labels, minlength=self.folds.n_classes).tolist()
        module = FineTuningModule(files_of(knobs).folder, knobs, class_rows, knobs.seed, data)
        self.console.print(f"  {module.schedule}")
        fit(module, data, report=report, checkpoints=folder / "checkpoints")
        return module.trained(), watch.seconds


class Stopwatch:
    """Seconds of work that may be interrupted: what was kept in a file, and what this process has added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before = float(read_json(path, made_by="benchmark")) if path.exists() else 0.0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Of all processes, without work that an interruption has lost."""
        return self._before + time.monotonic() - self._started

    def keep(self) -> None:
        """Note that everything up to now will not be repeated."""
        write_json(self.path, self.seconds)


def classified(model: torch.nn.Module, texts: EncodedTexts) -> Tensor:
    """Logits, (texts, C), in the order of the texts."""
    batches = in_batches(texts)
    with torch.inference_mode():
        return in_text_order(torch.cat([model(tokens) for tokens, _ in batches]), batches)


def ngram_logits(ngrams: NgramClassifier | None, fold: Fold, name: str, like: Tensor) -> Tensor:
    """Logits of the n-grams on a fold's rows, (rows, C), zeros without n-grams; ``like`` has their shape."""
    return torch.zeros_like(like) if ngrams is None else classified(ngrams, fold.part(name))
