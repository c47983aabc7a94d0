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
from headway.params import ModelParams, TrainingParams

BETAS = (0.9, 0.98)  # of Vaswani et al. 2017
RANK_STRIDE = 1_000_000_007


class ClassifierModule(pl.LightningModule):
    """Trains a :class:`~headway.model.classifier.AttentionClassifier`.

    Optimisation is manual because there are two optimisers: fused Adam (Kingma & Ba 2015, "Adam: A Method for Stochastic
    Optimization") for the dense parameters, and SparseAdam for the bigram embeddings, of which a batch uses few rows. The
    gradient of the dense parameters is clipped by its norm (Pascanu et al. 2013, "On the Difficulty of Training Recurrent
    Neural Networks"). There is no weight decay and no label smoothing, because neither had a measurable effect
    (``benchmarks/ablation.md``).

    Args:
        class_rows: training rows of each class.
        seed: of the initial weights and, together with the epoch's number, of all randomness in an epoch, so that an epoch
            resumed from a checkpoint is bit-identical to one without the interruption.
        total_steps: N, over which the learning rate rises and falls.
        word_vectors: float32, (V, n), to initialise the embeddings; None for random ones.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: ModelParams,
        training: TrainingParams,
        vocabulary_size: int,
        class_rows: Sequence[int],
        seed: int,
        total_steps: int,
        word_vectors: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.params = training
        self.seed = seed
        self.total_steps = total_steps
        n_classes = len(class_rows)
        torch.manual_seed(seed)
        self.classifier = AttentionClassifier(model, vocabulary_size, n_classes)
        if word_vectors is not None:
            self.classifier.start_from(torch.from_numpy(word_vectors))
        weights = balanced_weights(class_rows) if training.class_weights == "balanced" else None
        self.register_buffer("class_weights", weights, persistent=False)
        self.metrics = MetricCollection(
            {
                "validation_accuracy": MulticlassAccuracy(n_classes, average="micro"),
                "validation_macro_f1": MulticlassF1Score(n_classes, average="macro"),
            }
        )
        self.history: list[dict[str, float]] = []  # per epoch: number, losses, validation metrics; saved in checkpoints
        self.report: Callable[[dict[str, float]], None] | None = (
            None  # called with each entry; may raise to end the training
        )
        self._losses: list[Tensor] = []

    def setup(self, stage: str) -> None:
        # NCCL cannot reduce sparse gradients, and dense ones cost a GPU little. On a CPU they would cost much.
        if self.trainer.strategy.root_device.type != "cpu" and self.classifier.params.bigram_buckets:
            self.classifier.bigram_embedding.sparse = False

    def configure_optimizers(self) -> Any:
        dense, sparse = parameter_groups(self.classifier)
        rate = self.params.learning_rate
        optimisers: list[torch.optim.Optimizer] = [torch.optim.Adam(dense, lr=rate, betas=BETAS, fused=True)]
        if sparse:
            optimisers.append(torch.optim.SparseAdam(sparse, lr=rate, betas=BETAS))
        return optimisers, [torch.optim.lr_scheduler.LambdaLR(optimiser, self.learning_rate_at) for optimiser in optimisers]

    def learning_rate_at(self, step: int) -> float:
        """Learning rate at a step as a share of its peak: a linear warm-up, then a linear fall to 0.

        The schedule is that of BERT (Devlin et al. 2019, appendix A.2).
        """
        warmup = self.params.warmup_ratio * self.total_steps
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return max(0.0, (self.total_steps - step) / max(1.0, self.total_steps - warmup))

    def on_train_epoch_start(self) -> None:
        # Each of several processes needs its own dropout masks.
        torch.manual_seed(self.seed * 1_000 + self.current_epoch + RANK_STRIDE * self.global_rank)
        self._losses = []

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        tokens, labels = batch
        logits = self.classifier(tokens)
        loss = self.loss(logits, labels)
        if not torch.isfinite(loss):
            raise HeadwayError(
                f"training diverged: loss {loss.item()} in epoch {self.current_epoch + 1}; "
                f"lower training.learning_rate (now {self.params.learning_rate:g}) or training.gradient_clip_val"
            )
        optimisers = self.optimizers()
        for optimiser in optimisers if isinstance(optimisers, list) else [optimisers]:
            optimiser.zero_grad()
        self.manual_backward(loss)
        dense = [p for p in self.classifier.parameters() if p.grad is not None and not p.grad.is_sparse]
        nn.utils.clip_grad_norm_(dense, self.params.gradient_clip_val)
        for optimiser in optimisers if isinstance(optimisers, list) else [optimisers]:
            optimiser.step()
        schedulers = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            scheduler.step()  # type: ignore[union-attr]
        self._losses.append(loss.detach())
        return loss

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of logits, (B, C), with labels, (B,)."""
        return F.cross_entropy(logits, labels, self.class_weights)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        tokens, labels = batch
        logits = self.classifier(tokens)
        self.metrics.update(logits, labels)
        self.log("validation_loss", F.cross_entropy(logits, labels), batch_size=len(labels))
        self.log_dict(self.metrics, batch_size=len(labels))

    def on_train_epoch_end(self) -> None:
        """Add the epoch to the history; validation has already run."""
        train_loss = float(self.trainer.strategy.reduce(torch.stack(self._losses).mean(), reduce_op="mean"))
        self.log("train_loss", train_loss)
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        self.history.append({"epoch": self.current_epoch + 1, **metrics, "train_loss": train_loss})
        if self.report:
            self.report(self.history[-1])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]


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
