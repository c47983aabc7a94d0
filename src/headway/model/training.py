"""One training of the attention part with Lightning's Trainer, resumable after each evaluation."""

from __future__ import annotations

import io
import logging
import math
import os
import pickle
import tempfile
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from torch.multiprocessing.spawn import ProcessRaisedException

from headway.errors import HeadwayError, first_line
from headway.model.launch import Launch, strategy
from headway.model.lightning import MONITOR, TrainingModule
from headway.model.schedule import Schedule

PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
#: Part of PyTorch's message when memory runs out on a CPU, for which it has no exception type.
NO_MEMORY = "DefaultCPUAllocator: can't allocate memory"


Module = TypeVar("Module", bound=TrainingModule)


class ScheduledData(Protocol):
    """A Lightning data module whose training batches follow a schedule: one of Lightning's epochs ends with each evaluation."""

    def follow(self, schedule: Schedule) -> None:
        """Batch the training texts as a schedule says, until another one is set."""


class Patience(EarlyStopping):
    """Early stopping that stops a resumed training again, if it had already stopped before the kill."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class Checkpoints(ModelCheckpoint):
    """Checkpoints that are found again after their folder was moved or copied; Lightning would forget which one is the best."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        here = Path(str(self.dirpath))

        def moved(path: str) -> str:
            return str(here / Path(path).name) if path else path

        paths = {key: moved(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath})


class LastCheckpoint(Checkpoints):
    """A checkpoint of the last evaluation, unless that one is the best so far, which :class:`Checkpoints` writes anyway."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        losses = [entry[MONITOR] for entry in pl_module.history]
        if losses[-1] >= min(losses[:-1], default=math.inf):
            super().on_train_epoch_end(trainer, pl_module)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces a checkpoint only by a complete one, so that a kill during the writing leaves the former one.

    Lightning writes to the temporary folder and moves the file from there. To another file system, that move is a copy.

    Args:
        saved: called with each checkpoint that was written.
    """

    def __init__(self, saved: Callable[[Path], None] | None = None) -> None:
        super().__init__()
        self.saved = saved

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        partial = f"{path}.partial"
        super().save_checkpoint(checkpoint, partial, storage_options)
        Path(partial).replace(path)
        if self.saved:
            self.saved(Path(path))


class PinThreads(Callback):
    """Calls :func:`pin` in every training process."""

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        pin(pl_module.params.threads)


def fit(
    module: Module,
    data: ScheduledData,
    *,
    progress: Callback | None = None,
    report: Callable[[dict[str, float]], None] | None = None,
    checkpoints: Path | None = None,
    devices: int = 1,
    launch: Launch | None = None,
    saved: Callable[[Path], None] | None = None,
) -> Module:
    """Train a module by its schedule and return it with the weights of its best evaluation.

    The best is the evaluation with the lowest validation loss at the best temperature. Several devices are one process each,
    with gradients averaged over them (DDP). This process spawns them, unless they were started elsewhere and each calls this.

    Args:
        report: called with the metrics of each evaluation; may raise to end the training. If this process spawns others, it is
            called for all evaluations after the last one.
        checkpoints: folder for checkpoints, from which an interrupted training resumes after an evaluation. Without one, the
            last evaluation's weights are returned. Several devices require it.
        devices: number of GPUs, or of processes on CPUs, on all machines.
        launch: the place of this process among those that were started elsewhere. Only the first one keeps checkpoints and
            reports; all of them return the same weights.
        saved: called with each checkpoint that was written.

    Raises:
        HeadwayError: the loss is not finite, memory runs out, the machine lacks the devices, or processes have other inputs.
        PeerLost: another process of the training is gone.
    """
    if launch and launch.size != devices:
        raise HeadwayError(
            f"training.devices: {devices}, but {launch.size} processes were started (WORLD_SIZE); set it to {launch.size}, "
            "because results depend on it, or start as many processes"
        )
    pin(module.params.threads)
    with launch.joined() if launch else nullcontext():
        return _fit(module, data, progress, report, checkpoints, devices, launch, saved)


