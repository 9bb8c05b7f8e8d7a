"""Where patches are drawn: one box around all heads of a batch, and random crops in it that hold some of each.

From Macro2Micro (https://arxiv.org/abs/2412.11277): the valid brain region of the mini-batch is found first, the
mini-batch is cropped to it, and patches are drawn only from there, so that empty background cannot drive a critic.
How validity is found is not published; what is here is our reading.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

Box = tuple[tuple[int, int], tuple[int, int]]
"""First and one past the last voxel, along both axes."""

Masks = Bool[Tensor, "B 1 X Y"]


def clean(masks: Masks, smallest: float = 0.01) -> Masks:
    """Fill the holes of each mask and drop pieces that cover less than ``smallest`` of the image.

    A mask that is all small, as in the last slices of a head, stays as it is.
    """
    cleaned = []
    for mask in masks[:, 0].cpu().numpy():
        filled = ndimage.binary_fill_holes(mask)
        pieces, _ = ndimage.label(filled)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        large = sizes >= smallest * mask.size
        cleaned.append(large[pieces] if large.any() else filled)
    return torch.from_numpy(np.stack(cleaned))[:, None].to(masks.device)


def batch_box(masks: Masks, margin: int = 2) -> Box:
    """The box around the union of all masks, ``margin`` voxels wider; the whole image where all are empty."""
    union = masks.any(dim=0)[0]
    sides = []
    for axis, length in enumerate(union.shape):
        found = torch.nonzero(union.any(dim=1 - axis))[:, 0].tolist()
        first, last = (found[0], found[-1]) if found else (0, length - 1)
        sides.append((max(first - margin, 0), min(last + 1 + margin, length)))
    return sides[0], sides[1]


class Region(NamedTuple):
    """Where patches of a batch are drawn.

    Attributes:
        masks: where each image counts.
        box: one box for all images.
    """

    masks: Tensor
    box: Box


def find_region(masks: Masks, margin: int | None = 2) -> Region:
    """The masks, cleaned, and the box around all of them; the whole image for ``margin = None``."""
    masks = clean(masks)
    whole = ((0, masks.shape[2]), (0, masks.shape[3]))
    return Region(masks, whole if margin is None else batch_box(masks, margin))


@dataclass(frozen=True)
class Crops:
    """Random crops: how many, how large, and how much of a head each must hold.

    Attributes:
        count: crops of every image.
        size: voxels along each edge after resampling.
        scale: shortest and longest edge, as fractions of the box's; both axes are drawn apart.
        guard: the share of a crop that must lie in the image's own mask; 0 for none.
        tries: how often a crop is drawn before the best one is taken.
    """

    count: int = 8
    size: int = 128
    scale: tuple[float, float] = (1 / 8, 1 / 4)
    guard: float = 0.25
    tries: int = 10

    def draw(self, images: Float[Tensor, "B C X Y"], region: Region) -> Float[Tensor, "B P C S S"]:
        """Crops of the images in the region's box, resampled bilinearly; half are mirrored along the first axis.

        Chance comes from torch's global generator. Gradients flow into the images, and only inside the box.
        """
        (x0, x1), (y0, y1) = region.box
        inside, there = images[:, :, x0:x1, y0:y1], region.masks[:, :, x0:x1, y0:y1]
        centre, half = self.places(there)
        line = torch.linspace(-1 + 1 / self.size, 1 - 1 / self.size, self.size, device=images.device)
        mirror = torch.where(torch.rand(centre.shape[:2], device=images.device) < 0.5, -1.0, 1.0)
        # Positions in [0, 1] of the box, for every crop and voxel along each axis.
        x = centre[..., :1] + half[..., :1] * mirror[..., None] * line
        y = centre[..., 1:] + half[..., 1:] * line
        # grid_sample names the last axis first, and 0 to 1 is -1 to 1.
        grid = torch.stack(
            [y[:, :, None, :].expand(*y.shape[:2], self.size, self.size),
             x[:, :, :, None].expand(*x.shape[:2], self.size, self.size)], dim=-1,
        ) * 2 - 1  # fmt: skip
        # In float32 whatever the images are: bfloat16 has fewer positions than a patch has voxels.
        many = inside.float()[:, None].expand(-1, self.count, -1, -1, -1).flatten(0, 1)
        cut = functional.grid_sample(
            many, grid.flatten(0, 1), mode="bilinear", padding_mode="border", align_corners=False
        )
        return cut.unflatten(0, (len(images), self.count))

    def places(self, masks: Masks) -> tuple[Float[Tensor, "B P 2"], Float[Tensor, "B P 2"]]:
        """Centre and half edges of every crop, as fractions of the box."""
        shape = (len(masks), self.count, self.tries if self.guard else 1, 2)
        low, high = self.scale
        half = (low + (high - low) * torch.rand(shape, device=masks.device)) / 2
        centre = half + (1 - 2 * half) * torch.rand(shape, device=masks.device)
        if self.guard:
            # The last draw cannot miss: it is laid around a voxel of the mask.
            voxel = self._voxels(masks)
            centre[:, :, -1] = torch.minimum(torch.maximum(voxel, half[:, :, -1]), 1 - half[:, :, -1])
        share = self._share(masks, centre - half, centre + half)
        good = share >= self.guard
        # The first draw that is good enough, or the best of all.
        order = torch.arange(shape[2], 0, -1, device=masks.device)
        chosen = torch.where(good, order, share - 1).argmax(dim=2)[..., None, None].expand(-1, -1, 1, 2)
        return centre.gather(2, chosen)[:, :, 0], half.gather(2, chosen)[:, :, 0]

    def _voxels(self, masks: Masks) -> Float[Tensor, "B P 2"]:
        """Middles of random voxels of each mask, as fractions of the image; of any voxels where it is empty."""
        flat = masks.flatten(1).float()
        flat = torch.where(flat.any(dim=1, keepdim=True), flat, 1.0)
        found = torch.multinomial(flat, self.count, replacement=True)
        width = masks.shape[3]
        place = torch.stack([found // width, found % width], dim=-1) + 0.5
        return place / torch.tensor(masks.shape[2:], device=masks.device)

    @staticmethod
    def _share(
        masks: Masks, low: Float[Tensor, "B P K 2"], high: Float[Tensor, "B P K 2"]
    ) -> Float[Tensor, "B P K"]:
        """How much of each rectangle lies in the mask, to whole voxels, from sums over all voxels before."""
        sums = functional.pad(masks[:, 0].float().cumsum(1).cumsum(2), (1, 0, 1, 0))
        size = torch.tensor(masks.shape[2:], device=masks.device)
        first = (low * size).round().long().clamp(min=0)
        last = torch.minimum((high * size).round().long(), size)
        last = torch.maximum(last, first + 1).clamp(max=size)
        image = torch.arange(len(masks), device=masks.device)[:, None, None]
        x0, y0, x1, y1 = first[..., 0], first[..., 1], last[..., 0], last[..., 1]
        count = sums[image, x1, y1] - sums[image, x0, y1] - sums[image, x1, y0] + sums[image, x0, y0]
        return count / ((x1 - x0) * (y1 - y0)).clamp(min=1)
