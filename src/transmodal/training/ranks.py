"""Ranks: the processes of one training, who they are and what they tell each other.

torchrun, or SLURM's srun, starts the same command many times and tells each process its number in the environment.
All of them hold the same weights. Every process works on its own share of the batch; gradients are averaged, so
that all of them make the same update. Process 0 alone writes and speaks.

Networks are not wrapped: a method may call them as often as it likes in a turn, and ``players()`` stays the truth.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import ClusterEnvironment
from lightning_fabric.plugins.environments import SLURMEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, distributed, nn

from transmodal.errors import RecipeError, TransmodalError

_PATIENCE = timedelta(hours=12)
"""How long processes wait for number 0 to prepare data or to judge. One that died is noticed at once."""


@dataclass(frozen=True)
class Rank:
    """One process among those that train together.

    Attributes:
        number: of the process, from 0.
        world: how many there are.
        local: number of the process on its machine, from 0.
        address: machine of number 0.
        port: where number 0 listens.
    """

    number: int = 0
    world: int = 1
    local: int = 0
    address: str = "127.0.0.1"
    port: int = 0


def own_rank(told: Mapping[str, str] = os.environ) -> Rank:
    """What torchrun or SLURM's srun told this process in its environment; a process alone if nobody did.

    Raises:
        RecipeError: what they told makes no sense.
    """
    try:
        if "RANK" in told and int(told.get("WORLD_SIZE", 1)) > 1:
            place = int(told["RANK"]), int(told["WORLD_SIZE"]), int(told["LOCAL_RANK"])
            return Rank(*place, told["MASTER_ADDR"], int(told["MASTER_PORT"]))
        # The step's number of tasks, not the job's: a batch script that runs no srun is one process of many tasks.
        if int(told.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
            place = int(told["SLURM_PROCID"]), int(told["SLURM_STEP_NUM_TASKS"]), int(told["SLURM_LOCALID"])
            nodes = told.get("SLURM_STEP_NODELIST") or told["SLURM_JOB_NODELIST"]
            first = told.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes)
            return Rank(*place, first, int(told.get("MASTER_PORT") or 15_000 + int(told["SLURM_JOB_ID"]) % 10_000))
    except (KeyError, ValueError) as problem:
        raise RecipeError(
            f"the environment says that this is one of several processes, but {problem} is missing or no number; "
            "start them with torchrun or srun (docs/cluster.md)"
        ) from problem
    return Rank()


class Given(ClusterEnvironment):
    """A rank in Fabric's words; somebody else has started the processes."""

    def __init__(self, rank: Rank):
        self.rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        """Always."""
        return True

    @property
    def main_address(self) -> str:
        """Machine of process 0."""
        return self.rank.address

    @property
    def main_port(self) -> int:
        """Where process 0 listens."""
        return self.rank.port

    @staticmethod
    def detect() -> bool:
        """Never: it is handed over."""
        return False

    def world_size(self) -> int:
        """How many processes there are."""
        return self.rank.world

    def set_world_size(self, size: int) -> None:
        """Their number is not ours to set."""

    def global_rank(self) -> int:
        """Number of this process."""
        return self.rank.number

    def set_global_rank(self, rank: int) -> None:
        """It is not ours to set."""

    def local_rank(self) -> int:
        """Number of this process on its machine."""
        return self.rank.local

    def node_rank(self) -> int:
        """Not used: devices are chosen by the local rank."""
        return 0


