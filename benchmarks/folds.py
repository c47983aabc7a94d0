"""Five folds of a data set's rows, so that each row is scored once by a model that was neither trained nor selected on it.

A row's fold is a hash of its text. One fold is the test set; a tenth of the other four is for validation, the rest for training.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import torch

from benchmarks.shipped import prepared
from headway.data.batching import pad
from headway.data.batching.datamodule import WholeTexts, in_batches
from headway.data.text.splits import unit_hash
from headway.data.tokenization import encoded, fitting, tokenizer, vectors
from headway.data.tokenization.encoded import EncodedBatch, EncodedTexts
from headway.data.tokenization.tokenizer import TextEncoder
from headway.evaluation import baseline as linear
from headway.files import fresh_folder, read_json, sha256_of_json, write_json
from headway.model.classifier import AttentionClassifier
from headway.model.fitting import fit_ngrams
from headway.model.joint import JointClassifier
from headway.model.ngrams import NgramClassifier
from headway.params import Params
from headway.stages.train import join
from headway.stages.train.fitting import fit_attention
from headway.tables import read_table

FOLDS = 5
BASELINE = "linear baseline"
PARTS = ("n-grams alone", "attention alone")
JOINT = "joint"


def keep(path: Path, **arrays: Any) -> None:
    """Write a fit's arrays to a file atomically."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.rename(path)


