"""Processes that work together on a Ray cluster, such as those of one training: all of them run, or none.

If one is lost, the others are ended and all start again, on the nodes that are left or on new ones.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray.exceptions import LocalRayletDiedError, RayError, RaySystemError, RayTaskError
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from headway.errors import HeadwayError, Unreachable, first_line
from headway.executors import OptionNames, WorkerLost
from headway.executors.cluster import Node, connected, nodes

if TYPE_CHECKING:
    from ray.util.placement_group import PlacementGroup

#: How often the first process is asked for what it has sent.
SECONDS_BETWEEN_LOOKS = 1.0
#: How long the other processes have to end by themselves after one has failed, so that the cause is found.
SECONDS_TO_END = 30.0
#: How long to wait for nodes with enough free CPUs and GPUs. "now and then" is how often it is looked.
SECONDS_FOR_NODES, SECONDS_NOW_AND_THEN = 600.0, 2.0
#: How often processes start at most without having sent anything.
ATTEMPTS = 3

Send = Callable[[Any], None]
#: ``work(shared, state, send)``, a function of a module's top level, which raises :class:`PeerMissed` if another process is gone.
GangWork = Callable[[Any, Any, Send], None]


class PeerMissed(WorkerLost):
    """A process cannot go on without another one, which is gone."""


class Driver(Protocol):
    """The side of the caller, in its thread."""

    def state(self) -> Any:
        """What the first process continues from; asked for at each start."""

    def received(self, item: Any) -> None:
        """The first process has sent something."""

    def message(self, line: str) -> None:
        """Something that a person should know."""


@dataclass(frozen=True)
class Places:
    """What the processes need.

    Attributes:
        size: number of processes.
        threads: CPUs of each.
        accelerator: whether each needs a GPU; ``auto``: if the cluster has one for each.
    """

    size: int
    threads: int
    accelerator: str = "cpu"

    def bundles(self) -> list[dict[str, float]]:
        """What Ray is to reserve for each process."""
        has_gpus = self.accelerator == "auto" and sum(node.gpus for node in nodes()) >= self.size
        gpu = {"GPU": 1.0} if has_gpus or self.accelerator == "gpu" else {}
        return [{"CPU": float(self.threads), **gpu}] * self.size

    def require(self, names: OptionNames) -> None:
        """HeadwayError if no node of the cluster could ever have one of the processes."""
        found = nodes()
        most = max((node.cpus for node in found), default=0)
        if most < self.threads:
            raise HeadwayError(
                f"{names.address}: each process needs {self.threads} CPUs, and the largest node of the Ray cluster has {most}; "
                f"lower {names.threads}, or add a node with as many"
            )
        if self.accelerator == "gpu" and not any(node.gpus for node in found):
            raise HeadwayError(
                f"{names.address}: each process needs a GPU, and the Ray cluster has none; add nodes with GPUs, or set "
                "training.accelerator: auto"
            )


def run_gang(work: GangWork, shared: Any, places: Places, driver: Driver, address: str, names: OptionNames) -> None:
    """Run the work in several processes at once, until it has returned in all of them.

    Each has the environment variables from which :mod:`torch.distributed` knows its place. What the first one sends is passed on;
    what others send is not.

    Args:
        shared: what every process needs; sent to each node once.
        address: of a running cluster; "" starts one on this machine.

    Raises:
        Unreachable: the cluster does not answer, or has no room for ten minutes.
        HeadwayError: a node has other versions, or processes were lost again and again.
        Exception: what the work raised in one of the processes.
    """
    with connected(address, places.size * places.threads, names):
        places.require(names)
        # Once, so that processes that start again have the devices on which they began: a checkpoint fits these alone.
        bundles = places.bundles()
        loaded = ray.put((work, shared))
        attempts = 0
        while True:
            attempts += 1
            with _reserved(bundles, driver, names) as reserved:
                run = Run(reserved, driver)
                lost = run.until_end(loaded)
            if not lost:
                return
            attempts = 0 if run.received else attempts
            if attempts == ATTEMPTS:
                raise HeadwayError(
                    f"{names.engine}: processes on the Ray cluster were lost {ATTEMPTS} times: {lost}, perhaps for lack of memory"
                )
            driver.message(f"{lost}; all of them start again")


@contextmanager
def _reserved(bundles: list[dict[str, float]], driver: Driver, names: OptionNames) -> Iterator[PlacementGroup]:
    """Room for all processes at once, which is waited for.

    Args:
        bundles: what each process needs.
    """
    group = placement_group(bundles, strategy="PACK")
    try:
        end, is_told = time.monotonic() + SECONDS_FOR_NODES, False
        while not group.wait(SECONDS_NOW_AND_THEN):
            has_gpus = "GPU" in bundles[0]
            wanted = f"{len(bundles)} × {bundles[0]['CPU']:g} CPUs" + (" and a GPU each" if has_gpus else "")
            if time.monotonic() > end:
                raise Unreachable(
                    f"{names.address}: the Ray cluster has had no room for {wanted} for {SECONDS_FOR_NODES / 60:g} minutes; add "
                    f"nodes, or lower {names.threads}, and run again"
                )
            if not is_told:
                is_told = True
                there = ", ".join(
                    f"{node.name} {node.cpus}" + (f" and {node.gpus:g}" if has_gpus else "") for node in nodes()
                )
                kinds = "CPUs and GPUs" if has_gpus else "CPUs"
                driver.message(f"waiting for {wanted} on the Ray cluster ({kinds} of its nodes: {there})")
        yield group
    finally:
        with suppress(RayError, ConnectionError):  # the cluster is gone
            remove_placement_group(group)


class Run:
    """One start of all processes."""

    def __init__(self, reserved: PlacementGroup, driver: Driver) -> None:
        self.driver = driver
        self.received = 0  # what the first process has sent
        bundles = reserved.bundle_specs
        actor: Any = ray.remote(Member)
        self.members = [
            actor.options(
                max_concurrency=2,  # one thread works, the other one answers
                num_cpus=bundle["CPU"],
                num_gpus=bundle.get("GPU", 0),
                scheduling_strategy=PlacementGroupSchedulingStrategy(reserved, rank),
            ).remote()
            for rank, bundle in enumerate(bundles)
        ]
        self.has_gpus = "GPU" in bundles[0]

    def until_end(self, loaded: ray.ObjectRef[Any]) -> str:
        """Wait until all processes have ended. Returns why some were lost, in one line, and "" if all of them did their work.

        Raises:
            Exception: what the work raised.
        """
        try:
            return self._until_end(loaded)
        finally:
            for member in self.members:
                with suppress(RayError, ConnectionError):
                    ray.kill(member)

    def _until_end(self, loaded: ray.ObjectRef[Any]) -> str:
        try:
            places = ray.get([member.place.remote() for member in self.members])
        except (LocalRayletDiedError, RaySystemError) as error:
            raise Unreachable(f"the Ray cluster failed ({first_line(error)}); run again") from None
        except RayError as error:
            return f"a process on the Ray cluster is gone ({first_line(error)})"
        state = self.driver.state()
        running = {
            member.run.remote(loaded, state if rank == 0 else None, self._variables(rank, places)): rank
            for rank, member in enumerate(self.members)
        }
        failures: dict[int, Exception] = {}
        end = float("inf")
        while running and time.monotonic() < end:
            ended, _ = ray.wait(list(running), num_returns=len(running), timeout=SECONDS_BETWEEN_LOOKS)
            unfetched = self._pass_on()
            for reference in ended:
                failure = _failure(reference)
                if not failure and not running[reference] and unfetched:  # the last thing that the first process has sent
                    failure = WorkerLost(unfetched)
                if failure:
                    failures[running[reference]] = failure
                    end = min(end, time.monotonic() + SECONDS_TO_END)
                del running[reference]
        for failure in failures.values():
            if not isinstance(failure, WorkerLost):
                raise failure
        if not failures:
            return ""
        # A process that misses another one is not the cause, unless all do.
        causes = {rank: lost for rank, lost in failures.items() if not isinstance(lost, PeerMissed)} or failures
        where = " and ".join(sorted({places[rank].node.name for rank in causes}))
        return f"a process on node {where} of the Ray cluster is gone ({next(iter(causes.values()))})"

    def _variables(self, rank: int, places: list[Place]) -> dict[str, str]:
        values: dict[str, Any] = {
            "RANK": rank,
            "WORLD_SIZE": len(places),
            "LOCAL_RANK": 0,  # each process has a GPU of its own as number 0
            "LOCAL_WORLD_SIZE": 1,
            "MASTER_ADDR": places[0].address,
            "MASTER_PORT": places[0].port,
        }
        if not self.has_gpus:
            values["CUDA_VISIBLE_DEVICES"] = ""
        return {name: str(value) for name, value in values.items()}

    def _pass_on(self) -> str:
        """Fetch what the first process has sent. Returns why that failed, "" if it did not; then it is asked for again."""
        try:
            items = ray.get(self.members[0].sent.remote(self.received))
        except RayError as error:
            return first_line(error).partition(". ")[0]
        for item in items:
            self.received += 1
            self.driver.received(item)
        return ""


def _failure(reference: ray.ObjectRef[Any]) -> Exception | None:
    """Why a process has not done its work: an error of the work, or :class:`WorkerLost` if the process is gone."""
    try:
        ray.get(reference)
    except RayTaskError as error:
        return error.cause if isinstance(error.cause, Exception) else error
    except (LocalRayletDiedError, RaySystemError) as error:
        return Unreachable(f"the Ray cluster failed ({first_line(error)}); run again")
    except RayError as error:
        return WorkerLost(first_line(error).partition(". ")[0])
    return None


@dataclass(frozen=True)
class Place:
    """Where a process is: its node, the node's address, and a free port there."""

    node: Node
    address: str
    port: int


class Member:
    """One of the processes: an actor of Ray's."""

    def __init__(self) -> None:
        self._sent: list[Any] = []
        self._dropped = 0  # that the caller has

    def place(self) -> Place:
        """Where it is."""
        own = ray.get_runtime_context().get_node_id()
        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        return Place(next(node for node in nodes() if node.id == own), ray.util.get_node_ip_address(), port)

    def run(self, loaded: tuple[GangWork, Any], state: Any, variables: dict[str, str]) -> None:
        """Do the work."""
        os.environ.update(variables)
        work, shared = loaded
        work(shared, state, self._sent.append)

    def sent(self, received: int) -> list[Any]:
        """What the work has sent after the first ``received`` things, which the caller has."""
        del self._sent[: received - self._dropped]
        self._dropped = received
        return list(self._sent)
