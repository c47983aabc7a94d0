"""Stage train: train both parts of the classifier with the best hyperparameters, combine them and package the result."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from headway.data.batching.datamodule import WholeTexts, in_batches, in_text_order
from headway.data.tokenization import tokenizer, vectors
from headway.data.tokenization.encoded import EncodedTexts
from headway.files import fresh_folder, read_json, sha256_of_file, sha256_of_json, write_json
from headway.layout import Layout
from headway.lineage import code_fingerprint
from headway.model.fitting import fit_ngrams
from headway.model.joint import JointClassifier
from headway.params import PLACE_OF_TRAINING, Params, flatten
from headway.serving import package
from headway.serving.package import SavedEncoder
from headway.stages.tokenize.cached import encoded_with
from headway.stages.tokenize.pretrained import identity
from headway.stages.train.fitting import FittedAttention, Report, described, fit_attention, fit_pretrained
from headway.stages.train.parts import part_metrics
from headway.tracking import RunningRun, Tracker

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

#: Sections of params.yaml that determine the model.
MODEL_SECTIONS = ("tokenizer", "ngrams", "model", "pretrained", "training")


@dataclass(frozen=True)
class Inputs:
    """What the stage trains with.

    Attributes:
        knobs: the params, with the values that the search has found.
        folder: of the encoded texts.
        checkpoints: their folder, under a hash of all inputs.
    """

    knobs: Params
    found: dict[str, Any]
    classes: list[str]
    folder: Path
    splits: dict[str, EncodedTexts]
    key: str
    checkpoints: Path

    @property
    def tokenizer_file(self) -> Path:
        return self.folder / "tokenizer.json"

    @property
    def vocabulary_size(self) -> int:
        return tokenizer.load(self.tokenizer_file).get_vocab_size()


def train(params: Params, layout: Layout, tracker: Tracker, progress: Callback | None = None) -> dict[str, Any]:
    """Write ``models/candidate``, the model package; ``results/training/history.json``, and validation metrics.

    Checkpoints are kept in the scratch folder under a hash of all inputs, so that an interrupted training resumes after its
    last evaluation, and a training with other inputs starts from the beginning.
    """
    inputs = _inputs(params, layout)
    knobs, splits, classes = inputs.knobs, inputs.splits, inputs.classes
    for old in inputs.checkpoints.parent.glob("*"):
        if old != inputs.checkpoints:
            shutil.rmtree(old)
    with tracker.nested("training", "train", inputs.key) as run:
        ngrams = fit_ngrams(WholeTexts(**splits), len(classes), knobs)
        fitted = _attention_part(inputs, layout, partial(_log_evaluation, run), progress)
        model = JointClassifier(ngrams, fitted.classifier)
        class_rows = np.bincount(splits["train"].labels, minlength=len(classes)).tolist()
        joined = join(model, splits["validation"], class_rows, fitted.logits)
        report = {
            **{name: value for name, value in fitted.report.items() if name != "attention"},
            **joined,
            "attention": joined["attention"] | fitted.report["attention"],
            "settings": settings_of(knobs, inputs.found),
        }
        with fresh_folder(layout.candidate) as packed:
            made_from = fitted.encoder
            encoder = SavedEncoder(made_from, fitted.report["encoder"], knobs.tokenizer.strip_html) if made_from else None
            size, longest = inputs.vocabulary_size, knobs.tokenizer.max_length
            package.save(packed, model, inputs.tokenizer_file, longest, size, classes, encoder)
        write_json(layout.training / "history.json", fitted.history)
        write_json(layout.metrics("training"), report)
        _log_result(run, knobs, layout)
    shutil.rmtree(inputs.checkpoints.parent, ignore_errors=True)
    return report


def take_part(params: Params, layout: Layout) -> None:
    """Train together with the first of the processes that torchrun started. That one alone has the rest of the stage to do."""
    inputs = _inputs(params, layout)
    if inputs.knobs.model.encoder == "scratch" or inputs.knobs.pretrained.learns:
        _attention_part(inputs, layout)


def _inputs(params: Params, layout: Layout) -> Inputs:
    found = read_json(layout.study / "best_params.json", made_by="tune")
    knobs = params.at(found)
    classes = read_json(layout.prepared / "labels.json", made_by="prepare")
    # A tokenizer found by the search has its own folder of encoded texts.
    folder = encoded_with(knobs.tokenizer, params.tokenizer, layout)
    splits = {name: EncodedTexts.open(folder / f"{name}.arrow") for name in ("train", "validation")}
    inputs = [code_fingerprint(layout, "train")]
    if knobs.model.encoder == "pretrained":
        inputs += identity(knobs, layout)
    files = [folder / "tokenizer.json", *(folder / f"{name}.arrow" for name in splits), *folder.glob(vectors.FILE)]
    inputs += [sha256_of_file(file) for file in files]
    sections = [getattr(knobs, name).model_dump(exclude=PLACE_OF_TRAINING) for name in MODEL_SECTIONS]
    key = sha256_of_json([*sections, params.seed, inputs])
    return Inputs(knobs, found, classes, folder, splits, key, layout.scratch / "checkpoints" / key[:16])


def _attention_part(
    inputs: Inputs, layout: Layout, report: Report | None = None, progress: Callback | None = None
) -> FittedAttention:
    """The attention part after its training."""
    n_classes = len(inputs.classes)
    if inputs.knobs.model.encoder == "pretrained":
        return fit_pretrained(
            **inputs.splits,
            n_classes=n_classes,
            knobs=inputs.knobs,
            layout=layout,
            checkpoints=inputs.checkpoints,
            report=report,
            progress=progress,
        )
    module = fit_attention(
        inputs.splits["train"],
        inputs.splits["validation"],
        inputs.vocabulary_size,
        n_classes,
        inputs.knobs,
        inputs.checkpoints,
        report,
        vectors.load(inputs.folder),
        progress,
    )
    return described(module)


def join(
    model: JointClassifier, validation: EncodedTexts, class_rows: Sequence[int], attention: Tensor | None = None
) -> dict[str, Any]:
    """Fit the weights of the two parts on validation rows.

    Args:
        class_rows: training rows of each class.
        attention: logits of the attention part, (V, C), in the order of the rows, if they are known.

    Returns:
        accuracy of each part and of both; weight of each part; negative log-likelihood in nats and calibration error (15 bins
        of equal width) with weights of 1, as ``before``, and with the fitted weights, as ``after``; what each part learned,
        see :func:`~headway.stages.train.parts.part_metrics`.
    """
    linear, attention, labels = _logits(model, validation, attention)
    logits = {"before": model.combine(linear, attention)}
    model.fit_weights(linear, attention, labels)
    logits["after"] = model.combine(linear, attention)
    n_classes = linear.shape[1]
    parts = {"attention": attention} if model.ngrams is None else {"ngrams": linear, "attention": attention}

    def accuracy(logits: Tensor) -> float:
        return _rounded((logits.argmax(dim=1) == labels).double().mean())

    report: dict[str, Any] = {
        "validation_accuracy": accuracy(logits["after"]),
        "validation_nll": {when: _rounded(F.cross_entropy(one, labels)) for when, one in logits.items()},
        "validation_calibration_error": {
            when: _rounded(multiclass_calibration_error(one.softmax(dim=1), labels, n_classes))
            for when, one in logits.items()
        },
        "validation_rows": len(labels),
        "training_rows": sum(class_rows),
        "classes": n_classes,
        **part_metrics(parts, logits["after"], labels, class_rows),
    }
    report["attention"]["weight"] = _rounded(model.weights[1])
    if model.ngrams is not None:
        report["ngrams"] |= {
            "weight": _rounded(model.weights[0]),
            "features": len(model.ngrams.keys),
        }
        if model.ngrams.inverse_regularisation is not None:
            report["ngrams"]["inverse_regularisation"] = model.ngrams.inverse_regularisation
    return report


def _logits(model: JointClassifier, validation: EncodedTexts, attention: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the linear part and of the attention part, each (V, C), and labels, (V,)."""
    loaded = in_batches(validation)
    if attention is None:
        with torch.inference_mode():
            batches = [(*model.parts(tokens), labels) for tokens, labels in loaded]
        linear, attention, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return linear, attention, labels
    linear = torch.zeros_like(attention)
    if model.ngrams is not None:
        with torch.inference_mode():
            found = [model.ngrams(tokens) for tokens, _ in loaded]
        linear = in_text_order(torch.cat(found), loaded)
    return linear, attention, torch.from_numpy(validation.labels.astype(np.int64))


