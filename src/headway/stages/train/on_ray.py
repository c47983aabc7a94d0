"""Training on a Ray cluster: one process per device, on any of its nodes, which need Headway and nothing else.

This process sends the encoded texts, and is sent the checkpoints, which it keeps. So the training goes on where it was if nodes
are lost, and if this process is itself killed and started again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headway.executors import OptionNames, require_ray
from headway.model.launch import PeerLost, launched
from headway.model.lightning import MONITOR, TrainingModule
from headway.model.training import Module, ScheduledData, fit, restore
from headway.params import TrainingParams

NAMES = OptionNames("training.strategy", "training.address", "training.threads or training.devices", "ddp")

Report = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class Training:
    """What every process needs.

    Attributes:
        key: identifies the inputs of the training.
    """

    module: TrainingModule
    data: ScheduledData
    devices: int
    key: str


def fit_on_ray(
    module: Module, data: ScheduledData, params: TrainingParams, checkpoints: Path, report: Report | None = None
) -> Module:
    """Train a module as :func:`headway.model.training.fit` does, with the same result, in processes on a Ray cluster.

    Raises:
        HeadwayError: see there, and :func:`headway.executors.gang.run_gang`.
    """
    require_ray(params.address, NAMES)
    from headway.executors.gang import Places, run_gang

    checkpoints.mkdir(parents=True, exist_ok=True)
    training = Training(module, data, params.devices, checkpoints.name)
    places = Places(params.devices, params.threads, params.accelerator)
    run_gang(take_part, training, places, Following(module, checkpoints, report), params.address, NAMES)
    return restore(module, checkpoints)


@dataclass
class Following:
    """Keeps the checkpoints of the training, and reports its evaluations; see :class:`headway.executors.gang.Driver`."""

    module: TrainingModule
    checkpoints: Path
    report: Report | None
    step: float = field(default=0.0)  # of the last evaluation that was reported

    def state(self) -> dict[str, bytes]:
        """The checkpoints, by name."""
        return {file.name: file.read_bytes() for file in self.checkpoints.glob("*.ckpt")}

    def received(self, item: tuple[str, bytes] | dict[str, float]) -> None:
        """Keep a checkpoint, or report an evaluation; one that was repeated after a loss is not reported again."""
        if isinstance(item, tuple):
            name, content = item
            partial = self.checkpoints / f"{name}.partial"
            partial.write_bytes(content)
            partial.replace(self.checkpoints / name)
        elif item["step"] > self.step:
            self.step = item["step"]
            losses = f"loss {item['train_loss']:.3f} · validation loss {item[MONITOR]:.4f}"
            self.message(f"step {int(item['step']):,}/{self.module.schedule.steps:,} · epoch {item['epoch']:.1f} · {losses}")
            if self.report:
                self.report(item)

    def message(self, line: str) -> None:
        """Print a line."""
        print(f"train · {line}", flush=True)  # noqa: T201 - progress, for a person


def take_part(training: Training, files: dict[str, bytes] | None, send: Callable[[Any], None]) -> None:
    """What runs in each process. The first one begins with the checkpoints that this one has kept."""
    from headway.executors.gang import PeerMissed

    with tempfile.TemporaryDirectory(prefix="headway-") as folder:
        checkpoints = Path(folder) / training.key
        checkpoints.mkdir()
        for name, content in (files or {}).items():
            (checkpoints / name).write_bytes(content)
        try:
            fit(
                training.module,
                training.data,
                report=send,
                checkpoints=checkpoints,
                devices=training.devices,
                launch=launched(),
                saved=lambda path: send((path.name, path.read_bytes())),
            )
        except PeerLost as error:
            raise PeerMissed(str(error)) from None
