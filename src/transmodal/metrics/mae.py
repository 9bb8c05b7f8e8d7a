"""MAE: mean absolute error, in the unit of the data."""

from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, chosen


def mae(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
) -> float:
    """MAE = mean |prediction - reference| over channels and the voxels of the mask, in [0, inf).

    Args:
        prediction: in physical units.
        reference: in the same unit.
        mask: True where a voxel counts; None for all.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    return float((chosen(prediction, mask) - chosen(reference, mask)).abs().mean())


MAE = Metric(
    "MAE",
    mae,
    unit="data",
    higher_is_better=False,
    best=0.0,
    needs_range=False,
    summary="mean absolute error, in the unit of the data",
)
