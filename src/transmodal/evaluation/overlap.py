"""Overlap of two label maps: Dice, and the 95 % Hausdorff distance of their surfaces.

References:
    Dice, "Measures of the amount of ecologic association between species", Ecology 26, 1945.
    Huttenlocher, Klanderman, Rucklidge, "Comparing images using the Hausdorff distance", IEEE PAMI 15, 1993.
    https://doi.org/10.1109/34.232073
"""

import math

import numpy as np
from jaxtyping import Float

from transmodal.data.box import bounds, slices
from transmodal.shapes import Mask


def dice(made: Mask, measured: Mask) -> float:
    """``2 |A ∩ B| / (|A| + |B|)``, from 0 to 1; NaN where both are empty."""
    both = int(made.sum()) + int(measured.sum())
    return 2 * int((made & measured).sum()) / both if both else math.nan


def hausdorff95(made: Mask, measured: Mask, spacing: tuple[float, float, float]) -> float:
    """The larger of the two 95th percentiles of distances from one surface to the other, in mm.

    A surface is what an erosion by one voxel (6 neighbours) takes away; what lies at a face of the volume is
    surface, too. NaN where one is empty: a structure that was not found has no distance.

    Args:
        made: one structure.
        measured: the same structure in truth.
        spacing: edges of a voxel in mm.
    """
    if not (made.any() and measured.any()):
        return math.nan

    near = slices(bounds(made | measured))
    one, two = (_surface(np.pad(side[near], 1)) for side in (made, measured))
    return max(_directed(one, two, spacing), _directed(two, one, spacing))


def _surface(structure: Mask) -> Mask:
    from scipy import ndimage

    return structure & ~ndimage.binary_erosion(structure)


def _directed(start: Mask, end: Mask, spacing: tuple[float, float, float]) -> float:
    from scipy import ndimage

    distance: Float[np.ndarray, "X Y Z"] = ndimage.distance_transform_edt(~end, sampling=spacing)
    return float(np.percentile(distance[start], 95))
