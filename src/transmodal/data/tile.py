"""Tile: a box of voxels cut out of a volume, partly outside it if need be. Training and inference cut alike.

A slice is a tile that is one voxel thick; its neighbours are channels.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from transmodal.shapes import Voxels

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Name of a plane → the voxel axis that its slices are taken along, after reorientation to RAS+."""


@dataclass(frozen=True)
class Tile:
    """A box of voxels.

    Attributes:
        origin: first voxel along X, Y, Z; may be negative or beyond the volume.
        size: voxels along X, Y, Z.
    """

    origin: tuple[int, int, int]
    size: tuple[int, int, int]

    def inside(self, shape: tuple[int, int, int]) -> tuple[tuple[slice, slice, slice], tuple[slice, slice, slice]]:
        """The part that lies in a volume of ``shape``: where in the volume, and where in the tile."""
        volume, tile = [], []
        for start, length, limit in zip(self.origin, self.size, shape, strict=True):
            low, high = max(start, 0), min(start + length, limit)
            high = max(low, high)
            volume.append(slice(low, high))
            tile.append(slice(low - start, high - start))
        return (volume[0], volume[1], volume[2]), (tile[0], tile[1], tile[2])

    def cut(self, values: Voxels, fill: float = 0.0) -> Shaped[np.ndarray, "C A B D"]:
        """The values in the tile; ``fill`` where it lies outside the volume. Always a copy."""
        shape = (values.shape[1], values.shape[2], values.shape[3])
        there, here = self.inside(shape)
        out = np.full((len(values), *self.size), fill, dtype=values.dtype)
        out[(slice(None), *here)] = values[(slice(None), *there)]
        return out
