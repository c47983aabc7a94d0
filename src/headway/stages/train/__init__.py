"""Stage train: train both parts of the classifier with the best hyperparameters, combine them and package the result."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from headway.data.batching.datamodule import TextDataModule, in_batches, subset
from headway.data.tokenization import tokenizer, vectors
from headway.data.tokenization.encoded import EncodedTexts
from headway.files import fresh_folder, read_json, sha256_of_file, sha256_of_json, write_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.model.classifier import AttentionClassifier
from headway.model.joint import JointClassifier
from headway.model.lightning import ClassifierModule
from headway.model.ngrams import NgramClassifier
from headway.model.training import fit, pin
from headway.params import Params, flatten
from headway.serving import package
from headway.stages.tokenize.cached import encoded_with
from headway.tracking import RunningRun, Tracker

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

#: Sections of params.yaml that determine the model.
MODEL_SECTIONS = ("tokenizer", "ngrams", "model", "training")
#: The linear part is fitted on every k-th text, with the smallest k that leaves at most this number of tokens.
MAX_NGRAM_TOKENS = 50_000_000


def train(params: Params, layout: Layout, tracker: Tracker, progress: Callback | None = None) -> dict[str, Any]:
    """Write ``models/candidate``, the model package; ``results/training/history.json``, and validation metrics.

    Checkpoints are kept in the scratch folder under a hash of all inputs, so that an interrupted training resumes after its
    last complete epoch, and a training with other inputs starts from the beginning.
    """
    found = read_json(layout.study / "best_params.json", made_by="tune")
    knobs = params.at(found)
    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    # A tokenizer found by the search has its own folder of encoded texts.
    folder = encoded_with(knobs.tokenizer, params.tokenizer, layout)
    tokenizer_file = folder / "tokenizer.json"
    vocabulary_size = tokenizer.load(tokenizer_file).get_vocab_size()
    splits = {name: EncodedTexts.open(folder / f"{name}.arrow") for name in ("train", "validation")}
    inputs = [code_fingerprint(layout, "train")]
    files = [tokenizer_file, *(folder / f"{name}.arrow" for name in splits), *folder.glob(vectors.FILE)]
    inputs += [sha256_of_file(file) for file in files]
    sections = [getattr(knobs, name).model_dump() for name in MODEL_SECTIONS]
    key = sha256_of_json([*sections, params.seed, inputs])
    checkpoints = layout.scratch / "checkpoints"
    for old in checkpoints.glob("*"):
        if old.name != key[:16]:
            shutil.rmtree(old)
    with tracker.nested("training", "train", key) as run:
        ngrams = fit_ngrams(splits["train"], splits["validation"], len(classes), knobs)
        attention, history = fit_attention(
            splits["train"],
            splits["validation"],
            vocabulary_size,
            len(classes),
            knobs,
            checkpoints / key[:16],
            lambda entry: _log_epoch(run, entry),
            vectors.load(folder),
            progress,
        )
        model = JointClassifier(ngrams, attention)
        best = max(history, key=lambda entry: entry["validation_accuracy"])
        report = {"epoch": best["epoch"], **join(model, splits["validation"])}
        with fresh_folder(layout.candidate) as packed:
            package.save(packed, model, tokenizer_file, knobs.tokenizer.max_length, vocabulary_size, classes)
        write_json(layout.training / "history.json", history)
        write_json(layout.metrics("training"), report)
        _log_result(run, knobs, layout)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return report


def fit_ngrams(train: EncodedTexts, validation: EncodedTexts, n_classes: int, knobs: Params) -> NgramClassifier | None:
    """Fit the linear part; None if ``ngrams.max_order`` is 0."""
    if not knobs.ngrams.max_order:
        return None
    pin(knobs.training.threads)
    every = -(-len(train.tokens) // MAX_NGRAM_TOKENS)
    some = train if every <= 1 else subset(train, np.arange(0, len(train), every))
    print(f"train · n-grams of {len(some):,} texts", flush=True)  # noqa: T201 - progress, for a person
    balanced = knobs.training.class_weights == "balanced"
    return NgramClassifier.fit(in_batches(some), in_batches(validation), n_classes, knobs.ngrams, balanced)


def fit_attention(
    train: EncodedTexts,
    validation: EncodedTexts,
    vocabulary_size: int,
    n_classes: int,
    knobs: Params,
    checkpoints: Path,
    report: Callable[[dict[str, float]], None] | None = None,
    word_vectors: np.ndarray | None = None,
    progress: Callback | None = None,
) -> tuple[AttentionClassifier, list[dict[str, float]]]:
    """The attention part with the weights of its best epoch, and one entry per epoch with its metrics."""
    class_rows = np.bincount(train.labels, minlength=n_classes).tolist()
    data = TextDataModule(train, validation, knobs.model.max_length, knobs.training.tokens_per_batch, knobs.seed)
    steps = data.steps(knobs.training.max_epochs, knobs.training.devices)
    module = ClassifierModule(knobs.model, knobs.training, vocabulary_size, class_rows, knobs.seed, steps, word_vectors)
    fit(
        module,
        data,
        max_epochs=knobs.training.max_epochs,
        progress=progress,
        report=report,
        checkpoints=checkpoints,
        devices=knobs.training.devices,
    )
    return module.classifier.eval(), module.history


def join(model: JointClassifier, validation: EncodedTexts) -> dict[str, Any]:
    """Fit the weights of the two parts on validation rows.

    Returns:
        accuracy of each part and of both; weight of each part; negative log-likelihood in nats and calibration error (15 bins
        of equal width) with weights of 1, as ``before``, and with the fitted weights, as ``after``.
    """
    with torch.inference_mode():
        batches = [(*model.parts(tokens), labels) for tokens, labels in in_batches(validation)]
    linear, attention, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))  # (N, C), (N, C), (N,)
    logits = {"before": model.combine(linear, attention)}
    model.fit_weights(linear, attention, labels)
    logits["after"] = model.combine(linear, attention)
    n_classes = linear.shape[1]

    def accuracy(logits: Tensor) -> float:
        return _rounded((logits.argmax(dim=1) == labels).double().mean())

    report: dict[str, Any] = {
        "validation_accuracy": accuracy(logits["after"]),
        "validation_nll": {when: _rounded(F.cross_entropy(one, labels)) for when, one in logits.items()},
        "validation_calibration_error": {
            when: _rounded(multiclass_calibration_error(one.softmax(dim=1), labels, n_classes))
            for when, one in logits.items()
        },
        "attention": {"validation_accuracy": accuracy(attention), "weight": _rounded(model.weights[1])},
    }
    if model.ngrams is not None:
        report["ngrams"] = {
            "validation_accuracy": accuracy(linear),
            "weight": _rounded(model.weights[0]),
            "features": len(model.ngrams.keys),
        }
        if model.ngrams.inverse_regularisation is not None:
            report["ngrams"]["inverse_regularisation"] = model.ngrams.inverse_regularisation
    return report


def _rounded(value: Tensor) -> float:
    return round(float(value), 6)


def training_run(params: Params, layout: Layout, tracker: Tracker) -> str:
    """Id of the MLflow run that trained the candidate. If MLflow no longer has it, it is logged again from the stage's files."""
    found = tracker.find(kind="training", model=package.fingerprint(layout.candidate))
    if found:
        return str(found.info.run_id)
    knobs = params.at(read_json(layout.study / "best_params.json", made_by="tune"))
    with tracker.nested("training", "train (logged again)", package.fingerprint(layout.candidate)) as run:
        for entry in read_json(layout.training / "history.json", made_by="train"):
            _log_epoch(run, entry)
        _log_result(run, knobs, layout)
    return run.id


def _log_epoch(run: RunningRun, entry: dict[str, float]) -> None:
    run.log_metrics({name: value for name, value in entry.items() if name != "epoch"}, step=int(entry["epoch"]))


def _log_result(run: RunningRun, knobs: Params, layout: Layout) -> None:
    for section in MODEL_SECTIONS:
        run.log_params({f"{section}.{name}": value for name, value in getattr(knobs, section).model_dump().items()})
    run.log_metrics(
        {f"joint_{name}": value for name, value in flatten(read_json(layout.metrics("training"), "train")).items()}
    )
    run.log_dataset(read_json(layout.raw / "manifest.json", made_by="ingest"))
    run.log_artifacts([layout.training / "history.json"], "training")
    run.set_tags({"headway.model": package.fingerprint(layout.candidate)})
