"""NMSE: squared error as a share of the squared reference."""

from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, chosen


def nmse(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
) -> float:
    """NMSE = Σ (prediction - reference)² / Σ reference² over channels and the mask, in [0, inf).

    A prediction of zeros scores 1. Not meaningful where zero is arbitrary: adding 1024 to a CT and its
    prediction changes it. Where the reference is zero throughout, the value is undefined (NaN).

    Args:
        prediction: in physical units.
        reference: in the same unit.
        mask: True where a voxel counts; None for all.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    truth = chosen(reference, mask)
    power = float(truth.square().sum())
    return float((chosen(prediction, mask) - truth).square().sum()) / power if power != 0 else float("nan")


NMSE = Metric(
    "NMSE",
    nmse,
    unit="1",
    higher_is_better=False,
    best=0.0,
    needs_range=False,
    summary="squared error as a share of the squared reference",
)
