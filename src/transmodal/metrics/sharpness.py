"""Sharpness: how steep the prediction's edges are, beside the reference's."""

import math

from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check


def sharpness(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
) -> float:
    """√(Σ |Δx|² / Σ |Δy|²), in [0, inf), with Δ the steps to the next voxel along each axis.

    1: as sharp as the reference; below 1: blurred (an edge that is spread over w voxels scores 1/√w); above 1:
    sharper or noisier, which this number cannot tell apart. So neither side is better. A step counts where both
    of its voxels lie in the mask. Squared steps, as in the Tenengrad focus measure: plain ones would give a
    blurred edge the same sum. Undefined (NaN) where the reference has no steps.

    Args:
        prediction: in physical units.
        reference: in the same unit.
        mask: True where a voxel counts; None for all.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    made = true = 0.0
    for axis in range(3):
        length = reference.shape[axis + 1]
        both = None if mask is None else mask.narrow(axis, 0, length - 1) & mask.narrow(axis, 1, length - 1)
        for_prediction, for_reference = (_energy(v, axis, both) for v in (prediction, reference))
        made, true = made + for_prediction, true + for_reference
    return math.sqrt(made / true) if true != 0 else float("nan")


def _energy(volume: Tensor, axis: int, both: Tensor | None) -> float:
    steps = volume.double().diff(dim=axis + 1)
    return float((steps if both is None else steps[:, both]).square().sum())


SHARPNESS = Metric(
    "Sharpness",
    sharpness,
    unit="1",
    higher_is_better=None,
    best=1.0,
    needs_range=False,
    summary="energy of the prediction's edges beside the reference's: below 1 blurred, above 1 sharper or noisier",
)
