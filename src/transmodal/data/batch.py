"""Batch: what a method receives, and Task: what it is asked to do. Names outside, a fixed axis inside."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from transmodal.data.modality import modality, unusable
from transmodal.errors import RecipeError


@dataclass(frozen=True)
class Task:
    """What a method is asked to do; its networks are built for it.

    Attributes:
        sources: names of the modalities that go in, in order.
        targets: names of the modalities that come out, in order.
        spatial: 2 for slices, 3 for patches.
        neighbours: 2D only: how many slices the network sees at once, an odd number; the middle one is
            translated (2.5D). The slices are channels, all of the first source before the next source.
        size: voxels of a training sample along its axes; empty where it is not known. Only a network that cannot
            take images of any size should ask.
    """

    sources: tuple[str, ...] = ("T1w",)
    targets: tuple[str, ...] = ("T2w",)
    spatial: int = 2
    neighbours: int = 1
    size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.sources, *self.targets):
            if why := unusable(name):
                raise RecipeError(f"{name!r} cannot name a modality: {why}")
        if self.size and len(self.size) != self.spatial:
            raise RecipeError(f"size = {list(self.size)}: give {self.spatial} numbers, or none")
        if self.spatial not in (2, 3):
            raise RecipeError(f"spatial = {self.spatial}: a network sees slices (2) or patches (3)")
        if self.neighbours < 1 or self.neighbours % 2 == 0:
            raise RecipeError(
                f"neighbours = {self.neighbours}: give an odd number of slices, the middle one is made"
            )
        if self.neighbours > 1 and self.spatial == 3:
            raise RecipeError(f"neighbours = {self.neighbours}: only slices have neighbours; patches use 1")

    @property
    def source_channels(self) -> tuple[int, ...]:
        """Channels that each source fills, neighbours counted."""
        return tuple(modality(name).channels * self.neighbours for name in self.sources)

    @property
    def in_channels(self) -> int:
        """Channels of :attr:`Batch.source`."""
        return sum(self.source_channels)

    @property
    def out_channels(self) -> int:
        """Channels of :attr:`Batch.target`."""
        return sum(modality(name).channels for name in self.targets)


@dataclass(frozen=True)
class Batch:
    """Samples for a method. Values are normalised: [-1, 1] for a window, about N(0, 1) for z-scores.

    Attributes:
        source: all sources, channel by channel as :class:`Task` says; zeros where a source is missing.
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
