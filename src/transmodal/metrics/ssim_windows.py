"""SSIM-windows: the mean of SSIM in five windows, slice by slice; many call it MS-SSIM, which it is not."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.losses.structural import WINDOWS, ssim_map
from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, slabs, slice_axis, slices


@torch.no_grad()
def ssim_windows(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> float:
    """Mean of the SSIM in Gaussian windows of 11, 9, 7, 5 and 3 voxels, all with σ = 1.5, in [-1, 1].

    As in the loss of Mathur et al. 2025 (https://arxiv.org/abs/2412.10452): two-dimensional, zeros outside the
    slice. Slices are axial, or the only ones there are where an axis is one voxel long. Maps are averaged over
    channels and the mask.

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
    axis = slice_axis(reference.shape[1:])
    x, y = slices(prediction, axis), slices(reference, axis)
    inside = None if mask is None else slices(mask[None], axis).expand_as(y)
    total = 0.0
    for start, stop in slabs(len(y), y[0].numel()):
        pair = x[start:stop].double(), y[start:stop].double()
        for window in WINDOWS:
            values = ssim_map(*pair, data_range=data_range, window=window, padding="zeros")
            total += float((values if inside is None else values[inside[start:stop]]).sum())
    count = y.numel() if inside is None else int(inside.sum())
    return total / (count * len(WINDOWS))


SSIM_WINDOWS = Metric(
    "SSIM-windows",
    ssim_windows,
    unit="1",
    higher_is_better=True,
    best=1.0,
    needs_range=True,
    summary="structural similarity in five windows, slice by slice",
    sees_outside=True,
    slicewise=True,
)
