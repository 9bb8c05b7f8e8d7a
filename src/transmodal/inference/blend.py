"""Blend: put tiles together to a volume.

Where tiles overlap, the result is their weighted mean, the weight falling towards a tile's border. The mean is
kept as a running one, m ← m + (w / Σw)(x − m), because then a constant comes back as exactly that constant,
bit for bit, whatever the weights.
"""

from functools import lru_cache, reduce

import numpy as np
from jaxtyping import Float32

from transmodal.data.tile import Tile


class Blend:
    """A volume in the making.

    Args:
        channels: of the volume.
        shape: voxels along X, Y, Z.
        across: the axis that slices are taken across, if tiles are slices: the voxels of one then lie together in
            memory.
    """

    def __init__(self, channels: int, shape: tuple[int, int, int], across: int | None = None):
        axis = 0 if across is None else across
        layers = [shape[axis], channels, *(n for other, n in enumerate(shape) if other != axis)]
        self.mean = np.moveaxis(np.zeros(layers, dtype=np.float32), 0, axis + 1)
        self.weight = np.moveaxis(np.zeros(layers[:1] + layers[2:], dtype=np.float32), 0, axis)

    def add(self, tile: Tile, values: Float32[np.ndarray, "C A B D"]) -> None:
        """Blend in what was predicted for ``tile``; what sticks out of the volume is dropped."""
        there, here = tile.inside(self.weight.shape)
        weight = weights(tile.size)[here]
        self.weight[there] += weight
        share = weight / self.weight[there]
        mean = self.mean[(slice(None), *there)]
        mean += share * (values[(slice(None), *here)] - mean)

    def result(self, fill: float) -> Float32[np.ndarray, "C X Y Z"]:
        """The volume, ``fill`` where no tile was: the blend's own memory, so nothing can be added afterwards."""
        np.copyto(self.mean, np.float32(fill), where=self.weight == 0)
        return self.mean


@lru_cache(maxsize=8)
def weights(size: tuple[int, int, int]) -> Float32[np.ndarray, "A B D"]:
    """Weight of every voxel of a tile: 1 in the middle, falling linearly, never 0; 1 along axes 1 voxel long."""
    lines = []
    for n in size:
        distance = np.minimum(np.arange(n) + 1, n - np.arange(n))
        lines.append((distance / distance.max()).astype(np.float32))
    found: np.ndarray = reduce(np.multiply, np.ix_(*lines)).astype(np.float32)
    found.flags.writeable = False  # the next tile of this size is given the same one
    return found
