"""Where to look: tiles that cover a volume, for slices and for patches alike."""

import math

from transmodal.data.tile import Tile
from transmodal.errors import RecipeError


def starts(length: int, size: int, overlap: float) -> list[int]:
    """First voxels of tiles of ``size`` that cover ``length`` voxels; the ends are met exactly.

    Args:
        length: voxels to cover.
        size: voxels of a tile. A tile longer than the volume is centred on it and sticks out on both sides.
        overlap: smallest shared fraction of two neighbouring tiles, 0 to below 1.
    """
    if length <= size:
        return [-((size - length) // 2)]
    step = max(1, math.floor(size * (1 - overlap)))
    count = math.ceil((length - size) / step) + 1
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def cover(shape: tuple[int, int, int], size: tuple[int, int, int], overlap: float = 0.25) -> list[Tile]:
    """Tiles of one size that together hold every voxel.

    Args:
        shape: voxels of the volume along X, Y, Z.
        size: voxels of a tile; 1 along the axis that slices are taken along.
        overlap: as in :func:`starts`.

    Raises:
        RecipeError: an overlap outside [0, 1).
    """
    if not 0 <= overlap < 1:
        raise RecipeError(f"inference.overlap = {overlap}: give a fraction from 0 to below 1")
    x, y, z = (starts(n, s, overlap) for n, s in zip(shape, size, strict=True))
    return [Tile((i, j, k), size) for i in x for j in y for k in z]
