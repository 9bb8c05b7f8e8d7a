"""TrainingSettings: the ``[training]`` table of a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from transmodal.errors import RecipeError
from transmodal.schema import make, plain
from transmodal.training.optim import OptimizerSettings


@dataclass(frozen=True)
class TrainingSettings:
    """How long, how precisely and how often.

    Attributes:
        steps: updates of every player.
        minutes: stop after this much training time even if steps are left; 0 for no limit.
        batch_size: samples in one forward pass of one process; n processes make an update from n times as many.
        accumulate: forward passes per update; their gradients are averaged.
        precision: ``bf16`` autocast, ``fp32``, or ``auto``: bf16 where the processor computes in it.
        deterministic: refuse operations whose result may differ from run to run.
        seed: of weights, sampling, augmentation and dropout.
        ema: decay of the averaged weights that are validated and shipped; 0 for none.
        optimizer: settings of every player …
        players: … and what is different for one of them.
        log_every: steps between two lines of the log.
        validate_every: steps between two validations on whole volumes; 0 for at the end only.
        validation_cases: how many validation cases at most; 0 for all.
        monitor: the metric that decides which weights are best.
        save_every: steps between two checkpoints; 0 for at validation only.
    """

    steps: int = 20_000
    minutes: float = 0.0
    batch_size: int = 4
    accumulate: int = 1
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    deterministic: bool = False
    seed: int = 0
    ema: float = 0.0
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    players: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    log_every: int = 50
    validate_every: int = 1000
    validation_cases: int = 4
    monitor: str = "MAE"
    save_every: int = 0

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "accumulate", "log_every"):
            if getattr(self, key) < 1:
                raise RecipeError(f"training.{key} = {getattr(self, key)}: must be at least 1")
        if not 0 <= self.ema < 1:
            raise RecipeError(f"training.ema = {self.ema}: a decay is at least 0 and below 1")

    def optimizer_of(self, player: str) -> OptimizerSettings:
        """The settings of one player: the common ones with its own laid over."""
        return make(
            OptimizerSettings,
            plain(self.optimizer) | dict(self.players.get(player, {})),
            f"training.players.{player}",
        )

    @property
    def resolved_precision(self) -> Literal["bf16", "fp32"]:
        """``precision`` with ``auto`` decided for this machine."""
        if self.precision != "auto":
            return self.precision
        if torch.cuda.is_available():
            return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
        units = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return "bf16" if units.get("avx512_bf16") or units.get("amx_bf16") else "fp32"
