"""Bias: mean signed error, in the unit of the data."""

from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, chosen


def bias(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
) -> float:
    """Mean of prediction - reference over channels and the voxels of the mask; above 0 where too much is made.

    Args:
        prediction: in physical units.
        reference: in the same unit.
        mask: True where a voxel counts; None for all.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    return float((chosen(prediction, mask) - chosen(reference, mask)).mean())


BIAS = Metric(
    "Bias",
    bias,
    unit="data",
    higher_is_better=None,
    best=0.0,
    needs_range=False,
    summary="mean signed error, in the unit of the data",
)
