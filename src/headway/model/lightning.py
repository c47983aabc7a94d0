"""The attention part as Lightning trains it: loss, optimisers, learning rate and validation metrics.

One step on a batch (X, y) with parameters θ, at step t of N:

    L   = cross_entropy(classifier(X), y)
    g   = ∇L · min(1, gradient_clip_val / ‖∇L‖)                    dense parameters alone
    η_t = learning_rate · min((t + 1) / (w + 1), (N - t) / (N - w))  w = warmup_ratio · N
    θ   ← Adam(θ, g, η_t)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from headway.errors import HeadwayError
from headway.model.classifier import AttentionClassifier
from headway.model.combination import fit_weights
from headway.model.schedule import Schedule
from headway.params import ModelParams, TrainingParams

BETAS = (0.9, 0.98)  # of Vaswani et al. 2017
RANK_STRIDE = 1_000_000_007
#: Metric whose lowest value decides which evaluation's weights are kept, and when training stops.
MONITOR = "validation_loss_calibrated"


class TrainingModule(pl.LightningModule):
    """Trains a classifier by a schedule; subclasses make the classifier and its optimisers.

    Optimisation is manual, because there may be two optimisers. The gradient of the dense parameters is clipped by its norm
    (Pascanu et al. 2013, "On the Difficulty of Training Recurrent Neural Networks").

    Args:
        classifier: gives logits, (B, C), of padded tokens, (B, T).
        class_rows: training rows of each class.
        seed: together with the interval's number, of all randomness in an interval, so that a training resumed from a checkpoint
            is bit-identical to one without the interruption.
        schedule: has N, over which the learning rate rises and falls, and says when to evaluate. One of Lightning's epochs is
            the interval from one evaluation to the next.
        learning_rate: the knob of the peak learning rate, for messages.
    """

    class_weights: Tensor | None
    #: Parts of a batch that are computed one after the other, to save memory.
    parts = 1
    #: Knobs that lower the memory of a training, besides ``training.tokens_per_batch``.
    memory_knobs = "model.max_length or model.d_model"

    def __init__(
        self,
        classifier: nn.Module,
        training: TrainingParams,
        class_rows: Sequence[int],
        seed: int,
        schedule: Schedule,
        learning_rate: tuple[str, float],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.params = training
        self.seed = seed
        self.schedule = schedule
        self.learning_rate = learning_rate
        n_classes = len(class_rows)
        self.classifier = classifier
        weights = balanced_weights(class_rows) if training.class_weights == "balanced" else None
        self.register_buffer("class_weights", weights, persistent=False)
        self.metrics = MetricCollection(
            {
                "validation_accuracy": MulticlassAccuracy(n_classes, average="micro"),
                "validation_macro_f1": MulticlassF1Score(n_classes, average="macro"),
            }
        )
        self.history: list[dict[str, float]] = []  # an entry per evaluation: see on_train_epoch_end; saved in checkpoints
        self.validation_logits = torch.empty(
            0, n_classes
        )  # of the last evaluation, (N, C), in the validation loader's order
        self.report: Callable[[dict[str, float]], None] | None = (
            None  # called with each entry; may raise to end the training
        )
        self._losses: list[Tensor] = []
        self._validated: list[tuple[Tensor, Tensor]] = []  # logits, (B, C), and labels, (B,), of the present evaluation

    def learning_rate_at(self, step: int) -> float:
        """Learning rate at a step as a share of its peak: a linear warm-up, then a linear fall to 0.

        The schedule is that of BERT (Devlin et al. 2019, appendix A.2).
        """
        steps = self.schedule.steps
        warmup = self.schedule.warmup_ratio * steps
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return max(0.0, (steps - step) / max(1.0, steps - warmup))

    def on_train_epoch_start(self) -> None:
        # Lightning's epoch is an interval between evaluations. Each of several processes needs its own dropout masks.
        torch.manual_seed(self.seed * 1_000 + self.current_epoch + RANK_STRIDE * self.global_rank)
        self._losses = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        optimisers = self.optimizers()
        for optimiser in optimisers if isinstance(optimisers, list) else [optimisers]:
            optimiser.zero_grad()
        loss = self._backward(*batch)
        dense = [p for p in self.classifier.parameters() if p.grad is not None and not p.grad.is_sparse]
        nn.utils.clip_grad_norm_(dense, self.params.gradient_clip_val)
        for optimiser in optimisers if isinstance(optimisers, list) else [optimisers]:
            optimiser.step()
        schedulers = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            scheduler.step()  # type: ignore[union-attr]
        self._losses.append(loss.detach())
        return loss

    def _backward(self, tokens: Tensor, labels: Tensor) -> Tensor:
        """Add the gradient of a batch's loss, which is returned, (), to the parameters' gradients."""
        total = torch.zeros((), device=labels.device)
        for some, own in zip(tokens.chunk(self.parts), labels.chunk(self.parts), strict=True):
            loss = self.loss(self.classifier(some), own)
            if not torch.isfinite(loss):
                raise self.divergence(f"loss {loss.item()}", self._steps_done + 1)
            loss = loss * (self._weight(own) / self._weight(labels))
            self.manual_backward(loss)
            total += loss.detach()
        return total

    def _weight(self, labels: Tensor) -> float:
        """What the loss of rows with these labels, (B,), is divided by to be their mean."""
        return float(len(labels) if self.class_weights is None else self.class_weights[labels].sum())

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of logits, (B, C), with labels, (B,)."""
        return F.cross_entropy(logits, labels, self.class_weights)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        tokens, labels = batch
        logits = self.classifier(tokens)
        self.metrics.update(logits, labels)
        self.log("validation_loss", F.cross_entropy(logits, labels), batch_size=len(labels))
        self.log_dict(self.metrics, batch_size=len(labels))
        self._validated.append((logits.float().cpu(), labels.cpu()))

    def on_validation_epoch_end(self) -> None:
        logits, labels = (torch.cat(parts) for parts in zip(*self._validated, strict=True))  # (N, C), (N,)
        self._validated = []
        if not torch.isfinite(logits).all():
            raise self.divergence("a logit of a validation text is not finite", self._steps_done)
        self.log(MONITOR, calibrated_loss(logits, labels))
        with torch.inference_mode(mode=False):
            self.validation_logits = logits.clone()

    def on_train_epoch_end(self) -> None:
        """Add the evaluation to the history; validation has already run.

        An entry has the optimiser steps done, the same as passes over the training texts (``epoch``) and as a share of all
        steps (``progress``), the losses, and the validation metrics.
        """
        train_loss = float(self.trainer.strategy.reduce(torch.stack(self._losses).mean(), reduce_op="mean"))
        self.log("train_loss", train_loss)
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        step = self.schedule.step_of(self.current_epoch + 1)
        position = {"step": step, "epoch": self.schedule.epochs_at(step), "progress": round(step / self.schedule.steps, 3)}
        self.history.append({**position, **metrics, "train_loss": train_loss})
        if self.report:
            self.report(self.history[-1])

    @property
    def _steps_done(self) -> int:
        return self.current_epoch * self.schedule.evaluation_steps + len(self._losses)

    def divergence(self, symptom: str, step: int) -> HeadwayError:
        """The error that ends a training whose numbers are not finite any more, at a step counted from 1."""
        knob, rate = self.learning_rate
        return HeadwayError(
            f"training diverged: {symptom} at step {step:,}; lower {knob} (now {rate:g}) or training.gradient_clip_val"
        )

    def trained(self) -> nn.Module:
        """The classifier after its training, in evaluation mode, as it is kept."""
        return self.classifier.eval()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]


