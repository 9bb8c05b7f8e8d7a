"""Tissues: errors of a CT apart for air, soft tissue and bone, which one mean over the mask hides.

Classes are those of the reference, by HU; with the limits that our reading of MRNet names
(https://arxiv.org/abs/2412.03039), where most of a head is soft tissue and most of its error lies in bone and air.
"""

import math
from collections.abc import Iterator

from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.evaluation.comparison import Comparison, DataRange, Score, measure
from transmodal.metrics.region import chosen

AIR_BELOW, BONE_ABOVE = -200.0, 250.0
"""HU; both limits themselves are soft tissue."""

_LIMITS = {
    "air": f"HU<{AIR_BELOW:g}",
    "soft": f"HU={AIR_BELOW:g}..{BONE_ABOVE:g}",
    "bone": f"HU>{BONE_ABOVE:g}",
}


def tissues(
    reference: Float[Tensor, "1 X Y Z"], inside: Bool[Tensor, "X Y Z"]
) -> dict[str, Bool[Tensor, "X Y Z"]]:
    """Where each tissue of a CT in HU is, inside the mask; every voxel of it is in exactly one."""
    values = reference[0]
    air, bone = values < AIR_BELOW, values > BONE_ABOVE
    return {"air": inside & air, "soft": inside & ~air & ~bone, "bone": inside & bone}


def bias(
    prediction: Float[Tensor, "C X Y Z"], reference: Float[Tensor, "C X Y Z"], inside: Bool[Tensor, "X Y Z"]
) -> float:
    """Mean of prediction - reference over the voxels that count, in the unit of the data; 0 is best."""
    return float((chosen(prediction, inside) - chosen(reference, inside)).mean())


def bone_dice(
    prediction: Float[Tensor, "1 X Y Z"], reference: Float[Tensor, "1 X Y Z"], inside: Bool[Tensor, "X Y Z"]
) -> float:
    """2 |A ∩ B| / (|A| + |B|), A and B what is above 250 HU of each; NaN where neither has bone."""
    made, truth = chosen(prediction, inside), chosen(reference, inside)
    if bool((made + truth).isnan().any()):
        return math.nan
    a, b = made > BONE_ABOVE, truth > BONE_ABOVE
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else math.nan


def by_tissue(c: Comparison) -> Iterator[Score]:
    """MAE and bias of the mask and of every tissue that the reference has in it, and Dice of bone."""
    assert c.mask is not None
    unused = DataRange(1.0, "")
    for region, where in {"mask": c.mask, **tissues(c.reference, c.mask)}.items():
        if not bool(where.any()):
            continue
        lead = f"tissues {_LIMITS[region]}" if region in _LIMITS else "tissues"
        yield from measure(
            c.prediction, c.reference, where, ("MAE",), unused, region=region, unit=c.kind.unit, lead=lead
        )
        off = bias(c.prediction, c.reference, where)
        yield Score(region, "Bias", f"{lead} 3d masked", off, c.kind.unit, int(where.sum()))
    dice = bone_dice(c.prediction, c.reference, c.mask)
    yield Score("mask", "BoneDice", f"tissues {_LIMITS['bone']} 3d masked", dice, "1", int(c.mask.sum()))
