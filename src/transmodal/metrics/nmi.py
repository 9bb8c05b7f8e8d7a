"""NMI: normalised mutual information, blind to how intensities are scaled."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, chosen


@torch.no_grad()
def nmi(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    bins: int = 100,
) -> float:
    """NMI = (H(x) + H(y)) / H(x, y) of the joint histogram in the mask (Studholme et al. 1999), in [1, 2].

    1: the intensities of one say nothing about those of the other; 2: each follows from the other. Each image has
    ``bins`` equal bins from its own minimum to its own maximum in the mask. Channels are scored by themselves and
    averaged. Undefined (NaN) where an image is constant in the mask, or has a NaN there.

    Args:
        prediction: in any unit.
        reference: in any unit.
        mask: True where a voxel counts; None for all.
        bins: of each image.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    pairs = zip(chosen(prediction, mask), chosen(reference, mask), strict=True)
    values = [_nmi(_bin(x, bins), _bin(y, bins), bins) for x, y in pairs]
    return sum(values) / len(values)


def _bin(values: Tensor, bins: int) -> Tensor | None:
    low, high = values.min(), values.max()
    if not bool(low < high):
        return None
    return ((values - low) / (high - low) * bins).long().clamp(max=bins - 1)


def _nmi(x: Tensor | None, y: Tensor | None, bins: int) -> float:
    if x is None or y is None:
        return float("nan")
    joint = torch.bincount(x * bins + y, minlength=bins * bins).double().view(bins, bins) / len(x)
    return float((_entropy(joint.sum(dim=1)) + _entropy(joint.sum(dim=0))) / _entropy(joint.flatten()))


def _entropy(shares: Tensor) -> Tensor:
    filled = shares[shares > 0]
    return -(filled * filled.log()).sum()


NMI = Metric(
    "NMI",
    nmi,
    unit="1",
    higher_is_better=True,
    best=2.0,
    needs_range=False,
    summary="normalised mutual information of 100 × 100 bins",
    detail=lambda reference, mask: "bins=100",
)
