"""CIEDE2000: the difference of two colours to the eye.

References:
    The CIEDE2000 Color-Difference Formula: Implementation Notes, Supplementary Test Data, and Mathematical
    Observations (Sharma, Wu, Dalal, 2005), equations 2 to 22. https://doi.org/10.1002/col.20070
    sRGB: IEC 61966-2-1.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.metrics.colourfulness import check_colour
from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, chosen

_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
"""Linear sRGB → CIE XYZ."""
_WHITE = (0.95047, 1.0, 1.08883)
"""D65, seen by the observer of 2°."""


def ciede2000(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> float:
    """Mean of ΔE₀₀ over the mask, from 0; about 1 can just be seen, 100 is black against white.

    Values are taken for sRGB under D65, k_L = k_C = k_H = 1. Values outside the range are not clipped.

    Args:
        prediction: colour, in physical units.
        reference: in the same unit.
        mask: True where a voxel counts; None for all, which rewards an easy background.
        data_range: what full red, green and blue are, 255 for 8 bits.

    Raises:
        InputError: shapes differ, the mask is empty, or the images are not colour.
        RecipeError: a range that is not above 0.
    """
    check(prediction, reference, mask, data_range)
    check_colour(reference)
    one, two = (to_lab(chosen(volume, mask) / data_range) for volume in (prediction, reference))
    return float(delta_e(one, two).mean())


def to_lab(rgb: Float[Tensor, "3 V"]) -> Float[Tensor, "3 V"]:
    """SRGB in [0, 1] → CIE L*a*b* under D65."""
    linear = torch.where(rgb > 0.04045, ((rgb.clamp(min=0) + 0.055) / 1.055).pow(2.4), rgb / 12.92)
    xyz = (rgb.new_tensor(_XYZ) @ linear) / rgb.new_tensor(_WHITE)[:, None]
    x, y, z = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=0).pow(1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def delta_e(one: Float[Tensor, "3 V"], two: Float[Tensor, "3 V"]) -> Float[Tensor, " V"]:
    """ΔE₀₀ of two colours in CIE L*a*b*."""
    (l1, a1, b1), (l2, a2, b2) = one, two
    seventh = ((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2).pow(7)
    stretch = 1 + 0.5 * (1 - (seventh / (seventh + 25**7)).sqrt())
    c1, c2 = torch.hypot(stretch * a1, b1), torch.hypot(stretch * a2, b2)
    h1, h2 = (torch.atan2(b, stretch * a) % math.tau for a, b in ((a1, b1), (a2, b2)))
    grey = c1 * c2 == 0
    turn = torch.where(grey, 0.0, h2 - h1)
    turn = turn - math.tau * ((turn > math.pi).to(turn) - (turn < -math.pi).to(turn))
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    around = ((h1 - h2).abs() > math.pi).to(turn)
    middle = (h1 + h2) / 2 + math.pi * around * torch.where(h1 + h2 < math.tau, 1.0, -1.0)
    hue = torch.where(grey, h1 + h2, middle)
    weight = (
        1
        - 0.17 * torch.cos(hue - math.radians(30))
        + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6))
        - 0.20 * torch.cos(4 * hue - math.radians(63))
    )
    off = (lightness - 50).square()
    s_l = 1 + 0.015 * off / (20 + off).sqrt()
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * weight
    seventh = chroma.pow(7)
    rotation = -torch.sin(
        math.radians(60) * torch.exp(-(((hue.rad2deg() - 275) / 25).square()))
    ) * 2 * (seventh / (seventh + 25**7)).sqrt()  # fmt: skip
    light = (l2 - l1) / s_l
    colour = (c2 - c1) / s_c
    tone = 2 * (c1 * c2).sqrt() * torch.sin(turn / 2) / s_h
    squared = light.square() + colour.square() + tone.square() + rotation * colour * tone
    return torch.where(squared.isnan(), squared, squared.clamp(min=0)).sqrt()


CIEDE2000 = Metric(
    "CIEDE2000",
    ciede2000,
    unit="1",
    higher_is_better=False,
    best=0.0,
    needs_range=True,
    summary="difference of colours to the eye, ΔE₀₀",
    colour=True,
)
