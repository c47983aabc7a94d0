"""Runs a trial: trains the attention part with the hyperparameters of one point, and scores it together with the n-grams, as the
joint model that is served. A pure function, for any process.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from headway.data.batching import TextBatches
from headway.data.batching.datamodule import TextDataModule, in_batches, in_text_order
from headway.data.tokenization.encoded import EncodedTexts
from headway.errors import HeadwayError, first_line
from headway.model import fine_tuning
from headway.model.fine_tuning import FineTuningModule
from headway.model.lightning import ClassifierModule, TrainingModule, calibrated_loss
from headway.model.ngrams import NgramClassifier
from headway.model.pretrained import fit_head, select
from headway.model.schedule import Schedule, resolve_trial
from headway.model.training import fit, pin
from headway.params import Params
from headway.search.encoder_copy import EncoderCopy
from headway.search.goals import KEPT_BY, OBJECTIVES, epochs_of, kept, objective, value_of
from headway.search.joint import joint_logits, joint_scores
from headway.search.pruning import MIN_STEPS, at_rungs
from headway.search.row_scores import row_scores
from headway.search.trial import EvaluationCallback, Outcome, Task, encode_rows

if TYPE_CHECKING:
    from pytorch_lightning.callbacks import Callback

#: Number of texts that the latency is measured on, one at a time.
TIMED_TEXTS = 100


class Pruned(Exception):
    """Raised from the evaluation callback to end a training early."""


@dataclass(frozen=True)
class NgramPart:
    """The linear part of the joint model, as far as trials need it. Trials with the same rows and class weights share it.

    Attributes:
        logits: of the validation rows in their order, float32, (V, C).
        cost: of this part alone in the second objective: MB, or milliseconds per text on the machine that fitted it; 0 without
            a second objective.
    """

    logits: np.ndarray
    cost: float = 0.0


@dataclass(frozen=True)
class FrozenFeatures:
    """What a frozen pretrained encoder makes of the rows of a trial.

    Attributes:
        train, validation: what any way of pooling needs, float32, (rows, P, d).
        cost: of the encoder in the second objective, as in :class:`NgramPart`.
    """

    train: np.ndarray
    validation: np.ndarray
    cost: float = 0.0


@dataclass(frozen=True)
class Subwords:
    """The rows of a trial as sub-words."""

    train: EncodedTexts
    validation: EncodedTexts


@dataclass(frozen=True)
class TrialData:
    """What a trial trains and validates on: encoded rows, in memory and without their ids.

    Attributes:
        word_vectors: float32, shape (vocabulary_size, n), initial embeddings; None for random ones.
        ngrams: fitted on the training rows; None if the model has no n-grams.
        features: of a frozen pretrained encoder; None if no trial has one.
        subwords: for a pretrained encoder that learns; None if no trial has one.
    """

    train: EncodedTexts
    validation: EncodedTexts
    vocabulary_size: int
    word_vectors: np.ndarray | None = None
    ngrams: NgramPart | None = None
    features: FrozenFeatures | None = None
    subwords: Subwords | None = None


@dataclass(frozen=True)
class Shared:
    """What all trials of a study have in common.

    Attributes:
        params: of the project; a trial replaces the hyperparameters of its point.
        data: encoded with the tokenizer of params.yaml.
        class_rows: number of training rows of each class, in the whole split.
        encoder: the pretrained encoder that learns: its folder on this machine, or its files if trials run on others; None if no
            trial has one.
    """

    params: Params
    data: TrialData
    class_rows: list[int]
    encoder: Path | EncoderCopy | None = None


def run_trial(
    shared: Shared,
    task: Task,
    on_evaluation: EvaluationCallback | None = None,
    batches: Callable[[int], Callback | None] | None = None,
) -> Outcome:
    """Train at a point, and score the joint model at each evaluation.

    Divergence and lack of memory, which a point may cause, are failed outcomes; other errors are raised.

    Args:
        on_evaluation: called with the metrics of each evaluation.
        batches: given the trial's number, makes a Lightning callback that shows its batches.
    """
    if task.problem:
        return Outcome("failed", reason=task.problem)
    started = time.monotonic()
    tune = shared.params.tune
    data = task.data or shared.data
    goal = objective(tune)
    linear = data.ngrams.logits if data.ngrams else None
    labels = np.asarray(data.validation.labels, dtype=np.int64)
    curve: list[dict[str, float]] = []
    rows = np.empty(0)  # the objective of each validation row at the evaluation whose weights are kept
    tokens = 0

    def end_evaluation(entry: dict[str, float], attention: torch.Tensor) -> None:
        nonlocal rows
        for name, value in entry.items():
            if not math.isfinite(value):
                raise HeadwayError(f"training diverged: {name} {value} at step {entry['step']:,}")
        found = joint_scores(joint_logits(linear, attention, labels), labels)
        entry = entry | {OBJECTIVES[name].entry: float(values.mean()) for name, values in found.items()}
        curve.append(entry)
        if kept(curve) is entry:
            rows = found[tune.objective]
        if on_evaluation:
            on_evaluation(entry)
        reached = [rung for rung, first in at_rungs(curve, list(task.limits)) if first is entry]
        if entry["step"] >= MIN_STEPS and any(goal.is_better(task.limits[rung], entry[goal.entry]) for rung in reached):
            raise Pruned

    state: Literal["complete", "pruned", "failed"] = "complete"
    values: tuple[float, ...] = ()
    reason = scores = ""
    try:
        params = shared.params.at(task.point)
        second = SECOND_OBJECTIVES.get(tune.second_objective)
        if params.model.encoder == "pretrained" and not params.pretrained.learns:
            tokens, cost = len(data.train.tokens), data.features.cost if data.features else 0.0
            end_evaluation(*frozen_trial(params, data, len(shared.class_rows)))
        else:
            module, module_data = trial_module(shared, params, data, task.seed(params.seed))
            tokens = int(module_data.train_lengths.sum())
            progress = batches(task.number) if batches and not task.repeat else None  # a repetition has no number of a trial
            fit(
                module,
                module_data,
                progress=progress,
                report=lambda entry: end_evaluation(entry, logits_by_row(module, module_data)),
            )
            cost = second(module.trained(), module_data.validation) if second else 0.0
        values = (value_of(goal, curve),)
        if second:
            values += (cost + (data.ngrams.cost if data.ngrams else 0.0),)
        scores = encode_rows(rows)
    except Pruned:
        state, values = "pruned", (curve[-1][goal.entry],)
    except (HeadwayError, MemoryError, RuntimeError) as error:
        state, reason = "failed", first_line(error)
    seconds = time.monotonic() - started
    return Outcome(state, values, tuple(curve), reason, seconds, round(tokens * epochs_of(curve)), scores)


def trial_module(shared: Shared, params: Params, data: TrialData, seed: int) -> tuple[TrainingModule, TextDataModule]:
    """The module of a trial whose attention part learns by gradients, and its data."""
    module_data = trial_texts(params, data, seed)
    if params.model.encoder == "pretrained":
        assert shared.encoder is not None, "the parent finds the encoder that a trial of this space needs"
        located = shared.encoder.folder() if isinstance(shared.encoder, EncoderCopy) else nullcontext(shared.encoder)
        with located as folder:
            return FineTuningModule(folder, params, shared.class_rows, seed, module_data, trial=True), module_data
    module = ClassifierModule(
        params.model,
        params.training,
        data.vocabulary_size,
        shared.class_rows,
        seed,
        resolve_trial(params, module_data),
        data.word_vectors,
    )
    return module, module_data


def trial_texts(params: Params, data: TrialData, seed: int) -> TextDataModule:
    """The texts of a trial as its attention part reads them, if that learns by gradients."""
    if params.model.encoder == "scratch":
        return TextDataModule(data.train, data.validation, params.model.max_length, seed)
    assert data.subwords is not None, "the parent encodes the rows that a trial of this space needs"
    return TextDataModule(data.subwords.train, data.subwords.validation, params.pretrained.max_length, seed)


def frozen_trial(params: Params, data: TrialData, n_classes: int) -> tuple[dict[str, float], torch.Tensor]:
    """Fit the linear layer of a frozen pretrained encoder: the only entry of the trial's curve, and the logits, (V, C)."""
    assert data.features is not None, "the parent computes the features that a trial of this space needs"
    pin(params.training.threads)
    pooling = params.pretrained.resolved_pooling
    x, held_out = (select(rows, pooling) for rows in (data.features.train, data.features.validation))
    labels, truth = (np.asarray(texts.labels, dtype=np.int64) for texts in (data.train, data.validation))
    strengths, balanced = params.pretrained.inverse_regularisation, params.training.class_weights == "balanced"
    logits = fit_head((x, labels), (held_out, truth), n_classes, strengths, balanced)(held_out)
    entry = {
        "step": 1.0,
        "epoch": 1.0,
        "progress": 1.0,
        "validation_loss": float(F.cross_entropy(logits, torch.from_numpy(truth))),
        "validation_accuracy": float(row_scores("accuracy", logits.numpy(), truth).mean()),
        "validation_macro_f1": float(row_scores("macro_f1", logits.numpy(), truth).mean()),
        KEPT_BY: float(calibrated_loss(logits, torch.from_numpy(truth))),
    }
    return entry, logits