def _fit(
    module: Module,
    data: ScheduledData,
    progress: Callback | None,
    report: Callable[[dict[str, float]], None] | None,
    checkpoints: Path | None,
    devices: int,
    launch: Launch | None,
    saved: Callable[[Path], None] | None,
) -> Module:
    """:func:`fit`, in a process that has met the others."""
    spawns = devices > 1 and launch is None
    follows = launch is not None and launch.rank > 0
    module.report = None if spawns or follows else report
    data.follow(module.schedule)
    callbacks: list[Callback] = [PinThreads(), Patience(MONITOR, mode="min", patience=module.schedule.patience)]
    if progress:
        callbacks.append(progress)
    if checkpoints:
        callbacks.append(Checkpoints(checkpoints, "best", monitor=MONITOR, mode="min", enable_version_counter=False))
        callbacks.append(LastCheckpoint(checkpoints, "last", enable_version_counter=False))
    try:
        trainer = pl.Trainer(
            accelerator=module.params.accelerator,
            precision=PRECISIONS[module.params.precision],  # type: ignore[arg-type]
            devices=launch.local_size if launch else devices,
            num_nodes=launch.size // launch.local_size if launch else 1,
            strategy=strategy(devices, launch) if devices > 1 else "auto",
            use_distributed_sampler=False,  # ours already splits the batches over processes
            max_epochs=module.schedule.evaluations,  # an epoch of Lightning's ends with each evaluation
            callbacks=callbacks,
            # Named, because Lightning would take any job of SLURM's, or a trial below torchrun, for a process of a group.
            plugins=[AtomicCheckpointIO(saved), TorchElasticEnvironment() if launch else LightningEnvironment()],
            logger=False,
            deterministic="warn" if torch.cuda.is_available() else True,
            enable_checkpointing=checkpoints is not None,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,  # each interval has other batches, and the last one may have fewer
        )
    except MisconfigurationException as error:
        raise HeadwayError(
            f"this machine lacks devices for training.accelerator: {module.params.accelerator} and training.devices: {devices} "
            f"({first_line(error).rstrip('!.')}); set accelerator: auto, or fewer devices"
        ) from None
    try:
        with tempfile.TemporaryDirectory(prefix="headway-") as folder:
            latest = _last_readable(checkpoints) if launch is None else _last_of_first(launch, checkpoints, Path(folder))
            trainer.fit(module, data, ckpt_path=latest, weights_only=True)
    except (ProcessRaisedException, RuntimeError, MemoryError) as error:
        if line := _explained(error, module.schedule.tokens_per_batch, module.memory_knobs):
            raise HeadwayError(line) from None
        raise
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):  # Lightning turns Ctrl+C into this
            raise KeyboardInterrupt from None
        raise
    if spawns:
        assert checkpoints, "the processes return the trained weights through checkpoints"
        restore(module, checkpoints)
        if report:
            for entry in module.history:
                report(entry)
    elif launch:
        assert checkpoints, "the first process gives the others its weights through checkpoints"
        _load_weights(module, io.BytesIO(launch.read_of_first(checkpoints / "best.ckpt", checkpoints.name) or b""))
    elif checkpoints:
        _load_weights(module, checkpoints / "best.ckpt")
    return module


def restore(module: Module, checkpoints: Path) -> Module:
    """Give a module what its training in other processes has left: all evaluations, and the weights of the best one."""
    module.on_load_checkpoint(torch.load(str(_last_readable(checkpoints)), map_location="cpu", weights_only=True))
    _load_weights(module, checkpoints / "best.ckpt")
    return module


def _load_weights(module: TrainingModule, checkpoint: Path | io.BytesIO) -> None:
    module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])


def _explained(error: Exception, tokens_per_batch: int, memory_knobs: str) -> str:
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
                f"(now {tokens_per_batch:,}), {memory_knobs}"
            )
    return ""


def device_of(accelerator: str) -> torch.device:
    """The device that ``training.accelerator`` names for work outside of a training: a GPU if it is wanted and there is one.

    Raises:
        HeadwayError: a GPU is asked for, and there is none.
    """
    if torch.cuda.is_available() and accelerator != "cpu":
        return torch.device("cuda")
    if accelerator == "gpu":
        raise HeadwayError("this machine lacks a GPU for training.accelerator: gpu; set accelerator: auto")
    return torch.device("cpu")


def pin(threads: int) -> None:
    """Fix the number of threads and flush denormal numbers to zero, since results depend on both; quieten Lightning."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Every process computes the validation metrics of all texts, so there is nothing to synchronise.
    unwanted = (
        ".*does not have many workers",
        ".*Checkpoint directory.*exists",
        ".*LeafSpec.* is deprecated",
        ".*sync_dist=True",
    )
    for message in unwanted:
        warnings.filterwarnings("ignore", message)


def _last_readable(checkpoints: Path | None) -> Path | None:
    """The latest checkpoint that can be read. A damaged one, such as a loss of power leaves, is removed."""
    steps: dict[Path, int] = {}
    for name in ("last.ckpt", "best.ckpt") if checkpoints else ():
        path = Path(str(checkpoints)) / name
        if path.is_file():
            try:
                steps[path] = torch.load(path, map_location="cpu", weights_only=True)["global_step"]
            except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
                print(f"{path.name} is damaged ({first_line(error)}); resuming from an earlier checkpoint", flush=True)  # noqa: T201
                path.unlink()
    return max(steps, key=steps.__getitem__, default=None)


def _last_of_first(launch: Launch, checkpoints: Path | None, folder: Path) -> Path | None:
    """The latest checkpoint of the first process, which other processes put into a folder of theirs."""
    assert checkpoints, "its name says which training this is"
    latest = _last_readable(checkpoints) if launch.rank == 0 else None
    content = launch.read_of_first(latest, checkpoints.name)
    if launch.rank == 0 or content is None:
        return latest
    copy = folder / "last.ckpt"
    copy.write_bytes(content)
    return copy
