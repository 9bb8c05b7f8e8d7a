"""Cost: what one step of a method takes in memory and time on this machine, found by playing it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.methods._method import Method
from transmodal.training.loop import make_fabric
from transmodal.training.optim import optimizer
from transmodal.training.settings import TrainingSettings
from transmodal.training.turns import play, trained_parameters

_STATE = 4
"""Weights, gradients and Adam's two moments, as multiples of the weights."""


@dataclass(frozen=True)
class Cost:
    """What a step takes.

    Attributes:
        fixed: bytes whatever the batch: weights, gradients, moments of the optimisers.
        per_sample: bytes that are kept for the gradients of one sample.
        seconds: of a step of the batch that was played.
    """

    fixed: int
    per_sample: int
    seconds: float

    def memory(self, batch_size: int) -> int:
        """Bytes for a batch, without what the libraries themselves take."""
        return self.fixed + batch_size * self.per_sample

    def largest_batch(self, memory: float, most: int = 16) -> int:
        """The largest power of two, at most ``most``, that fits into ``memory`` bytes; 1 if none does."""
        size = 1
        while size < most and self.memory(2 * size) <= memory:
            size *= 2
        return size


def measure(
    method: Method,
    task: Task,
    settings: TrainingSettings,
    device: str = "auto",
    *,
    timed: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Cost:
    """Play a few steps with random samples; the weights are spent afterwards.

    Args:
        method: with real weights; without players there is nothing to measure and the cost is 0.
        task: what it was built for, with the size of a sample.
        settings: batch, accumulation, precision and optimisers.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        timed: steps whose median time is taken, after one that is not.
        clock: what tells the seconds; ``time.process_time`` where the machine has other work.
    """
    assert isinstance(method, nn.Module)
    parameters = trained_parameters(method.players())
    if not parameters:
        return Cost(0, 0, 0.0)
    fabric = make_fabric(settings, device)
    method.to(fabric.device).train()
    optimizers = {name: optimizer(own, settings.optimizer_of(name)) for name, own in parameters.items()}
    batch = sample(task, settings.batch_size).to(fabric.device)
    limits = dict.fromkeys(parameters, 0.0)
    kept: dict[int, int] = {}
    weights = {p.data_ptr() for p in method.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, _same):
        play(method, [batch], optimizers, parameters, limits, fabric)
    taken = []
    for _ in range(timed):
        started = clock()
        play(method, [batch] * settings.accumulate, optimizers, parameters, limits, fabric)
        if fabric.device.type == "cuda":
            torch.cuda.synchronize(fabric.device)
        taken.append(clock() - started)
    fixed = _STATE * sum(p.numel() * p.element_size() for p in method.parameters())
    return Cost(fixed, sum(kept.values()) // settings.batch_size, median(taken))


def _same(kept: Any) -> Any:
    return kept


def sample(task: Task, batch_size: int) -> Batch:
    """A made-up batch of a task that knows its size."""
    made, size = torch.Generator().manual_seed(0), task.size
    return Batch(
        source=torch.randn(batch_size, task.in_channels, *size, generator=made).clamp(-1, 1),
        target=torch.randn(batch_size, task.out_channels, *size, generator=made).clamp(-1, 1),
        present=torch.ones(batch_size, len(task.sources), dtype=torch.bool),
        mask=torch.ones(batch_size, 1, *size, dtype=torch.bool),
        extent=torch.tensor([[[0.0, 1.0]] * 3]).repeat(batch_size, 1, 1),
        axis=2 if task.spatial == 2 else None,
        labels=torch.zeros(batch_size, 1, *size, dtype=torch.int64),
        cases=tuple(f"sample {i}" for i in range(batch_size)),
    )
