"""SSIM: structural similarity in a Gaussian window of 11 voxels."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.losses.structural import ssim_parts
from transmodal.metrics.metric import Metric
from transmodal.metrics.region import box, check, slabs

_RADIUS = 5
"""Voxels that the default window of 11 reaches to each side."""


@torch.no_grad()
def ssim(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> float:
    """SSIM (Wang et al. 2004) with a 3D Gaussian window of 11 voxels and σ = 1.5, in [-1, 1].

    The map is computed over the whole volume, mirrored at its faces, and then averaged over channels and the
    mask: near the mask's border a window sees up to 5 voxels of what lies outside, as it is. An axis that is
    one voxel long does not count, so that a single slice gets the 2D SSIM. A NaN makes the value NaN.

    Args:
        prediction: in physical units.
        reference: in the same unit.
        mask: True where a voxel counts; None for all, which rewards an easy background.
        data_range: R, the width of the physical range.

    Raises:
        InputError: shapes differ, or the mask is empty.
        RecipeError: a range that is not above 0.
    """
    check(prediction, reference, mask, data_range)
    count = reference[0].numel() if mask is None else int(mask.sum())
    total = 0.0
    for (luminance, structure), where in ssim_slabs(prediction, reference, mask, data_range):
        values = luminance * structure
        total += float((values if mask is None else values[:, mask[where]]).sum())
    return total / (count * len(reference))


Slab = tuple[slice, slice, slice]
Parts = tuple[Float[Tensor, "C A B D"], Float[Tensor, "C A B D"]]


def ssim_slabs(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None,
    data_range: float,
) -> Iterator[tuple[Parts, Slab]]:
    """Luminance and structure around every voxel of the box around the mask, slab by slab, and where it lies."""
    around = [slice(0, n) for n in reference.shape[1:]] if mask is None else box(mask, 0)
    box_x, *rest = around
    layer = math.prod(side.stop - side.start for side in rest)
    wide = [_wider(side, n) for side, n in zip(rest, reference.shape[2:], strict=True)]
    inner = [slice(side.start - w.start, side.stop - w.start) for side, w in zip(rest, wide, strict=True)]
    for start, stop in slabs(box_x.stop - box_x.start, layer):
        own = slice(box_x.start + start, box_x.start + stop)
        near = _wider(own, reference.shape[1])
        slab = (volume[None, :, near, *wide].double() for volume in (prediction, reference))
        luminance, structure = ssim_parts(*slab, data_range=data_range)
        x, y, z = slice(own.start - near.start, own.stop - near.start), *inner
        yield (luminance[0, :, x, y, z], structure[0, :, x, y, z]), (own, rest[0], rest[1])


def _wider(side: slice, length: int) -> slice:
    return slice(max(0, side.start - _RADIUS), min(length, side.stop + _RADIUS))


SSIM = Metric(
    "SSIM",
    ssim,
    unit="1",
    higher_is_better=True,
    best=1.0,
    needs_range=True,
    summary="structural similarity in a Gaussian window of 11 voxels",
    sees_outside=True,
)
