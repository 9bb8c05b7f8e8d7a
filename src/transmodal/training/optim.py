"""Optimiser, schedule and clipping of one player."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from transmodal.errors import RecipeError


@dataclass(frozen=True)
class OptimizerSettings:
    """How a player learns: the ``[training.optimizer]`` table, and per player ``[training.players.NAME]``.

    Attributes:
        name: ``adam`` or ``adamw``.
        lr: learning rate at its highest.
        betas: Adam's decay rates of the two moments; (0.5, 0.999) is customary against a critic.
        weight_decay: decoupled for ``adamw``.
        clip: largest gradient norm of the player; 0 for none.
        schedule: ``constant``; ``linear`` to zero; ``cosine`` to zero; ``step``: a tenth each time.
        warmup: steps of linear rise at the start.
        hold: fraction of the training before ``linear`` and ``cosine`` begin to fall.
        step_every: steps between two falls of ``step``.
        rates: word in the names of parameters → what their learning rate is multiplied by, as in
            ``{router = 0.4}``; the first word that fits counts.
    """

    name: Literal["adam", "adamw"] = "adam"
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    clip: float = 0.0
    schedule: Literal["constant", "linear", "cosine", "step"] = "constant"
    warmup: int = 0
    hold: float = 0.5
    step_every: int = 10_000
    rates: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise RecipeError(f"training.optimizer.lr = {self.lr}: a learning rate is larger than 0")
        if not 0 <= self.hold < 1:
            raise RecipeError(f"training.optimizer.hold = {self.hold}: give a fraction from 0 to below 1")
        if self.step_every < 1 or self.warmup < 0:
            raise RecipeError("training.optimizer: step_every is at least 1 and warmup at least 0")
        if wrong := [word for word, rate in self.rates.items() if rate < 0]:
            raise RecipeError(f"training.optimizer.rates.{wrong[0]} = {self.rates[wrong[0]]}: give 0 or more")

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by for update number ``step`` of ``steps`` (from 0)."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        fallen = max(0.0, step / max(steps, 1) - self.hold) / (1 - self.hold)
        if self.schedule == "linear":
            return rise * (1 - fallen)
        if self.schedule == "cosine":
            return rise * (1 + math.cos(math.pi * fallen)) / 2
        if self.schedule == "step":
            return rise * 0.1 ** (step // self.step_every)
        return rise


def optimizer(parameters: Mapping[str, nn.Parameter], settings: OptimizerSettings) -> Optimizer:
    """The optimiser of one player.

    Args:
        parameters: name → parameter.
        settings: how it learns.

    Raises:
        RecipeError: a word of ``rates`` that is in no name.
    """
    if lost := [word for word in settings.rates if not any(word in name for name in parameters)]:
        raise RecipeError(
            f"training.optimizer.rates: no parameter of this player has {lost[0]!r} in its name; give rates of "
            "one player under training.players.NAME"
        )
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        factor = next((rate for word, rate in settings.rates.items() if word in name), 1.0)
        groups.setdefault(factor, []).append(parameter)
    kind = {"adam": Adam, "adamw": AdamW}[settings.name]
    rated = [{"params": own, "factor": factor} for factor, own in groups.items()]
    return kind(rated, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay)


def set_rate(player: Optimizer, settings: OptimizerSettings, step: int, steps: int) -> float:
    """Set the learning rate of update ``step``; a function of the step alone, so nothing has to be resumed."""
    rate = settings.lr * settings.factor(step, steps)
    for group in player.param_groups:
        group["lr"] = rate * group["factor"]
    return rate


def clip(parameters: Iterable[Tensor], largest: float) -> None:
    """Scale the gradients down to a common norm of ``largest``; 0 leaves them."""
    if largest > 0:
        torch.nn.utils.clip_grad_norm_(parameters, largest)
