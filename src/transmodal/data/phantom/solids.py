"""Solids: shapes as signed distances in millimetres (negative inside), and painting them into voxels in shares."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy.spatial.transform import Rotation

from transmodal.data.grid import Grid

Field = Float32[np.ndarray, "X Y Z"]
Box = tuple[slice, slice, slice]
Triple = tuple[float, float, float]
WHOLE: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class Place:
    """Where the voxels of a grid lie in the head.

    Attributes:
        x: millimetres to the right, y: to the front, z: up; zero is in the middle of the brain.
        voxel: edge of a voxel in head millimetres (the mean of the three).
        index: head millimetres → voxel index, without the bending of ``x``, ``y``, ``z``.
    """

    x: Field
    y: Field
    z: Field
    voxel: float
    index: Float32[np.ndarray, "3 4"]

    def box(self, low: Triple, high: Triple, margin_mm: float = 8.0) -> Box:
        """The voxels around a box in head millimetres; at least one along every axis."""
        corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1)
        found = self.index[:, :3] @ corners + self.index[:, 3:]
        pad = margin_mm / self.voxel + 1
        slices = []
        for line, n in zip(found, self.x.shape, strict=True):
            start = int(np.clip(np.floor(line.min() - pad), 0, n - 1))
            slices.append(slice(start, int(np.clip(np.ceil(line.max() + pad), start + 1, n))))
        return slices[0], slices[1], slices[2]

    def part(self, box: Box) -> "Place":
        """The same for the voxels of a box; its ``index`` still counts in the whole grid."""
        return Place(self.x[box], self.y[box], self.z[box], self.voxel, self.index)


def place(
    grid: Grid, *, middle_mm: Triple = (0.0, 0.0, 0.0), turn_deg: Triple = (0.0, 0.0, 0.0), stretch: Triple = (1, 1, 1)
) -> Place:
    """Head coordinates on a grid, for a head that is stretched, then turned about its middle, then moved there."""
    head_to_world = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix() @ np.diag(stretch)
    to_head = np.linalg.inv(head_to_world) @ grid.affine[:3, :3]
    start = np.linalg.inv(head_to_world) @ (grid.affine[:3, 3] - np.asarray(middle_mm))
    lines = [np.arange(n) for n in grid.shape]
    axes = [
        (to_head[a, 0] * lines[0] + start[a]).astype(np.float32)[:, None, None]
        + (to_head[a, 1] * lines[1]).astype(np.float32)[:, None]
        + (to_head[a, 2] * lines[2]).astype(np.float32)
        for a in range(3)
    ]
    inverse = np.linalg.inv(to_head)
    index = np.concatenate([inverse, -(inverse @ start)[:, None]], axis=1).astype(np.float32)
    return Place(*axes, float(np.abs(np.linalg.det(to_head)) ** (1 / 3)), index)


def ellipsoid(x: Field, y: Field, z: Field, centre: Triple, radii: Triple) -> Field:
    """Distance to an ellipsoid: exact on its surface to first order, and everywhere for a sphere."""
    parts = [(axis - np.float32(c)) / np.float32(r) for axis, c, r in zip((x, y, z), centre, radii, strict=True)]
    level = np.zeros(np.broadcast_shapes(*(p.shape for p in parts)), dtype=np.float32)
    slope = np.zeros_like(level)
    for part, r in zip(parts, radii, strict=True):
        level += part**2
        slope += (part / np.float32(r)) ** 2
    level = np.sqrt(level)
    return level * (level - 1) / np.maximum(np.sqrt(slope), np.float32(1e-4))


def tube(x: Field, y: Field, z: Field, points: Sequence[tuple[float, float, float, float]]) -> Field:
    """Distance to a chain of round cones through ``(x, y, z, radius)``."""
    nearest = np.full(x.shape, np.inf, dtype=np.float32)
    for start, end in zip(points[:-1], points[1:], strict=True):
        a, way = np.asarray(start[:3]), np.asarray(end[:3]) - np.asarray(start[:3])
        dx, dy, dz = x - np.float32(a[0]), y - np.float32(a[1]), z - np.float32(a[2])
        length = float(way @ way)
        t = np.clip((dx * np.float32(way[0]) + dy * np.float32(way[1]) + dz * np.float32(way[2])) / length, 0, 1)
        off = (dx - t * np.float32(way[0])) ** 2 + (dy - t * np.float32(way[1])) ** 2
        off += (dz - t * np.float32(way[2])) ** 2
        np.minimum(nearest, np.sqrt(off) - (np.float32(start[3]) + t * np.float32(end[3] - start[3])), out=nearest)
    return nearest.astype(np.float32)


def join(a: Field, b: Field, k_mm: float) -> Field:
    """Union with a fillet of about ``k_mm`` (the polynomial smooth minimum)."""
    h = np.maximum(np.float32(k_mm) - np.abs(a - b), 0) / np.float32(k_mm)
    return np.minimum(a, b) - h * h * np.float32(k_mm / 4)


class Canvas:
    """Shares of tissues in voxels, painted from the back to the front; they always sum to 1."""

    def __init__(self, shape: tuple[int, int, int], voxel: float):
        self.voxel = np.float32(voxel)
        self.shares: dict[str, Field] = {"air": np.ones(shape, dtype=np.float32)}

    def cover(self, distance: Field) -> Field:
        """Share of a voxel that lies inside a surface at that distance, as if the surface were flat."""
        return np.clip(np.float32(0.5) - distance / self.voxel, 0, 1)

    def paint(self, tissue: str, distance: Field, box: Box = WHOLE) -> None:
        """Fill a solid with a tissue, over what is there."""
        self.lay(tissue, self.cover(distance), box)

    def lay(self, tissue: str, cover: Field, box: Box = WHOLE, over: Sequence[str] | None = None) -> None:
        """Give the tissue the share ``cover`` of what is there, or of the tissues ``over`` only."""
        rest, taken = 1 - cover, np.zeros_like(cover)
        for name in self.shares if over is None else [n for n in over if n in self.shares]:
            there = self.shares[name][box]
            if over is not None:
                taken += there * cover
            there *= rest
        own = self.shares.setdefault(tissue, np.zeros_like(self.shares["air"]))
        own[box] += cover if over is None else taken
