"""Afford: how wide a network, how large a batch and how many steps a machine and a time allow, measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from transmodal import registry
from transmodal.data.task import Task
from transmodal.errors import RecipeError
from transmodal.training.cost import Cost, measure
from transmodal.training.settings import TrainingSettings

_FEWEST_STEPS = 800
"""Fewer updates than this are not worth a wide network."""
_EPOCHS = 300
"""More looks at the same people than this only learn them by heart."""
_OVERHEAD = 1.5
"""What libraries need beside the tensors that are counted, as a factor."""
_LARGEST_MULTIPLE, _LEAST_DEPTH, _LEAST_WIDTH, _LARGEST_BATCH = 32, 3, 8, 8


@dataclass(frozen=True)
class Budget:
    """What may be spent.

    Attributes:
        minutes: of training.
        memory: bytes.
        device: where.
    """

    minutes: float
    memory: float
    device: torch.device


@dataclass(frozen=True)
class Afforded:
    """What a budget allows.

    Attributes:
        arguments: of the method, where they differ from its defaults.
        batch: samples of a step.
        seconds: of a step.
        cost: of the network chosen.
        budget: what it was for.
    """

    arguments: Mapping[str, Any]
    batch: int
    seconds: float
    cost: Cost
    budget: Budget

    def steps(self, samples: int) -> int:
        """Updates in the time, but no more than so many looks at ``samples`` as teach anything."""
        return max(1, min(self._possible, _EPOCHS * samples // self.batch))

    @property
    def _possible(self) -> int:
        return int(60 * self.budget.minutes / self.seconds) if self.seconds else 1

    @property
    def bytes(self) -> float:
        """Of a step, all in all."""
        return self.cost.memory(self.batch) * _OVERHEAD

    def why_arguments(self) -> str:
        """Why the method's defaults are not kept."""
        time = f"{self.budget.minutes:g} minutes are {_FEWEST_STEPS} steps or more"
        if self._possible < _FEWEST_STEPS:
            return (
                f"as narrow as is sensible; {self.budget.minutes:g} minutes are still only {self._possible} steps"
            )
        return f"so that {time}, and slices fit the network"

    def why_batch(self) -> str:
        """Why it is not larger."""
        return f"a step takes about {self.bytes / 1e9:.2g} of the {self.budget.memory / 1e9:.2g} GB there are"

    def why_steps(self, samples: int) -> str:
        """What they are worth."""
        looks = self.steps(samples) * self.batch / samples
        more = f"; more than {_EPOCHS} would learn them by heart" if self.steps(samples) < self._possible else ""
        return f"{self.seconds:.2g} s a step, measured here; {looks:.0f} looks at each of {samples} slices{more}"


def shallow(method: str, task: Task) -> tuple[dict[str, Any], int]:
    """Arguments with which the method halves slices no more often than is sensible, and the multiple it wants."""
    default = registry.arguments(registry.get(method)).get("depth")
    arguments: dict[str, Any] = {}
    while True:
        multiple = registry.outline(method, replace(task, size=(256,) * task.spatial), arguments).multiple
        depth = arguments.get("depth", default.default if default else None)
        if multiple <= _LARGEST_MULTIPLE or not isinstance(depth, int) or depth <= _LEAST_DEPTH:
            return arguments, multiple
        arguments["depth"] = depth - 1


def afford(method: str, task: Task, arguments: Mapping[str, Any], budget: Budget) -> Afforded:
    """Halve the method's widths until its default fits the budget; every try is played.

    Args:
        method: which.
        task: with the size of a sample.
        arguments: that are settled already.
        budget: what may be spent.

    Raises:
        RecipeError: one sample is too much even for the narrowest network.
    """
    known = registry.arguments(registry.get(method))
    widths = {k: p.default for k, p in known.items() if k.endswith("width") and isinstance(p.default, int)}
    while True:
        chosen = {**arguments, **{k: v for k, v in widths.items() if v != known[k].default}}
        tried = registry.build(method, task, chosen)
        cost = measure(tried, task, TrainingSettings(batch_size=2), budget.device.type)
        batch = cost.largest_batch(budget.memory / _OVERHEAD, _LARGEST_BATCH)
        found = Afforded(chosen, batch, cost.seconds * batch / 2, cost, budget)
        fits = found.bytes <= budget.memory
        if fits and (not cost.seconds or found._possible >= _FEWEST_STEPS):
            return found
        narrower = {key: max(_LEAST_WIDTH, width // 2) for key, width in widths.items()}
        if narrower == widths:
            break
        widths = narrower
    if fits:
        return found
    raise RecipeError(
        f"--memory {budget.memory / 1e9:.2g}: one sample of {method} at {list(task.size)} takes "
        f"{found.bytes / 1e9:.2g} GB even at its narrowest; give more, or name another method"
    )
