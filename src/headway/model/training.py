"""One training run: Lightning's Trainer with our callbacks, resumable at the end of each epoch."""

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
#: What PyTorch says when a CPU has no more memory; it has no exception of its own for that.
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"


class Patience(EarlyStopping):
    """Early stopping that still holds when a training it had stopped, and which was then killed, is started again."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class Pinned(Callback):
    """Settles what :func:`pin` settles in every process that trains."""

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        pin(pl_module.params.threads)


class Halfway(Callback):
    """Validates in the middle of the first epoch. It draws no random number and leaves no trace in the module."""

    def __init__(self, report: Callable[[dict[str, float]], None]) -> None:
        self.report = report

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 0 and batch_idx + 1 == int(trainer.num_training_batches) // 2:
            self.report({"epoch": 0.5, **self._validate(trainer, pl_module)})

    def _validate(self, trainer: pl.Trainer, module: ClassifierModule) -> dict[str, float]:
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
        return {**{name: float(value) for name, value in metrics.compute().items()}, "validation_loss": losses / rows}


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

    With more than one device each is a process of its own; gradients are averaged over them (DDP).

    Args:
        module: fresh, not yet trained.
        data: serves batches of (tokens, labels).
        max_epochs: at most so many; early stopping may end it sooner.
        progress: shows batches as they go by.
        report: told the metrics of each epoch; may raise to end the training. With more than one device it is told of
            all epochs when the last has ended.
        halfway: report in the middle of the first epoch too, as epoch 0.5; the training itself is the same.
        checkpoints: folder for checkpoints; an interrupted training continues from the last whole epoch that it holds.
            None keeps no checkpoint, and the last epoch's weights are returned; more than one device need it.
        devices: GPUs, or processes on CPUs.

    Raises:
        HeadwayError: the loss is no longer a finite number, the memory does not suffice, or the machine has no such devices.
    """
    pin(module.params.threads)
    together = devices > 1
    module.report = None if together else report
    callbacks: list[Callback] = [Pinned(), Patience(MONITOR, mode="max", patience=module.params.patience)]
    if halfway and report:
        callbacks.append(Halfway(report))
    if progress:
        callbacks.append(progress)
    if checkpoints:
        # Two, because `save_last` of one saves the last epoch only when it is the best so far as well.
        callbacks.append(ModelCheckpoint(checkpoints, "best", monitor=MONITOR, mode="max", enable_version_counter=False))
        callbacks.append(ModelCheckpoint(checkpoints, "last", enable_version_counter=False))
    try:
        trainer = pl.Trainer(
            accelerator=module.params.accelerator,
            precision=PRECISIONS[module.params.precision],  # type: ignore[arg-type]
            devices=devices,
            # The processes are started by this one: started anew by command, each would be a stage of its own.
            strategy="ddp_spawn" if together else "auto",
            use_distributed_sampler=False,  # ours gives each process its share
            max_epochs=max_epochs,
            callbacks=callbacks,
            logger=False,
            deterministic="warn" if torch.cuda.is_available() else True,
            enable_checkpointing=checkpoints is not None,
            enable_model_summary=False,
            enable_progress_bar=isinstance(progress, ProgressBar),
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,  # an epoch's number of batches is its own
        )
    except MisconfigurationException as error:
        raise HeadwayError(
            f"this machine cannot train as training.accelerator ({module.params.accelerator}) and training.devices ({devices}) "
            f"ask: {first_line(error).rstrip('!.')}; set accelerator: auto, or fewer devices"
        ) from None
    try:
        trainer.fit(module, data, ckpt_path=_last_whole(checkpoints), weights_only=True)
    except (ProcessRaisedException, RuntimeError, MemoryError) as error:
        if line := _in_one_line(error, module.params.tokens_per_batch):
            raise HeadwayError(line) from None
        raise
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):  # Lightning makes this of Ctrl+C
            raise KeyboardInterrupt from None
        raise
    if together:
        assert checkpoints is not None, "processes hand over what they learned through checkpoints"
        module.history = torch.load(checkpoints / "last.ckpt", map_location="cpu", weights_only=True)["history"]
        if report:
            for entry in module.history:
                report(entry)
    if checkpoints:
        best = torch.load(checkpoints / "best.ckpt", map_location="cpu", weights_only=True)
        module.load_state_dict(best["state_dict"])
    return module


def _in_one_line(error: Exception, tokens_per_batch: int) -> str:
    """What ended a training here or in a process of it, where a person can do something about it; else ""."""
    said = str(error) if isinstance(error, ProcessRaisedException) else f"{type(error).__name__}: {error}"
    for line in said.splitlines():
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
    """Fix what the result depends on besides the seed: the number of threads, and tiny numbers flushed to zero."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (".*does not have many workers", ".*Checkpoint directory.*exists", ".*LeafSpec.* is deprecated"):
        warnings.filterwarnings("ignore", message)


def _last_whole(checkpoints: Path | None) -> str | None:
    """The last checkpoint that can be read: a kill while one is written leaves a damaged file, which is set aside."""
    if not checkpoints:
        return None
    for name in ("last.ckpt", "best.ckpt"):
        path = checkpoints / name
        if path.is_file():
            try:
                torch.load(path, map_location="cpu", weights_only=True)
            except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
                print(f"{path.name} is damaged ({error}); training goes back further", flush=True)  # noqa: T201
                path.unlink()
            else:
                return str(path)
    return None
