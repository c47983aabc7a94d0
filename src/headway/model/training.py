"""One training of the attention part with Lightning's Trainer, resumable after each epoch."""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, ProgressBar
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.nn.functional import cross_entropy

from headway.errors import HeadwayError, first_line
from headway.model.lightning import ClassifierModule

MONITOR = "validation_accuracy"
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
#: Part of PyTorch's message when memory runs out on a CPU, for which it has no exception type.
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"


class Patience(EarlyStopping):
    """Early stopping that stops a resumed training again, if it had already stopped before the kill."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class PinThreads(Callback):
    """Calls :func:`pin` in every training process."""

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        pin(pl_module.params.threads)


class HalfwayValidation(Callback):
    """Validates in the middle of the first epoch, without a change to the module or to random states."""

    def __init__(self, report: Callable[[dict[str, float]], None]) -> None:
        self.report = report

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch or batch_idx + 1 != int(trainer.num_training_batches) // 2:
            return
        metrics, losses, rows = module.metrics.clone(), 0.0, 0
        metrics.reset()
        module.eval()
        with torch.inference_mode(), trainer.precision_plugin.val_step_context():
            for tokens, labels in trainer.datamodule.val_dataloader():  # type: ignore[attr-defined]
                tokens, labels = tokens.to(module.device), labels.to(module.device)
                logits = module.classifier(tokens)
                metrics.update(logits, labels)
                losses += float(cross_entropy(logits, labels)) * len(labels)
                rows += len(labels)
        module.train()
        found = {name: float(value) for name, value in metrics.compute().items()}
        self.report({"epoch": 0.5, **found, "validation_loss": losses / rows})


def fit(
    module: ClassifierModule,
    data: pl.LightningDataModule,
    *,
    max_epochs: int,
    progress: Callback | None = None,
    report: Callable[[dict[str, float]], None] | None = None,
    halfway: bool = False,
    checkpoints: Path | None = None,
    devices: int = 1,
) -> ClassifierModule:
    """Train a module and return it with the weights of its best epoch.

    Several devices are one process each, with gradients averaged over them (DDP).

    Args:
        max_epochs: at most; early stopping may end the training sooner.
        report: called with the metrics of each epoch; may raise to end the training. With several devices it is called for all
            epochs after the last one.
        halfway: also report in the middle of the first epoch, as epoch 0.5; this does not change the training.
        checkpoints: folder for checkpoints, from which an interrupted training resumes after its last complete epoch. Without
            one, the last epoch's weights are returned. Several devices require it.
        devices: number of GPUs, or of processes on CPUs.

    Raises:
        HeadwayError: the loss is not finite, memory runs out, or the machine lacks the devices.
    """
    pin(module.params.threads)
    distributed = devices > 1
    module.report = None if distributed else report
    callbacks: list[Callback] = [PinThreads(), Patience(MONITOR, mode="max", patience=module.params.patience)]
    if halfway and report:
        callbacks.append(HalfwayValidation(report))
    if progress:
        callbacks.append(progress)
    if checkpoints:
        # Two callbacks, because `save_last` of one saves the last epoch only if it is also the best so far.
        callbacks.append(ModelCheckpoint(checkpoints, "best", monitor=MONITOR, mode="max", enable_version_counter=False))
        callbacks.append(ModelCheckpoint(checkpoints, "last", enable_version_counter=False))
    try:
        trainer = pl.Trainer(
            accelerator=module.params.accelerator,
            precision=PRECISIONS[module.params.precision],  # type: ignore[arg-type]
            devices=devices,
            # Spawned by this process: plain DDP would run the stage's command again in each process.
            strategy="ddp_spawn" if distributed else "auto",
            use_distributed_sampler=False,  # ours already splits the batches over processes
            max_epochs=max_epochs,
            callbacks=callbacks,
            logger=False,
            deterministic="warn" if torch.cuda.is_available() else True,
            enable_checkpointing=checkpoints is not None,
            enable_model_summary=False,
            enable_progress_bar=isinstance(progress, ProgressBar),
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,  # the number of batches differs between epochs
        )
    except MisconfigurationException as error:
        raise HeadwayError(
            f"this machine lacks devices for training.accelerator: {module.params.accelerator} and training.devices: {devices} "
            f"({first_line(error).rstrip('!.')}); set accelerator: auto, or fewer devices"
        ) from None
    try:
        trainer.fit(module, data, ckpt_path=_last_readable(checkpoints), weights_only=True)
    except (ProcessRaisedException, RuntimeError, MemoryError) as error:
        if line := _explained(error, module.params.tokens_per_batch):
            raise HeadwayError(line) from None
        raise
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):  # Lightning turns Ctrl+C into this
            raise KeyboardInterrupt from None
        raise
    if distributed:
        assert checkpoints is not None, "the processes return the trained weights through checkpoints"
        module.history = torch.load(checkpoints / "last.ckpt", map_location="cpu", weights_only=True)["history"]
        if report:
            for entry in module.history:
                report(entry)
    if checkpoints:
        best = torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=True)
        module.load_state_dict(best["state_dict"])
    return module


def _explained(error: Exception, tokens_per_batch: int) -> str:
    """One line for an error, from this process or a spawned one, that a person can act on; else ""."""
    text = str(error) if isinstance(error, ProcessRaisedException) else f"{type(error).__name__}: {error}"
    for line in text.splitlines():
        kind, _, message = line.partition(": ")
        kind = kind.rpartition(".")[2]
        if kind == HeadwayError.__name__:
            return message
        if kind.endswith("MemoryError") or NO_MEMORY in line:
            return (
                f"training ran out of memory ({message or kind}); lower training.tokens_per_batch "
                f"(now {tokens_per_batch:,}), model.max_length or model.d_model"
            )
    return ""


def pin(threads: int) -> None:
    """Fix the number of threads and flush denormal numbers to zero, since results depend on both; quieten Lightning."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (".*does not have many workers", ".*Checkpoint directory.*exists", ".*LeafSpec.* is deprecated"):
        warnings.filterwarnings("ignore", message)


def _last_readable(checkpoints: Path | None) -> str | None:
    """The last checkpoint that can be read. Killing a training while it writes one leaves a damaged file, which is removed."""
    if not checkpoints:
        return None
    for name in ("last.ckpt", "best.ckpt"):
        path = checkpoints / name
        if path.is_file():
            try:
                torch.load(path, map_location="cpu", weights_only=True)
            except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
                print(f"{path.name} is damaged ({first_line(error)}); resuming from an earlier checkpoint", flush=True)  # noqa: T201
                path.unlink()
            else:
                return str(path)
    return None
