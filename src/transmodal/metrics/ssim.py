"""SSIM: structural similarity in a Gaussian window of 11 voxels."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.losses.structural import ssim_map
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
    if mask is not None:
        around = box(mask, _RADIUS)
        prediction, reference, mask = prediction[:, *around], reference[:, *around], mask[around]
    length, width, height = reference.shape[1:]
    total = 0.0
    for start, stop in slabs(length, width * height):
        low, high = max(0, start - _RADIUS), min(length, stop + _RADIUS)
        slab = prediction[None, :, low:high].double(), reference[None, :, low:high].double()
        values = ssim_map(*slab, data_range=data_range)[0, :, start - low : stop - low]
        total += float((values if mask is None else values[:, mask[start:stop]]).sum())
    return total / (count * len(reference))


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
