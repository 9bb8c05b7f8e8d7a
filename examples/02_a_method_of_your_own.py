"""A method in one file: a network, its loss, and how they take turns. Train it without touching the package.

    transmodal train recipes/regression_elderly.toml data.path=SCANS --out run method.name=my_lab.wavy

would find this class in a module ``my_lab/wavy.py`` of yours. Baseline: a fixed curve with learnt knots.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.losses.pixel import l1
from transmodal.methods._method import Facts, Objectives, Players


class Curve(nn.Module):
    """target = Σ wₖ hat(source − knotₖ): the best brightness curve, the same at every voxel."""

    facts: ClassVar[Facts] = Facts(summary="one learnt brightness curve", paper="baseline", max_targets=1)
    training_only: ClassVar[tuple[str, ...]] = ()
    multiple = 1

    def __init__(self, task: Task, *, knots: int = 16) -> None:
        super().__init__()
        self.knots = knots
        self.curve = nn.Linear(knots, task.out_channels, bias=False)

    def players(self) -> Players:
        """One player."""
        return {"curve": {"curve": self.curve}}

    def objectives(self, batch: Batch) -> Objectives:
        """Min E |t - curve(s)|."""
        yield "curve", {"l1": l1(self.translate(batch), batch.truth)}

    def translate(self, batch: Batch) -> Tensor:
        """The curve, voxel by voxel."""
        places = torch.linspace(-1, 1, self.knots, device=batch.source.device)
        distance = (batch.source[:, :1].unsqueeze(-1) - places).abs() * (self.knots - 1) / 2
        made: Tensor = self.curve((1 - distance).clamp(min=0)).movedim(-1, 1)[:, :, 0]
        return made