def settings_of(knobs: Params, searched: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the advice for a part that did not learn depends on; the first three only if the search left them."""
    names = [name for name in ("learning_rate", "max_epochs", "tokens_per_batch") if f"training.{name}" not in searched]
    found = {name: getattr(knobs.training, name) for name in (*names, "class_weights")}
    return {**found, "word_vectors": knobs.tokenizer.word_vectors}


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
            _log_evaluation(run, entry)
        _log_result(run, knobs, layout)
    return run.id


def _log_evaluation(run: RunningRun, entry: dict[str, float]) -> None:
    # Version 0.1.0 has evaluated after each epoch, which was MLflow's step.
    step = int(entry["step"] if "step" in entry else entry["epoch"])
    run.log_metrics({name: value for name, value in entry.items() if name != "step"}, step=step)


def _log_result(run: RunningRun, knobs: Params, layout: Layout) -> None:
    for section in MODEL_SECTIONS:
        run.log_params({f"{section}.{name}": value for name, value in getattr(knobs, section).model_dump().items()})
    report = read_json(layout.metrics("training"), "train")
    run.log_params({f"schedule.{name}": value for name, value in report.pop("schedule", {}).items()})
    report.pop("settings", None)  # they are among the params
    run.log_params({f"encoder.{name}": value for name, value in flatten(report.pop("encoder", {})).items()})
    numbers = {name: value for name, value in flatten(report).items() if value is not None}
    run.log_metrics({f"joint_{name}": value for name, value in numbers.items()})
    run.log_dataset(read_json(layout.raw / "manifest.json", made_by="ingest"))
    run.log_artifacts([layout.training / "history.json"], "training")
    run.set_tags({"headway.model": package.fingerprint(layout.candidate)})
