"""PCC: Pearson's correlation of prediction and reference, voxel by voxel."""

import math

from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, chosen


def pcc(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
) -> float:
    """PCC = Σ (x - x̄)(y - ȳ) / √(Σ (x - x̄)² Σ (y - ȳ)²) over the mask, in [-1, 1].

    Blind to a shift and a scale of intensities. Channels are scored by themselves and averaged. Undefined (NaN)
    where an image is constant in the mask.

    Args:
        prediction: in any unit.
        reference: in any unit.
        mask: True where a voxel counts; None for all.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    values = []
    for x, y in zip(chosen(prediction, mask), chosen(reference, mask), strict=True):
        x, y = x - x.mean(), y - y.mean()
        power = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
        values.append(float((x * y).sum()) / power if power != 0 else float("nan"))
    return sum(values) / len(values)


PCC = Metric(
    "PCC",
    pcc,
    unit="1",
    higher_is_better=True,
    best=1.0,
    needs_range=False,
    summary="Pearson's correlation, voxel by voxel",
)
