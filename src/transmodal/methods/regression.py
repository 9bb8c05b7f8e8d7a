"""regression: a U-Net that minimises the distance to the target, voxel by voxel. Baseline.

Not a paper: what a careful engineer would train first, and hard to beat on pixel metrics. It gives the median
(`l1`) or the mean (`l2`) of all targets that would fit the sources, and is therefore smooth where the sources
do not tell.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.losses.pixel import PIXEL, Pixel
from transmodal.methods._method import Facts, Objectives, Players
from transmodal.nn.convnd import Output
from transmodal.nn.unet import UNet


class Regression(nn.Module):
    """One network, one loss.

    With several sources the network also sees, as one constant channel for each source, whether it is there;
    a missing source is then told from one that is black.

    Args:
        task: what goes in and what comes out.
        depth: how often the grid is halved.
        width: channels at full size.
        loss: ``l1``, ``l2`` or ``charbonnier``, a smooth ``l1``.
        masked: whether only voxels in the mask count. What lies outside is then arbitrary.
        output: ``linear``, or ``tanh`` for targets in [-1, 1].
    """

    facts: ClassVar[Facts] = Facts(
        summary="U-Net trained on the voxel-wise distance; no adversary",
        paper="baseline",
        handles_missing=True,
    )
    training_only: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        task: Task,
        *,
        depth: int = 4,
        width: int = 32,
        loss: Pixel = "l1",
        masked: bool = False,
        output: Output = "linear",
    ) -> None:
        super().__init__()
        self.flags = len(task.sources) if len(task.sources) > 1 else 0
        self.loss = loss
        self.masked = masked
        self.generator = UNet(
            task.in_channels + self.flags,
            task.out_channels,
            spatial=task.spatial,
            depth=depth,
            width=width,
            output=output,
        )
        self.multiple = self.generator.multiple

    def players(self) -> Players:
        """One player, one network."""
        return {"generator": {"generator": self.generator}}

    def objectives(self, batch: Batch) -> Objectives:
        """min_G  E d(t, G(s))."""
        distance = PIXEL[self.loss]
        prediction = self.translate(batch)
        yield "generator", {self.loss: distance(prediction, batch.truth, batch.mask if self.masked else None)}

    def translate(self, batch: Batch) -> Float[Tensor, "B Cout *N"]:
        """G(s)."""
        if not self.flags:
            y: Tensor = self.generator(batch.source)
            return y
        shape = (*batch.present.shape, *[1] * (batch.source.ndim - 2))
        flags = batch.present.to(batch.source.dtype).view(shape).expand(-1, -1, *batch.source.shape[2:])
        y = self.generator(torch.cat([batch.source, flags], dim=1))
        return y