class ClassifierModule(TrainingModule):
    """Trains a :class:`~headway.model.classifier.AttentionClassifier`.

    There are two optimisers: fused Adam (Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization") for the dense
    parameters, and SparseAdam for the bigram embeddings, of which a batch uses few rows. There is no weight decay and no label
    smoothing, because neither had a measurable effect (``benchmarks/ablation.md``).

    Args:
        seed: of the initial weights too.
        word_vectors: float32, (V, n), to initialise the embeddings; None for random ones.
    """

    classifier: AttentionClassifier

    def __init__(
        self,
        model: ModelParams,
        training: TrainingParams,
        vocabulary_size: int,
        class_rows: Sequence[int],
        seed: int,
        schedule: Schedule,
        word_vectors: np.ndarray | None = None,
    ) -> None:
        torch.manual_seed(seed)
        classifier = AttentionClassifier(model, vocabulary_size, len(class_rows))
        if word_vectors is not None:
            classifier.start_from(torch.from_numpy(word_vectors))
        rate = ("training.learning_rate", training.learning_rate)
        super().__init__(classifier, training, class_rows, seed, schedule, rate)

    def setup(self, stage: str) -> None:
        # NCCL cannot reduce sparse gradients, and dense ones cost a GPU little. On a CPU they would cost much.
        if self.trainer.strategy.root_device.type != "cpu" and self.classifier.bigram_buckets:
            self.classifier.bigram_embedding.sparse = False

    def configure_optimizers(self) -> Any:
        dense, sparse = parameter_groups(self.classifier)
        rate = self.params.learning_rate
        optimisers: list[torch.optim.Optimizer] = [torch.optim.Adam(dense, lr=rate, betas=BETAS, fused=True)]
        if sparse:
            optimisers.append(torch.optim.SparseAdam(sparse, lr=rate, betas=BETAS))
        return optimisers, [torch.optim.lr_scheduler.LambdaLR(optimiser, self.learning_rate_at) for optimiser in optimisers]


def calibrated_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, float32, (), of logits, (N, C), with labels, (N,), at the temperature that makes the labels most likely.

    Training on makes probabilities overconfident, so that the plain validation loss rises while the ranking of the classes
    still improves. The weights of the parts are fitted in the end (:mod:`headway.model.combination`), which removes that.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():  # the fit needs gradients
        return torch.tensor(fit_weights(logits.clone()[None], labels.clone())[1])


def balanced_weights(class_rows: Sequence[int]) -> Tensor:
    """Weight of each class in the loss, (C,): rows / (C · rows of the class), or 1 for a class without rows.

    All classes then contribute equally to an epoch's loss (King & Zeng 2001, "Logistic Regression in Rare Events Data").
    """
    rows = torch.tensor(class_rows, dtype=torch.float)
    return torch.where(rows > 0, rows.sum() / (len(rows) * rows.clamp(min=1)), 1.0)


def parameter_groups(classifier: AttentionClassifier) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters with dense gradients, and parameters with sparse gradients."""
    sparse = {m.weight for m in classifier.modules() if isinstance(m, nn.Embedding) and m.sparse}
    return [p for p in classifier.parameters() if p not in sparse], [p for p in classifier.parameters() if p in sparse]