def joined(rank: Rank, device: str, precision: str) -> Fabric:
    """Fabric over all processes; returns when all of them are there.

    Args:
        rank: of this process, with others beside it.
        device: ``auto``, ``cpu`` or ``cuda``. Processes of a machine take its GPUs in turn.
        precision: as Fabric calls it.

    Raises:
        RecipeError: a device that several processes cannot train on.
        TransmodalError: the others do not come.
    """
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if kind not in ("cpu", "cuda"):
        raise RecipeError(f"--device {device}: several processes train on cpu or cuda")
    # srun may show a process its own GPU only, which is then the first.
    own = torch.device("cuda", rank.local % torch.cuda.device_count()) if kind == "cuda" else torch.device("cpu")
    strategy = DDPStrategy(
        parallel_devices=[own] * (rank.local + 1), cluster_environment=Given(rank), timeout=_PATIENCE
    )
    fabric = Fabric(accelerator=kind, strategy=strategy, precision=precision)  # type: ignore[arg-type]
    with _connected():
        fabric.launch()
        # The connections themselves are made by the first message.
        wait(fabric)
    return fabric


def wait(fabric: Fabric) -> None:
    """Until all processes are here."""
    if fabric.world_size > 1:
        with _connected():
            fabric.barrier()


def average_gradients(own: Sequence[nn.Parameter], fabric: Fabric, *, failed: bool = False) -> int | None:
    """Put the mean gradient over all processes into each of them, as one message.

    A process in which a parameter has no gradient counts as zeros, unless it has none anywhere.

    Args:
        own: parameters of one player, the same in all processes.
        fabric: of all processes.
        failed: whether this process has no gradient to give.

    Returns:
        The lowest number of a process that failed, the same in all; None, and gradients averaged, if none did.
    """
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
    head = torch.tensor([float(failed), *(float(p.grad is not None) for p in own)], device=fabric.device)
    message = torch.cat([head, *(g.reshape(-1) for g in gradients)])
    with _connected():
        distributed.all_reduce(message)
    count, *means = message.split([len(head), *(g.numel() for g in gradients)])
    failures, *givers = count.tolist()
    if failures:
        return next(n for n, bad in enumerate(_gathered(failed, fabric)) if bad)
    for parameter, gradient, mean, some in zip(own, gradients, means, givers, strict=True):
        if some:
            parameter.grad = gradient.copy_(mean.view_as(gradient) / fabric.world_size)
    return None


def agree(
    values: Mapping[str, Tensor], flags: Sequence[bool], fabric: Fabric
) -> tuple[dict[str, Tensor], list[bool]]:
    """The mean of every value over all processes, and of every flag whether any process raised it."""
    if fabric.world_size == 1:
        return dict(values), list(flags)
    raised = torch.tensor([float(flag) for flag in flags], device=fabric.device)
    message = torch.cat([raised, *(value.detach().float().reshape(1) for value in values.values())])
    with _connected():
        distributed.all_reduce(message)
    means = (message[len(flags) :] / fabric.world_size).unbind()
    return dict(zip(values, means, strict=True)), [bool(flag) for flag in message[: len(flags)].tolist()]


def gather_buffers(method: nn.Module, fabric: Fabric) -> dict[str, Tensor]:
    """What processes do not share: ``NUMBER.NAME`` → buffer of process NUMBER, where number 0 has another.

    These are pools of past fakes and running statistics, which each process fills from its own share of the data.

    Returns:
        Nothing in any process but number 0.
    """
    if fabric.world_size == 1:
        return {}
    kept = method.state_dict().keys()
    own = {name: value.detach().cpu() for name, value in method.named_buffers() if name in kept}
    every = [own] * fabric.world_size if fabric.is_global_zero else None
    with _connected():
        distributed.gather_object(own, every)
    return {
        f"{number}.{name}": value
        for number, theirs in enumerate(every or [])
        for name, value in theirs.items()
        if not torch.equal(value, own[name])
    }


def _gathered(flag: bool, fabric: Fabric) -> list[bool]:
    found = [False] * fabric.world_size
    with _connected():
        distributed.all_gather_object(found, flag)
    return found


@contextmanager
def _connected() -> Iterator[None]:
    """Whatever breaks a connection, the cause is in another process, which has told it."""
    try:
        yield
    except RuntimeError as problem:
        raise TransmodalError(
            "another process of this training ended or cannot be reached; its own message says why. What was "
            "saved is whole: go on with --resume"
        ) from problem
