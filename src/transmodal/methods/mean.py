"""mean: the average of the training targets at the same place in the head. Baseline.

Not a paper: the floor of what needs no source at all. A method that does not beat it has learnt where a head
is, not what is in it.
"""

from itertools import product
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.methods._method import Facts, Objectives, Players


class Mean(nn.Module):
    """Averages targets on a lattice that spans the box around the mask.

    Every voxel of the mask adds its value to the eight lattice points around it, weighted as in trilinear
    interpolation; reading does the same backwards: Σ wₖ totalₖ / Σ wₖ weightₖ over the eight points k. Where
    nothing was ever seen, the mean over all voxels is given. Sums are kept in float64: a cohort has more
    voxels than float32 can count.

    Args:
        task: what goes in and what comes out.
        lattice: points along X, Y and Z. 1 is one mean for the whole head.
    """

    facts: ClassVar[Facts] = Facts(
        summary="the average training target at the same place in the head; looks at no source",
        paper="baseline",
        paired=False,
        handles_missing=True,
    )
    training_only: ClassVar[tuple[str, ...]] = ()
    totals: Tensor

    def __init__(self, task: Task, *, lattice: int = 64) -> None:
        super().__init__()
        if lattice < 1:
            raise ValueError(f"lattice = {lattice}; give at least 1 point along each axis")
        self.multiple = 1
        self.lattice = lattice
        # One row for each channel of the targets, then one for the weights.
        rows = torch.zeros(task.out_channels + 1, lattice**3, dtype=torch.float64)
        self.register_buffer("totals", rows)

    def players(self) -> Players:
        """Nobody is trained by gradients."""
        return {}

    def objectives(self, batch: Batch) -> Objectives:
        """Add the targets of a batch to the sums."""
        self._add(batch)
        yield from ()

    @torch.no_grad()
    def _add(self, batch: Batch) -> None:
        truth = batch.truth.double().movedim(1, 0)
        inside = batch.mask[:, 0]
        values = torch.cat([truth[:, inside], torch.ones_like(truth[:1, inside])])
        for points, weights in self._around(batch.coordinates().movedim(1, 0)[:, inside]):
            self.totals.index_add_(1, points, values * weights)

    def translate(self, batch: Batch) -> Float[Tensor, "B Cout *N"]:
        """The average target at every voxel's place."""
        place = batch.coordinates().movedim(1, 0).flatten(1)
        seen = torch.zeros(len(self.totals), place.shape[1], dtype=torch.float64, device=place.device)
        for points, weights in self._around(place):
            seen = seen + self.totals[:, points] * weights
        everywhere = _ratio(self.totals.sum(dim=1, keepdim=True))
        image = torch.where(seen[-1:] > 0, _ratio(seen), everywhere)
        shape = (len(self.totals) - 1, batch.source.shape[0], *batch.source.shape[2:])
        return image.to(batch.source.dtype).view(shape).movedim(0, 1)

    def _around(self, place: Float[Tensor, "3 V"]) -> list[tuple[Int[Tensor, " V"], Float[Tensor, " V"]]]:
        """The eight lattice points around every place, as flat indices, and their weights, which sum to 1."""
        position = place.double().clamp(0, 1) * (self.lattice - 1)
        below = position.floor().clamp(max=max(self.lattice - 2, 0))
        above = position - below
        around = []
        for corner in product((0, 1), repeat=3):
            index = torch.zeros_like(below[0], dtype=torch.long)
            weight = torch.ones_like(above[0])
            for axis, step in enumerate(corner):
                point = (below[axis].long() + step).clamp(max=self.lattice - 1)
                index = index * self.lattice + point
                weight = weight * (above[axis] if step else 1 - above[axis])
            around.append((index, weight))
        return around


def _ratio(rows: Tensor) -> Tensor:
    """Totals divided by the weights in the last row; 0 where there are none."""
    return torch.where(rows[-1:] > 0, rows[:-1] / rows[-1:].clamp(min=1e-30), 0.0)
