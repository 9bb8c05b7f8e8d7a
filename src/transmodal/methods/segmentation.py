"""segmentation: a U-Net names the tissue of every voxel, which is then painted with its mean. Baseline.

Not a paper's synthesis: the floor of what needs nothing but tissues, colour by the mean of a label; and the recipe
by which the frozen judge of ``colorization`` is trained before (cryosections in, label maps as the truth).

References:
    U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger, Fischer, Brox, 2015).
    https://arxiv.org/abs/1505.04597

Equations, with p(k | x) the softmax of the scores, s the label map and y the target::

    L = -log p(s | x),    μ_k = mean of y where s = k,    ŷ = Σ_k p(k | x) μ_k
"""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.methods._method import Facts, Objectives, Players
from transmodal.nn.segmenter import PUBLISHED, Classes, LabelUNet


class Segmentation(nn.Module):
    """Cross-entropy with batch normalisation, slices only.

    Args:
        task: what goes in and what comes out.
        labels: the code of every class in the label maps; any other code is an error. This is the table that
            a Model keeps: class k is code ``labels[k]``.
        width: channels of the U-Net at full size.
        depth: how often it halves the grid; sizes are multiples of ``2 ** depth``.
    """

    facts: ClassVar[Facts] = Facts(
        summary="U-Net that names the tissue and paints it with its mean; trains colorization's judge",
        paper="baseline",
        needs_labels=True,
        spatial=(2,),
    )
    training_only: ClassVar[tuple[str, ...]] = ()
    totals: Tensor

    def __init__(
        self, task: Task, *, labels: tuple[int, ...] = PUBLISHED, width: int = 64, depth: int = 4
    ) -> None:
        super().__init__()
        self.multiple = 2**depth
        self.classes = Classes(labels)
        self.network = LabelUNet(task.in_channels, len(labels), width, depth)
        # One row for each channel of the targets, then one for the numbers of voxels; float32 cannot count them.
        self.register_buffer("totals", torch.zeros(task.out_channels + 1, len(labels), dtype=torch.float64))

    def players(self) -> Players:
        """One U-Net."""
        return {"segmenter": {"network": self.network}}

    def objectives(self, batch: Batch) -> Objectives:
        """One step on the U-Net; the means go on as well.

        Raises:
            ValueError: a batch without label maps.
            InputError: a code that ``labels`` does not have.
        """
        if batch.labels is None:
            raise ValueError("this batch has no label maps; segmentation is trained on them")
        classes = self.classes(batch.labels)
        self._count(batch.truth, classes)
        scores = self.network((batch.source + 1) / 2)
        yield "segmenter", {"cross_entropy": cross_entropy(scores.float(), classes)}

    @torch.no_grad()
    def _count(self, y: Float[Tensor, "B C X Y"], classes: Int[Tensor, "B X Y"]) -> None:
        values = y.double().movedim(1, 0).flatten(1)
        values = torch.cat([values, torch.ones_like(values[:1])])
        self.totals.index_add_(1, classes.flatten(), values)

    def means(self) -> Float[Tensor, "C K"]:
        """μ: one column for each class; -1, the background, for a class that was never seen."""
        sums, counts = self.totals[:-1], self.totals[-1:]
        return torch.where(counts > 0, sums / counts.clamp(min=1), -1.0).float()

    def translate(self, batch: Batch) -> Float[Tensor, "B Cout *N"]:
        """ŷ."""
        shares = self.network((batch.source + 1) / 2).float().softmax(dim=1)
        painted = torch.einsum("bkxy,ck->bcxy", shares, self.means())
        return painted.to(batch.source.dtype)
