"""SSIM-windows: the mean of SSIM in five windows, slice by slice; many call it MS-SSIM, which it is not."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.losses.structural import WINDOWS, ssim_map
from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, over_slices


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
    total, count = 0.0, 0
    for x, y, inside in over_slices(prediction, reference, mask):
        for window in WINDOWS:
            values = ssim_map(x, y, data_range=data_range, window=window, padding="zeros").mean(dim=1)
            total += float(values[inside].sum())
        count += int(inside.sum())
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
