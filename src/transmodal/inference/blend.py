"""Blend: put tiles together to a volume.

Where tiles overlap, the result is their weighted mean, the weight falling towards a tile's border. The mean is
kept as a running one, m ← m + (w / Σw)(x − m), because then a constant comes back as exactly that constant,
bit for bit, whatever the weights.
"""

from functools import reduce

import numpy as np
from jaxtyping import Float32

from transmodal.data.tile import Tile


class Blend:
    """A volume in the making.

    Args:
        channels: of the volume.
        shape: voxels along X, Y, Z.
    """

    def __init__(self, channels: int, shape: tuple[int, int, int]):
        self.mean = np.zeros((channels, *shape), dtype=np.float32)
        self.weight = np.zeros(shape, dtype=np.float32)

    def add(self, tile: Tile, values: Float32[np.ndarray, "C A B D"]) -> None:
        """Blend in what was predicted for ``tile``; what sticks out of the volume is dropped."""
        there, here = tile.inside(self.weight.shape)
        weight = weights(tile.size)[here]
        self.weight[there] += weight
        share = weight / self.weight[there]
        mean = self.mean[(slice(None), *there)]
        mean += share * (values[(slice(None), *here)] - mean)

    def result(self, fill: float) -> Float32[np.ndarray, "C X Y Z"]:
        """The volume, ``fill`` where no tile was."""
        return np.where(self.weight > 0, self.mean, np.float32(fill))


def weights(size: tuple[int, int, int]) -> Float32[np.ndarray, "A B D"]:
    """Weight of every voxel of a tile: 1 in the middle, falling linearly, never 0; 1 along axes 1 voxel long."""
    lines = []
    for n in size:
        distance = np.minimum(np.arange(n) + 1, n - np.arange(n))
        lines.append((distance / distance.max()).astype(np.float32))
    return reduce(np.multiply, np.ix_(*lines)).astype(np.float32)
