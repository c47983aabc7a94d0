"""Training processes that were started elsewhere: by torchrun, by hand with the same environment variables, or on a Ray cluster.

They train one model together (DDP), on one machine or several, and need no shared folder: the first process keeps the
checkpoints, and gives the others the one to resume from.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import distributed

from headway.errors import HeadwayError, first_line

#: The variable with the network interface that processes on CPUs talk through.
INTERFACE = "GLOO_SOCKET_IFNAME"
AGAIN = "start all of them again, and the training resumes after its last evaluation"


class PeerLost(HeadwayError):
    """Another process of the training is gone, or cannot be reached. Started again, the training resumes."""


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that train together.

    Attributes:
        rank: of this process among all, from 0.
        size: number of processes on all machines.
        local_rank: of this process among those of its machine.
        local_size: number of processes on its machine.
    """

    rank: int
    size: int
    local_rank: int = 0
    local_size: int = 1

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Meet the other processes at ``MASTER_ADDR:MASTER_PORT``, and part from them with the block.

        Raises:
            PeerLost: they do not come within half an hour, or one of them is gone.
        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
        values = (self.rank, self.size, self.local_rank, self.local_size, self.rank // self.local_size)
        os.environ.update({name: str(value) for name, value in zip(names, values, strict=True)})
        if interface := _interface_to(os.environ["MASTER_ADDR"]):
            os.environ.setdefault(INTERFACE, interface)
        try:
            distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        except (RuntimeError, ValueError) as error:
            where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            raise PeerLost(
                f"the {self.size} training processes did not meet at {where} ({first_line(error)}); check MASTER_ADDR, "
                f"MASTER_PORT and, with several network interfaces, {INTERFACE}, and {AGAIN}"
            ) from None
        try:
            yield
        except RuntimeError as error:
            # Gloo has no type for its errors.
            if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
                raise
            reason = first_line(error).rpartition("] ")[2].partition(". ")[0]
            raise PeerLost(f"another process of the training is gone ({reason}); {AGAIN}") from None
        finally:
            distributed.destroy_process_group()

    def read_of_first(self, file: Path | None, training: str) -> bytes | None:
        """The content of a file of the first process, in every process; None if that one has no file.

        Args:
            file: what the first process has; other processes' are not looked at.
            training: identifies the inputs of the training, which all processes must agree in.

        Raises:
            HeadwayError: this process has other inputs than the first.
        """
        box: list[Any] = [(training, file.read_bytes() if file else None) if self.rank == 0 else None]
        distributed.broadcast_object_list(box, src=0)
        of_first, content = box[0]
        if of_first != training:
            raise HeadwayError(
                f"process {self.rank} of the training has other inputs than process 0; bring params.yaml, the data and "
                "Headway to the same state on all machines, and start all of them again"
            )
        return content  # type: ignore[no-any-return]


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What the variables of torchrun, or of Lightning, say of this process; None if it was started alone.

    torchrun sets ``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK`` and ``LOCAL_WORLD_SIZE``. Lightning has ``NODE_RANK`` in place of
    ``RANK``. Both have ``MASTER_ADDR`` and ``MASTER_PORT``.

    Raises:
        HeadwayError: a variable is missing, or no number that fits the others.
    """
    if environment.get("WORLD_SIZE", "1") == "1" or "MASTER_ADDR" not in environment:
        return None

    def number(name: str, default: str = "") -> int:
        text = environment.get(name, default)
        if not text.isdecimal():
            raise HeadwayError(
                f"{name}: expected a number in the environment, found {text!r}, because WORLD_SIZE and MASTER_ADDR are set; set "
                "it, or unset WORLD_SIZE to train in this process alone"
            )
        return int(text)

    number("MASTER_PORT")
    size, local_rank, local_size = number("WORLD_SIZE"), number("LOCAL_RANK", "0"), number("LOCAL_WORLD_SIZE", "1")
    if "RANK" in environment or "NODE_RANK" not in environment:
        rank = number("RANK")
    else:
        rank = number("NODE_RANK") * local_size + local_rank
    if not (rank < size and local_rank < local_size and local_size and size % local_size == 0):
        raise HeadwayError(
            f"WORLD_SIZE: {size} processes with {local_size} on each machine cannot have process {rank}, {local_rank} on its "
            "machine; correct RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE in the environment"
        )
    return Launch(rank, size, local_rank, local_size)


def strategy(devices: int, launch: Launch | None) -> str:
    """Lightning's name of DDP. Without a launch, this process spawns the others: plain DDP would run the stage's command again.

    DDP reorders its gradients after the first step, also after that of a resumed training. Three or more of them would then be
    added in another order than without the interruption. It does not if it looks for unused parameters.
    """
    name = "ddp" if launch else "ddp_spawn"
    return name if devices == 2 else f"{name}_find_unused_parameters_true"


def _interface_to(address: str) -> str:
    """The network interface through which an address is reached; "" if that is not known.

    A name of this machine that stands for the loopback is no address at which others reach it, so it tells nothing. Gloo would
    take the interface that this machine's own name resolves to, which on Debian is the loopback.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # sends nothing
            own = probe.getsockname()[0]
    except OSError:
        return ""
    if own.startswith("127.") and own != address:
        return ""
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, addresses in interfaces if own in [one.address for one in addresses]), "")
