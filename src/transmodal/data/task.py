"""Task: what a method is asked to do. Names outside, a fixed axis inside."""

from dataclasses import dataclass

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
        """Channels of :attr:`~transmodal.data.batch.Batch.source`."""
        return sum(self.source_channels)

    @property
    def out_channels(self) -> int:
        """Channels of :attr:`~transmodal.data.batch.Batch.target`."""
        return sum(modality(name).channels for name in self.targets)