@dataclass(frozen=True)
class Fold:
    """A fold with encoded texts, and with a tokenizer and a linear baseline fitted on its training rows.

    Attributes:
        folder: holds the encoded texts, the tokenizer and the baseline.
        n_classes: of the data set.
    """

    folder: Path
    n_classes: int

    def part(self, name: str) -> EncodedTexts:
        """The encoded rows for ``train``, ``validation`` or ``test``."""
        return EncodedTexts.open(self.folder / f"{name}.arrow")

    @property
    def baseline_right(self) -> np.ndarray:
        """Whether the linear baseline is correct on each test row, bool, (rows,)."""
        return np.asarray(np.load(self.folder / "baseline-right.npy"))

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds that fitting the tokenizer and the linear baseline took."""
        return dict(read_json(self.folder / "seconds.json", made_by="benchmark"))

    def vectors(self, file: Path | None) -> np.ndarray | None:
        """Vectors of the tokenizer's words from a file of word vectors; None without a file."""
        return vectors.read(file, tokenizer.load(self.folder / "tokenizer.json")) if file else None

    def attention(self, knobs: Params, start: np.ndarray | None = None) -> AttentionClassifier:
        """The trained attention part, with embeddings initialised from word vectors or at random."""
        checkpoints = self.folder / f"checkpoints-{uuid4().hex}"
        try:
            fitted = fit_attention(
                self.part("train"),
                self.part("validation"),
                tokenizer.load(self.folder / "tokenizer.json").get_vocab_size(),
                self.n_classes,
                knobs,
                checkpoints,
                word_vectors=start,
            )
        finally:
            shutil.rmtree(checkpoints, ignore_errors=True)
        return fitted.classifier

    def ngrams(self, knobs: Params) -> tuple[NgramClassifier | None, float]:
        """The fitted linear part and the seconds of its fit. It is saved, because it does not depend on a seed."""
        key = sha256_of_json([knobs.ngrams.model_dump(), knobs.training.class_weights])
        kept = self.folder / f"ngrams-{key[:12]}.pt"
        if not kept.exists():
            started = time.monotonic()
            fitted = fit_ngrams(WholeTexts(self.part("train"), self.part("validation")), self.n_classes, knobs)
            partial = kept.with_name(f"{kept.name}.{uuid4().hex}")
            torch.save((fitted, time.monotonic() - started), partial)
            partial.rename(kept)
        model, seconds = torch.load(kept, weights_only=False)
        return model, seconds

    def joined(self, ngrams: NgramClassifier | None, attention: AttentionClassifier) -> JointClassifier:
        """The joint model of both parts, with weights fitted on the validation rows."""
        model = JointClassifier(ngrams, attention)
        class_rows = np.bincount(self.part("train").labels, minlength=self.n_classes).tolist()
        join(model, self.part("validation"), class_rows)
        return model

    def logits(self, model: JointClassifier, subwords: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Logits of the PARTS and of the joint model on the test rows, float32, (3, rows, C).

        ``subwords`` are those of the test rows, int32, (length,) each, for a pretrained encoder.
        """
        test = self.part("test")
        order = np.argsort(test.lengths, kind="stable")  # the order of in_batches
        logits, labels, done = [], [], 0
        with torch.inference_mode():
            for tokens, some_labels in in_batches(test):
                labels.append(some_labels)
                rows, done = order[done : done + len(tokens)], done + len(tokens)
                parts = model.parts(tokens, None if subwords is None else pad([subwords[row] for row in rows]))
                logits.append(torch.stack([*parts, model.combine(*parts)]))
        assert np.array_equal(torch.cat(labels).numpy(), test.labels[order]), "unexpected order of rows"
        together = torch.cat(logits, dim=1).numpy()
        found = np.empty_like(together)
        found[:, order] = together
        return found

    def right(self, logits: np.ndarray) -> np.ndarray:
        """Whether logits, (…, rows, C), are correct on the test rows, bool, (…, rows)."""
        return np.asarray(logits.argmax(axis=-1) == self.part("test").labels)


class Folds:
    """The rows of a data set in five folds.

    Args:
        params: of everything.
        benchmark: name of the folder for results.
        splits: of the stage ``prepare``, whose rows are used.

    Attributes:
        rows: with id, text and label_id.
        classes: label names.
    """

    def __init__(self, params: Params, benchmark: str, splits: Sequence[str]) -> None:
        self.params = params
        layout = prepared(params, benchmark)
        self.folder = layout.root.parent
        self.rows = pa.concat_tables(read_table(layout.prepared / f"{name}.parquet", made_by="prepare") for name in splits)
        self.classes: list[str] = read_json(layout.prepared / "labels.json", made_by="prepare")
        self.n_classes = len(self.classes)
        ids = self.rows["id"].to_pylist()
        self._fold = np.array([int(unit_hash(row, "fold") * FOLDS) for row in ids])
        self._validation = np.array([unit_hash(row, "validation") < 0.1 for row in ids])

    def fold(self, number: int) -> Fold:
        """Fold ``number``, 0 to FOLDS - 1, created if necessary."""
        folder = self.folder / f"fold-{number}"
        if not folder.exists():
            parts = {name: self.rows.filter(pa.array(mask)) for name, mask in self.parts(number).items()}
            with fresh_folder(folder) as made:
                self._make(made, parts)
        return Fold(folder, self.n_classes)

    def parts(self, number: int) -> dict[str, np.ndarray]:
        """Which rows are for training, validation and testing in fold ``number``, bool, (rows,) each."""
        tested = self._fold == number
        return {"train": ~tested & ~self._validation, "validation": ~tested & self._validation, "test": tested}

    def _make(self, folder: Path, parts: dict[str, pa.Table]) -> None:
        texts = {name: rows["text"].to_pylist() for name, rows in parts.items()}
        labels = {name: rows["label_id"].to_numpy() for name, rows in parts.items()}
        started = time.monotonic()
        baseline = linear.fit(texts["train"], labels["train"].tolist(), self.params.baseline)
        probabilities = linear.predict_proba(baseline, texts["test"], self.n_classes)
        np.save(folder / "baseline-right.npy", probabilities.argmax(axis=1) == labels["test"])
        seconds = {BASELINE: time.monotonic() - started}
        started = time.monotonic()
        words = fitting.fit(texts["train"], self.params.tokenizer, fitting.measure(texts["train"]))
        words.save(str(folder / "tokenizer.json"))
        encoder = TextEncoder(words, self.params.tokenizer.max_length)
        for name, rows in parts.items():
            batch = EncodedBatch(rows["id"], rows["label_id"].combine_chunks(), encoder(texts[name]))
            encoded.write(folder / f"{name}.arrow", [batch])
        seconds["tokenizer"] = time.monotonic() - started
        write_json(folder / "seconds.json", seconds)
