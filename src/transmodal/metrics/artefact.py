"""ArtefactEnergy: what a prediction writes where nothing should change, outside the mask."""

from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check


def artefact_energy(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
) -> float:
    """Σ outside the mask (x - y)² / Σ inside (y - ȳ)², over all channels, in [0, inf).

    The squared error outside, as a share of the reference's own variation inside; ȳ is each channel's mean inside.
    Adding a constant to both volumes changes nothing, so it also means something for HU. Every metric in the mask
    is blind to this. Undefined (NaN) without a mask, where no voxel lies outside, or where the reference is
    constant inside.

    Args:
        prediction: in physical units.
        reference: in the same unit.
        mask: True inside; None leaves nothing outside.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    if mask is None or bool(mask.all()):
        return float("nan")
    inside = reference[:, mask].double()
    power = float((inside - inside.mean(dim=1, keepdim=True)).square().sum())
    error = prediction[:, ~mask].double() - reference[:, ~mask].double()
    return float(error.square().sum()) / power if power != 0 else float("nan")


ARTEFACT_ENERGY = Metric(
    "ArtefactEnergy",
    artefact_energy,
    unit="1",
    higher_is_better=False,
    best=0.0,
    needs_range=False,
    summary="squared error outside the mask, beside the reference's variation inside",
    sees_outside=True,
)