def logits_by_row(module: TrainingModule, data: TextDataModule) -> torch.Tensor:
    """Logits of the attention part at the last evaluation, float32, (V, C), in the order of the validation texts."""
    return in_text_order(module.validation_logits, data.val_dataloader())


def ngram_part(ngrams: NgramClassifier, validation: EncodedTexts, second_objective: str) -> NgramPart:
    """What trials need of n-grams that were fitted on their training rows."""
    batches = in_batches(validation)
    with torch.inference_mode():
        logits = torch.cat([ngrams(tokens) for tokens, _ in batches])
    second = SECOND_OBJECTIVES.get(second_objective)
    return NgramPart(in_text_order(logits, batches).numpy(), second(ngrams, TextBatches(validation)) if second else 0.0)


def schedule_of_defaults(shared: Shared) -> Schedule:
    """The schedule of a trial with the values in params.yaml."""
    params = shared.params
    if params.model.encoder == "pretrained" and params.pretrained.learns:
        return fine_tuning.schedule(params, trial_texts(params, shared.data, params.seed), trial=True)
    scratch = TextDataModule(shared.data.train, shared.data.validation, params.model.max_length, params.seed)
    return resolve_trial(params, scratch)


def latency(part: nn.Module, texts: TextBatches) -> float:
    """Median milliseconds per text, from tokens to logits, of a part of the model on this machine. It differs from run to run."""
    measured = []
    device = next(iter(part.state_dict().values())).device
    part.eval()
    with torch.inference_mode():
        for index in range(min(TIMED_TEXTS, len(texts))):
            tokens = texts[[index]][0].to(device)
            started = time.perf_counter()
            part(tokens).cpu()
            measured.append(1000 * (time.perf_counter() - started))
    return statistics.median(measured)


def size(part: nn.Module, _: TextBatches | None = None) -> float:
    """Megabytes (10⁶ bytes) of all weights of a part of the model, in their stored precision."""
    weights: Iterable[torch.Tensor] = part.state_dict().values()
    return sum(weight.numel() * weight.element_size() for weight in weights) / 1e6


#: Measured of each part of the joint model, in the units of :data:`headway.search.goals.SECOND`; the sum is the model's, because
#: its parts run one after the other.
SECOND_OBJECTIVES: dict[str, Callable[[nn.Module, TextBatches], float]] = {"latency": latency, "size": size}
