"""PSNR: peak signal-to-noise ratio, in decibels."""

import math

from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, chosen


def psnr(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> float:
    """PSNR = 10 log10(R² / MSE), the MSE over channels and the mask, in (-inf, inf] dB.

    Infinite where prediction and reference are identical; a summary counts such values, it never averages them.

    Args:
        prediction: in physical units.
        reference: in the same unit.
        mask: True where a voxel counts; None for all, which rewards an easy background.
        data_range: R, the width of the physical range. Doubling it adds 6.02 dB.

    Raises:
        InputError: shapes differ, or the mask is empty.
        RecipeError: a range that is not above 0.
    """
    check(prediction, reference, mask, data_range)
    error = float((chosen(prediction, mask) - chosen(reference, mask)).square().mean())
    return math.inf if error == 0 else 20 * math.log10(data_range) - 10 * math.log10(error)


PSNR = Metric(
    "PSNR",
    psnr,
    unit="dB",
    higher_is_better=True,
    best=math.inf,
    needs_range=True,
    summary="peak signal-to-noise ratio, in decibels",
)
