"""Box: the part of a volume that a mask takes up."""

import numpy as np
from jaxtyping import Shaped

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First and one past the last voxel along X, Y, Z."""


def bounds(mask: Shaped[np.ndarray, "X Y Z"]) -> Box:
    """The box around what is not zero; there must be something."""
    ends = []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        ends.append((int(line[0]), int(line[-1]) + 1))
    return ends[0], ends[1], ends[2]


def slices(box: Box) -> tuple[slice, slice, slice]:
    """The box as an index of X, Y, Z."""
    x, y, z = (slice(low, high) for low, high in box)
    return x, y, z
