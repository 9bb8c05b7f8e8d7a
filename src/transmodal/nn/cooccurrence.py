"""The patch co-occurrence critic: do these patches come from the same image as those?

References:
    Swapping Autoencoder for Deep Image Manipulation (Park et al., 2020), section 3.3 and appendix B: joint
    statistics of patches. https://arxiv.org/abs/2007.00653
    Macro2Micro (Kim et al., 2024), where patches are drawn in the brain. https://arxiv.org/abs/2412.11277
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from transmodal.nn.equalized import BiasedLeaky, EqualConv, EqualLinear, ResBlock, layer

_WIDTHS = (1, 2, 4, 8, 12, 12)
"""Channels after each halving, in multiples of the first layer's; for patches of 128 voxels."""

Patches = Float[Tensor, "B P C X X"]
"""P square patches of every image."""


class PatchCooccurrence(nn.Module):
    """Compares a patch with the mean features of the reference patches of the same image.

    Args:
        cin: channels in.
        size: voxels along each edge of a patch, a power of two from 16 to 128.
        width: channels of the first layer.
        hidden: numbers in the first two layers of the head; the third has half.
    """

    def __init__(self, cin: int, *, size: int = 128, width: int = 32, hidden: int = 2048) -> None:
        super().__init__()
        halvings = round(math.log2(size)) - 2 if size > 0 else 0
        if size != 4 * 2**halvings or not 2 <= halvings <= 5:
            raise ValueError(f"patches of {size} voxels: give 16, 32, 64 or 128")
        widths = [width * m for m in _WIDTHS[: halvings + 1]]
        wide = 2 * widths[-1]
        self.features = nn.Sequential(layer(cin, width, 3))
        for before, after in pairwise(widths):
            self.features.append(ResBlock(before, after))
        self.features.append(ResBlock(widths[-1], wide, halve=False))
        # As released, the last convolution has a bias of its own and the activation has another.
        self.features.append(nn.Sequential(EqualConv(wide, widths[-1], 3, bias=True), BiasedLeaky(widths[-1])))
        numbers = widths[-1] * 4
        self.head = nn.Sequential(
            EqualLinear(2 * numbers, hidden, activate=True),
            EqualLinear(hidden, hidden, activate=True),
            EqualLinear(hidden, hidden // 2, activate=True),
            EqualLinear(hidden // 2, 1),
        )

    def describe(self, patches: Patches) -> Float[Tensor, "B P F"]:
        """Features of every patch."""
        described: Tensor = self.features(patches.flatten(0, 1))
        return described.flatten(1).unflatten(0, patches.shape[:2])

    def compare(
        self, reference: Float[Tensor, "B R F"], patches: Float[Tensor, "B P F"]
    ) -> Float[Tensor, "B 1 P"]:
        """Scores of described patches, each beside the mean of the described references."""
        mean = reference.mean(dim=1, keepdim=True).expand_as(patches)
        score: Tensor = self.head(torch.cat([mean, patches], dim=-1).flatten(0, 1))
        return score.view(len(patches), 1, -1)

    def forward(self, reference: Patches, patches: Patches) -> Float[Tensor, "B 1 P"]:
        """Scores: large where a patch looks as if it came from the image of the references."""
        return self.compare(self.describe(reference), self.describe(patches))
