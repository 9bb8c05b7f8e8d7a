"""delta-CF and CF-bias: how much more or less colourful a prediction is than the reference.

References:
    Measuring colorfulness in natural images (Hasler and Süsstrunk, 2003), section 6.
    https://doi.org/10.1117/12.477378
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.errors import InputError
from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, chosen, over_slices


def colourfulness(image: Float[Tensor, "3 X Y Z"], mask: Bool[Tensor, "X Y Z"] | None = None) -> float:
    """CF = √(σ²_rg + σ²_yb) + 0.3 √(μ²_rg + μ²_yb), in the unit of the image, from 0; 0 for any grey image.

    rg = R - G and yb = (R + G) / 2 - B keep their signs, as in the paper; some code takes their absolute values
    first, which gives other numbers. σ is that of the population.

    Args:
        image: red, green, blue.
        mask: True where a voxel counts; None for all.
    """
    red, green, blue = chosen(image, mask)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])
    spread = float(opponents.var(dim=1, correction=0).sum())
    offset = float(opponents.mean(dim=1).square().sum())
    return math.sqrt(spread) + 0.3 * math.sqrt(offset)


def delta_cf(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> float:
    """Mean over slices of |CF(prediction) - CF(reference)| / R, from 0.

    Slices are axial, or the only ones there are where an axis is one voxel long; slices without a voxel of the
    mask do not count. It says nothing of which colour is where: see CIEDE2000 for that.

    Args:
        prediction: colour, in physical units.
        reference: in the same unit.
        mask: True where a voxel counts; None for all.
        data_range: R, 255 for 8 bits; 255 times the value is the usual scale of CF.

    Raises:
        InputError: shapes differ, the mask is empty, or the images are not colour.
        RecipeError: a range that is not above 0.
    """
    differences = _differences(prediction, reference, mask, data_range)
    return sum(map(abs, differences)) / len(differences)


def cf_bias(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> float:
    """Mean over slices of CF(prediction) - CF(reference), over R: above 0 where the prediction is too colourful.

    Its mean over a set of volumes, without its sign, is the other delta-CF of the literature: the difference of
    the mean colourfulness of two sets.

    Args, errors: those of :func:`delta_cf`.
    """
    differences = _differences(prediction, reference, mask, data_range)
    return sum(differences) / len(differences)


def _differences(prediction: Tensor, reference: Tensor, mask: Tensor | None, data_range: float) -> list[float]:
    """CF(prediction) - CF(reference) of every slice, over R."""
    check(prediction, reference, mask, data_range)
    check_colour(reference)
    return [
        (colourfulness(one[..., None], inside[..., None]) - colourfulness(two[..., None], inside[..., None]))
        / data_range
        for some in over_slices(prediction, reference, mask)
        for one, two, inside in zip(*some, strict=True)
    ]


def check_colour(reference: Tensor) -> None:
    """Refuse what has no red, green and blue.

    Raises:
        InputError: another number of channels than three.
    """
    if len(reference) != 3:
        raise InputError(f"the images have {len(reference)} channel(s): this metric is of colour; leave it out")


DELTA_CF = Metric(
    "delta-CF",
    delta_cf,
    unit="1",
    higher_is_better=False,
    best=0.0,
    needs_range=True,
    summary="difference in colourfulness, mean over slices",
    colour=True,
    slicewise=True,
)

CF_BIAS = Metric(
    "CF-bias",
    cf_bias,
    unit="1",
    higher_is_better=None,
    best=0.0,
    needs_range=True,
    summary="signed difference in colourfulness, mean over slices",
    colour=True,
    slicewise=True,
)
