"""identity: hands a source back as the target. Baseline.

Not a paper: the floor. Every number in a results table is to be read against it, because two scans of one
head are alike before any network has touched them.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.data.modality import modality
from transmodal.data.task import Task
from transmodal.errors import RecipeError
from transmodal.methods._method import Facts, Objectives, Players


class Identity(nn.Module):
    """Copies one source, as it is normalised, into every target.

    Args:
        task: what goes in and what comes out.
        source: number of the source that is copied, from 0; where it is missing, the first that is present.
    """

    facts: ClassVar[Facts] = Facts(
        summary="copies a source: the floor that every method has to beat",
        paper="baseline",
        paired=False,
        handles_missing=True,
    )
    training_only: ClassVar[tuple[str, ...]] = ()

    def __init__(self, task: Task, *, source: int = 0) -> None:
        super().__init__()
        if not 0 <= source < len(task.sources):
            raise RecipeError(f"identity: source = {source}, but there are {len(task.sources)}, counted from 0")
        self.multiple = 1
        self.task = task
        self.source = source

    def players(self) -> Players:
        """Nobody is trained."""
        return {}

    def objectives(self, batch: Batch) -> Objectives:
        """There is nothing to learn."""
        yield from ()

    def translate(self, batch: Batch) -> Float[Tensor, "B Cout *N"]:
        """The source; the slice in the middle where there are neighbours, grey where channels do not match."""
        order = [self.source, *(s for s in range(len(self.task.sources)) if s != self.source)]
        image = self._image(batch, order[0])
        for s in reversed(order):
            there = batch.present[:, s].view(-1, *[1] * (image.ndim - 1))
            image = torch.where(there, self._image(batch, s), image)
        return image

    def _image(self, batch: Batch, s: int) -> Tensor:
        """Source ``s`` with as many channels as the targets have."""
        first = sum(self.task.source_channels[:s])
        channels = modality(self.task.sources[s]).channels
        first += self.task.neighbours // 2 * channels
        image = batch.source[:, first : first + channels]
        if channels == self.task.out_channels:
            return image
        return image.mean(dim=1, keepdim=True).expand(-1, self.task.out_channels, *image.shape[2:])
