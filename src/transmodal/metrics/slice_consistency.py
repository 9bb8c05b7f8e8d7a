"""SliceConsistency: how far steps from slice to slice differ from the reference's."""

from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check


def slice_consistency(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    axis: int = 2,
) -> float:
    """Σ |Δ prediction - Δ reference| / Σ |Δ reference|, in [0, inf), with Δ the step to the next slice.

    0 for slices that step as the reference does, 1 for a volume that is constant along the axis, above 1 for
    stripes between slices that were synthesised one by one. A step counts where both of its voxels lie in the
    mask. Adding a constant to the prediction changes nothing. Undefined (NaN) where the reference does not
    change along the axis, or no step lies in the mask.

    Args:
        prediction: in physical units.
        reference: in the same unit.
        mask: True where a voxel counts; None for all.
        axis: the axis that slices were taken along: 0 sagittal, 1 coronal, 2 axial (for RAS+ volumes).

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    truth = reference.double().diff(dim=axis + 1)
    error = (prediction.double().diff(dim=axis + 1) - truth).abs()
    truth = truth.abs()
    if mask is not None:
        length = mask.shape[axis]
        both = mask.narrow(axis, 0, length - 1) & mask.narrow(axis, 1, length - 1)
        error, truth = error[:, both], truth[:, both]
    change = float(truth.sum())
    return float(error.sum()) / change if change != 0 else float("nan")


SLICE_CONSISTENCY = Metric(
    "SliceConsistency",
    slice_consistency,
    unit="1",
    higher_is_better=False,
    best=0.0,
    needs_range=False,
    summary="difference of axial slice-to-slice steps, relative to the reference's",
    detail=lambda reference, mask: "axis=2",
    slicewise=True,
)
