"""The attention part of the classifier, trained on these texts or made from a pretrained encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from headway.data.batching.datamodule import TextDataModule, in_text_order
from headway.data.tokenization.encoded import EncodedTexts
from headway.encoders import EncoderFiles
from headway.errors import HeadwayError
from headway.layout import Layout
from headway.model import pretrained
from headway.model.fine_tuning import FineTuningModule
from headway.model.joint import AttentionPart
from headway.model.launch import launched
from headway.model.lightning import MONITOR, ClassifierModule, TrainingModule
from headway.model.pretrained import PretrainedClassifier
from headway.model.schedule import resolve
from headway.model.training import fit, pin
from headway.params import Params, TrainingParams
from headway.stages.tokenize.pretrained import PretrainedRows, encoder_of, subwords_of
from headway.stages.train.on_ray import fit_on_ray

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

#: Called with each entry of the history as soon as it is known.
Report = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class FittedAttention:
    """The attention part after its training.

    Attributes:
        classifier: in evaluation mode.
        history: an entry for each evaluation, or for each fit of a linear layer.
        report: what ``metrics/training.json`` says of the training; under ``attention``, of the part.
        logits: of the validation rows in their order, float32, (V, C), if they are known.
        encoder: the files of the pretrained encoder; None if there is none.
    """

    classifier: AttentionPart
    history: list[dict[str, float]]
    report: dict[str, Any]
    logits: Tensor | None = None
    encoder: EncoderFiles | None = None


def fit_attention(
    train: EncodedTexts,
    validation: EncodedTexts,
    vocabulary_size: int,
    n_classes: int,
    knobs: Params,
    checkpoints: Path,
    report: Report | None = None,
    word_vectors: np.ndarray | None = None,
    progress: Callback | None = None,
) -> ClassifierModule:
    """The attention part's module after its training: the weights of the best evaluation, all evaluations, and the schedule."""
    class_rows = np.bincount(train.labels, minlength=n_classes).tolist()
    data = TextDataModule(replace(train, ids=()), replace(validation, ids=()), knobs.model.max_length, knobs.seed)
    schedule = resolve(knobs.training, data)
    print(f"train · {schedule}", flush=True)  # noqa: T201 - progress, for a person
    module = ClassifierModule(knobs.model, knobs.training, vocabulary_size, class_rows, knobs.seed, schedule, word_vectors)
    train_where_asked(module, data, knobs.training, checkpoints, report, progress)
    return module.eval()


def train_where_asked(
    module: TrainingModule,
    data: TextDataModule,
    params: TrainingParams,
    checkpoints: Path,
    report: Report | None = None,
    progress: Callback | None = None,
) -> None:
    """Train where ``training.strategy`` says: on Ray, or in this process, its children and those that torchrun started."""
    launch = launched()
    if params.strategy == "ddp":
        fit(module, data, progress=progress, report=report, checkpoints=checkpoints, devices=params.devices, launch=launch)
        return
    if launch:
        raise HeadwayError(
            f"training.strategy: ray, but {launch.size} processes were started (WORLD_SIZE); set it to ddp, or start one"
        )
    fit_on_ray(module, data, params, checkpoints, report)


def described(module: ClassifierModule) -> FittedAttention:
    """A module after its training, with what the stage reports of it."""
    report = _report(module)
    report["attention"]["bigram_buckets"] = module.classifier.bigram_buckets
    return FittedAttention(module.classifier, module.history, report)


def _report(module: TrainingModule) -> dict[str, Any]:
    history = module.history
    best = min(history, key=lambda entry: entry[MONITOR])
    part = {"train_loss": round(history[-1]["train_loss"], 6), "steps": int(history[-1]["step"])}
    return {"step": best["step"], "epoch": best["epoch"], "schedule": module.schedule.as_dict(), "attention": part}


def fit_pretrained(
    train: EncodedTexts,
    validation: EncodedTexts,
    n_classes: int,
    knobs: Params,
    layout: Layout,
    checkpoints: Path,
    report: Report | None = None,
    progress: Callback | None = None,
) -> FittedAttention:
    """A pretrained encoder with a linear layer, as ``pretrained.mode`` says."""
    if knobs.pretrained.learns:
        return fine_tune(n_classes, knobs, layout, checkpoints, report, progress)
    return fit_frozen(train, validation, n_classes, knobs, layout, report)


def fine_tune(
    n_classes: int, knobs: Params, layout: Layout, checkpoints: Path, report: Report | None, progress: Callback | None
) -> FittedAttention:
    """A pretrained encoder that learns together with its linear layer."""
    files = encoder_of(knobs, layout)
    folder = subwords_of(knobs, layout, files)
    train, validation = (replace(EncodedTexts.open(folder / f"{name}.arrow"), ids=()) for name in ("train", "validation"))
    data = TextDataModule(train, validation, knobs.pretrained.max_length, knobs.seed)
    class_rows = np.bincount(train.labels, minlength=n_classes).tolist()
    module = FineTuningModule(files.folder, knobs, class_rows, knobs.seed, data)
    print(f"train · {module.schedule}", flush=True)  # noqa: T201 - progress, for a person
    train_where_asked(module, data, knobs.training, checkpoints, report, progress)
    classifier = module.trained()
    with torch.inference_mode():
        batches = data.val_dataloader()
        logits = in_text_order(torch.cat([classifier(tokens) for tokens, _ in batches]), batches)
    found = {**_report(module), "encoder": described_encoder(files, knobs)}
    return FittedAttention(classifier, module.history, found, logits.clone(), files)


def fit_frozen(
    train: EncodedTexts, validation: EncodedTexts, n_classes: int, knobs: Params, layout: Layout, report: Report | None
) -> FittedAttention:
    """A linear layer on the features of a pretrained encoder that stays as it is."""
    pin(knobs.training.threads)
    files = encoder_of(knobs, layout)
    rows = PretrainedRows.of(knobs, layout)
    splits = {"train": train, "validation": validation}
    x, held_out = (rows.pooled(name, knobs.pretrained.resolved_pooling) for name in splits)
    head = pretrained.fit_head(
        (x, np.asarray(train.labels, dtype=np.int64)),
        (held_out, np.asarray(validation.labels, dtype=np.int64)),
        n_classes,
        knobs.pretrained.inverse_regularisation,
        knobs.training.class_weights == "balanced",
    )
    classifier = PretrainedClassifier(
        pretrained.load(files.folder), knobs.pretrained.resolved_pooling, knobs.pretrained.max_length, n_classes
    )
    classifier.set_head(head)
    history = [
        {"step": step, "inverse_regularisation": strength, MONITOR: loss}
        for step, (strength, loss) in enumerate(head.fits, 1)
    ]
    if report:
        for entry in history:
            report(entry)
    part = {"inverse_regularisation": head.inverse_regularisation}
    return FittedAttention(
        classifier.eval(), history, {"attention": part, "encoder": described_encoder(files, knobs)}, head(held_out), files
    )


def described_encoder(files: EncoderFiles, knobs: Params) -> dict[str, Any]:
    """What the report, the model card and the package say of a pretrained encoder."""
    return {
        "name": knobs.pretrained.path,
        "family": files.model_type,
        "source": files.source,
        "revision": files.revision,
        "licence": files.licence,
        "sha256": dict(files.sha256),
        "mode": knobs.pretrained.mode,
        "pooling": knobs.pretrained.resolved_pooling,
        "max_length": knobs.pretrained.max_length,
    }
