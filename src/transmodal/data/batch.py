"""Batch: what a method receives. Names outside (:mod:`.task`), a fixed axis inside."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Samples for a method. Values are normalised: [-1, 1] for a window, about N(0, 1) for z-scores.

    Attributes:
        source: all sources, channel by channel as :class:`~.task.Task` says; zeros where a source is missing.
        target: what should come out; None when translating. When ``paired`` is False it is another
            subject's and must not be compared with ``source`` voxel by voxel.
        present: which sources are there, one flag for each source (not for each channel).
        mask: where voxels count (the head or what the user's mask says).
        extent: first and last voxel centre along X, Y, Z of each sample, as a fraction of the box around
            the case's mask (0 at its lower, 1 at its upper end; outside that range outside the box).
        axis: the axis that a slice is taken along (0 sagittal, 1 coronal, 2 axial), None for patches.
        cases: name of the case of each sample.
        paired: whether ``target`` belongs to ``source``.
        step: how many updates the loop has made; for warm-up and lazy terms.
        labels: the case's label map, where the method asks for one.
    """

    source: Float[Tensor, "B Cin *N"]
    present: Bool[Tensor, "B S"]
    mask: Bool[Tensor, "B 1 *N"]
    extent: Float[Tensor, "B 3 2"]
    axis: int | None = None
    target: Float[Tensor, "B Cout *N"] | None = None
    cases: tuple[str, ...] = ()
    paired: bool = True
    step: int = 0
    labels: Int[Tensor, "B 1 *N"] | None = None

    @property
    def truth(self) -> Float[Tensor, "B Cout *N"]:
        """:attr:`target`, where there must be one."""
        if self.target is None:
            raise ValueError("this batch has no target: it is for translating, not for training")
        return self.target

    def coordinates(self) -> Float[Tensor, "B 3 *N"]:
        """Position of every voxel in the box around the mask, as X, Y, Z fractions (see ``extent``)."""
        size = self.source.shape[2:]
        along = [a for a in range(3) if a != self.axis]
        lines = []
        for axis in range(3):
            first, last = self.extent[:, axis, 0], self.extent[:, axis, 1]
            if axis == self.axis:
                line = first.view(-1, *[1] * len(size))
            else:
                place = along.index(axis)
                t = torch.linspace(0, 1, size[place], device=first.device)
                line = first[:, None] + (last - first)[:, None] * t
                line = line.view(-1, *[size[place] if i == place else 1 for i in range(len(size))])
            lines.append(line.expand(-1, *size))
        return torch.stack(lines, dim=1)

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device, slices laid out channels last, as convolutions like them."""
        layout = torch.channels_last if self.source.ndim == 4 else torch.contiguous_format
        return replace(
            self,
            source=self.source.to(device, memory_format=layout),
            present=self.present.to(device),
            mask=self.mask.to(device),
            extent=self.extent.to(device),
            target=None if self.target is None else self.target.to(device),
            labels=None if self.labels is None else self.labels.to(device),
        )
