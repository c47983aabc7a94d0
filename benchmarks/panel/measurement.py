"""One measurement: a cell with one seed, through the functions of Headway's stages. Finished measurements are kept and reused.

A seed changes both the split and everything random in training.
"""

from __future__ import annotations

import io
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score

from benchmarks.folds import Fold
from benchmarks.panel.cells import FOLDER, Cell
from benchmarks.panel.packages import PROJECT
from benchmarks.shipped import PLAIN
from headway import params as parameters
from headway.data.batching.datamodule import WholeTexts
from headway.data.tokenization import subwords, tokenizer
from headway.data.tokenization.encoded import EncodedTexts
from headway.encoders import EncoderFiles
from headway.evaluation import baseline as linear
from headway.evaluation.metrics import likelihood_by_row
from headway.evaluation.predictions import Predictions
from headway.files import fresh_folder, read_json, sha256_of_file, sha256_of_json, write_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.model.fitting import fit_ngrams
from headway.model.joint import JointClassifier
from headway.params import Params
from headway.stages.ingest import ingest
from headway.stages.prepare import prepare
from headway.stages.tokenize import tokenize
from headway.stages.train import join
from headway.stages.train.fitting import described, fit_attention, fit_pretrained
from headway.tables import read_table

BASELINE, NGRAMS, ATTENTION, JOINT = MODELS = ("baseline", "n-grams", "attention", "joint")
#: What the data of a measurement depend on, and what its models depend on as well.
DATA_STAGES, MODEL_STAGES = ("ingest", "prepare", "tokenize", "baseline"), ("train",)
DATA_SECTIONS = ("data", "split", "tokenizer", "baseline")
MODEL_SECTIONS = (*DATA_SECTIONS, "ngrams", "model", "pretrained", "training", "seed")
#: Code of the benchmark itself that a measurement depends on.
BENCHMARK_CODE = (Path(__file__), PROJECT / "benchmarks" / "folds.py")
#: What the stages read of a project besides data and params, for a pretrained encoder.
LINKED = ("data/encoders", "dvc.yaml", "src")
#: Hex digits that identify a test row among the others.
ID_DIGITS = 16


@dataclass(frozen=True)
class Measurement:
    """A cell and a seed, with the params and the fingerprints of the code that are used.

    Attributes:
        cell: the rows.
        seed: of the split and of the training.
        params: of params.yaml, with overrides.
    """

    cell: Cell
    seed: int
    params: Params

    @property
    def folder(self) -> Path:
        """Of everything with this cell and seed."""
        return FOLDER / "cells" / self.cell.name / f"seed-{self.seed}"

    @property
    def file(self) -> Path:
        """Holds the result, for this code and these params."""
        return self.folder / f"{self._key(DATA_STAGES + MODEL_STAGES, MODEL_SECTIONS)}.json"

    def result(self) -> dict[str, Any]:
        """The result, which is measured unless there is one already."""
        if not self.file.exists():
            write_json(self.file, self._measure())
        return dict(read_json(self.file, made_by="benchmark"))

    def _measure(self) -> dict[str, Any]:
        layout = self.data()
        classes = read_json(layout.prepared / "labels.json", made_by="prepare")
        test = read_table(layout.prepared / "test.parquet", made_by="prepare")
        labels = test["label_id"].to_numpy()
        seconds = dict(read_json(layout.root / "seconds.json", made_by="benchmark"))
        probabilities = {BASELINE: np.load(layout.baseline / "test.npy")}
        fitted = self._fit(layout, len(classes), seconds)
        probabilities |= fitted.pop("probabilities")
        return {
            "rows": {
                name: len(EncodedTexts.open(layout.encoded / f"{name}.arrow")) for name in ("train", "validation", "test")
            },
            "classes": len(classes),
            "majority": float(np.bincount(labels).max() / len(labels)),
            "models": {
                name: scores(Predictions(test["id"].to_pylist(), labels, probabilities[name], classes)) for name in MODELS
            },
            **fitted,
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            "load": round(os.getloadavg()[0], 1),
            "ids": [row[:ID_DIGITS] for row in test["id"].to_pylist()],
        }

    def _fit(self, layout: Layout, n_classes: int, seconds: dict[str, float]) -> dict[str, Any]:
        """Fit the model as the stage train does; its probabilities on the test rows, its weights and its schedule."""
        train, validation = (EncodedTexts.open(layout.encoded / f"{name}.arrow") for name in ("train", "validation"))
        vocabulary_size = tokenizer.load(layout.encoded / "tokenizer.json").get_vocab_size()
        checkpoints = self.file.with_suffix(".checkpoints")
        with timed(NGRAMS, seconds):
            ngrams = fit_ngrams(WholeTexts(train, validation), n_classes, self.params)
        with timed(ATTENTION, seconds):
            if self.params.model.encoder == "pretrained":
                fitted = fit_pretrained(train, validation, n_classes, self.params, layout, checkpoints)
            else:
                fitted = described(fit_attention(train, validation, vocabulary_size, n_classes, self.params, checkpoints))
        shutil.rmtree(checkpoints, ignore_errors=True)
        model = JointClassifier(ngrams, fitted.classifier)
        class_rows = np.bincount(train.labels, minlength=n_classes).tolist()
        with timed("join", seconds):
            report = join(model, validation, class_rows, fitted.logits)
        test = self._subwords(layout, fitted.encoder) if fitted.encoder else None
        logits = torch.from_numpy(Fold(layout.encoded, n_classes).logits(model, test))  # (3, rows, C)
        probabilities = dict(zip((NGRAMS, ATTENTION, JOINT), logits.softmax(dim=2).numpy(), strict=True))
        return {
            "probabilities": probabilities,
            "weights": [round(float(weight), 4) for weight in model.weights],
            "validation": report,
            "schedule": fitted.report["schedule"] | {f"ended_{name}": fitted.history[-1][name] for name in ("step", "epoch")}
            if "schedule" in fitted.report
            else {},
        }

    def _subwords(self, layout: Layout, files: EncoderFiles) -> list[np.ndarray]:
        """The sub-words of the test rows."""
        texts = read_table(layout.prepared / "test.parquet", made_by="prepare")["text"].to_pylist()
        knobs = self.params.pretrained, self.params.tokenizer
        return subwords.encoder_of(files.tokenizer, files.config, knobs[0].max_length, knobs[1].strip_html)(texts)

    def data(self) -> Layout:
        """The rows after the stages ingest, prepare and tokenize, and the linear baseline's predictions on the test rows."""
        root = self.folder / f"data-{self._key(DATA_STAGES, DATA_SECTIONS)}"
        if not root.exists():
            with fresh_folder(root) as folder:
                _prepare(self.cell, self.params, Layout(folder))
        layout = Layout(root)
        for name in LINKED:
            if not (link := layout.root / name).exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(PROJECT / name)
        return layout

    def _key(self, stages: tuple[str, ...], sections: tuple[str, ...]) -> str:
        """A hash of the rows, of some sections of params.yaml, and of the code of some stages and of the benchmark."""
        chosen = self.params.model_dump(include=set(sections))
        code = [code_fingerprint(Layout(PROJECT), stage) for stage in stages] + [
            sha256_of_file(path) for path in BENCHMARK_CODE
        ]
        return sha256_of_json([self.cell.fingerprint, chosen, code])[:16]


