"""CT apart for air, soft tissue and bone, which one mean over the mask hides; in HU alone.

Classes are those of the reference; the limits are those that our reading of MRNet names
(https://arxiv.org/abs/2412.03039), where most of a head is soft tissue and most of its error lies in bone and air.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.metrics.mae import mae
from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, chosen

AIR_BELOW, BONE_ABOVE = -200.0, 250.0
"""HU; both limits themselves are soft tissue."""

LIMITS = {
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


def bone_dice(
    prediction: Float[Tensor, "1 X Y Z"],
    reference: Float[Tensor, "1 X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
) -> float:
    """2 |A ∩ B| / (|A| + |B|), A and B what is above 250 HU of each, in [0, 1].

    Undefined (NaN) where neither has bone.

    Args:
        prediction: in HU.
        reference: in HU.
        mask: True where a voxel counts; None for all.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    made, truth = chosen(prediction, mask), chosen(reference, mask)
    if bool((made + truth).isnan().any()):
        return math.nan
    a, b = made > BONE_ABOVE, truth > BONE_ABOVE
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else math.nan


def _mae_in(tissue: str) -> Callable[..., float]:
    def mae_of_tissue(
        prediction: Float[Tensor, "1 X Y Z"],
        reference: Float[Tensor, "1 X Y Z"],
        mask: Bool[Tensor, "X Y Z"] | None = None,
    ) -> float:
        check(prediction, reference, mask)
        inside = torch.ones_like(reference[0], dtype=torch.bool) if mask is None else mask
        where = tissues(reference, inside)[tissue]
        return mae(prediction, reference, where) if bool(where.any()) else math.nan

    return mae_of_tissue


def _limits_of(tissue: str) -> Callable[[Tensor, Tensor | None], str]:
    return lambda reference, mask: LIMITS[tissue]


MAE_AIR, MAE_SOFT, MAE_BONE = (
    Metric(
        f"MAE-{tissue}",
        _mae_in(tissue),
        unit="data",
        higher_is_better=False,
        best=0.0,
        needs_range=False,
        summary=f"mean absolute error where the reference shows {said} ({LIMITS[tissue]})",
        detail=_limits_of(tissue),
        hounsfield=True,
    )
    for tissue, said in (("air", "air"), ("soft", "soft tissue"), ("bone", "bone"))
)

BONE_DICE = Metric(
    "BoneDice",
    bone_dice,
    unit="1",
    higher_is_better=True,
    best=1.0,
    needs_range=False,
    summary="overlap of what is above 250 HU",
    detail=_limits_of("bone"),
    hounsfield=True,
)