def params_of(cell: Cell, seed: int, overrides: Mapping[str, Any]) -> Params:
    """params.yaml with a cell as its data.

    Args:
        cell: decides the shares of the splits.
        seed: of the split and of the training.
        overrides: values by dotted path.
    """
    values = {
        **PLAIN,
        "data.source": "file",
        "data.path": "rows.parquet",
        "data.max_bad_share": 1.0,
        **cell.split,
        "split.salt": f"panel {seed}",
        "seed": seed,
        **overrides,
    }
    return parameters.load(PROJECT / "params.yaml").override(values)


def _prepare(cell: Cell, params: Params, layout: Layout) -> None:
    cell.frame.to_parquet(layout.root / params.data.path)
    ingest(params, layout)
    prepare(params, layout)
    shutil.rmtree(layout.raw)
    (layout.root / params.data.path).unlink()
    seconds: dict[str, float] = {}
    with timed("tokenizer", seconds):
        tokenize(params, layout)
    train, test = (read_table(layout.prepared / f"{name}.parquet", made_by="prepare") for name in ("train", "test"))
    n_classes = len(read_json(layout.prepared / "labels.json", made_by="prepare"))
    with timed(BASELINE, seconds):
        baseline = linear.fit(train["text"].to_pylist(), train["label_id"].to_pylist(), params.baseline)
        probabilities = linear.predict_proba(baseline, test["text"].to_pylist(), n_classes)
    layout.baseline.mkdir(parents=True, exist_ok=True)
    np.save(layout.baseline / "test.npy", probabilities)
    write_json(layout.root / "seconds.json", seconds)


def scores(predictions: Predictions) -> dict[str, Any]:
    """Accuracy, macro F1 over the classes with rows, negative log-likelihood in nats, and a digit per row: 1 if it is correct."""
    labels, predicted = predictions.labels, predictions.predicted
    return {
        "accuracy": float(predictions.correct.mean()),
        "macro_f1": float(f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)),
        "nll": float(likelihood_by_row(predictions).mean()),
        "largest_predicted": float(np.bincount(predicted).max() / len(predicted)),
        "correct": "".join(map(str, predictions.correct.astype(int))),
    }


@contextmanager
def timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Add the seconds that the block takes, and keep what it prints from the terminal."""
    started = time.monotonic()
    with redirect_stdout(io.StringIO()):
        yield
    seconds[name] = time.monotonic() - started
