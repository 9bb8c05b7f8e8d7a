"""Anatomy: how much of which tissue is where, and where fibres run. Random, from a label map, or an average brain.

Lengths are in millimetres, x to the right, y to the front, z up, zero in the middle of the brain.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float32, UInt8
from scipy import ndimage

from transmodal.data.grid import Grid
from transmodal.data.phantom.brain import lobes, paint_brain
from transmodal.data.phantom.noise import Field, Noise
from transmodal.data.phantom.skull import paint_head
from transmodal.data.phantom.solids import Canvas, Place, ellipsoid, place
from transmodal.data.phantom.tissues import BRAIN, CODE
from transmodal.data.phantom.tracts import Tensor, orientations
from transmodal.errors import RecipeError
from transmodal.shapes import Mask

_HEAD_MM = (172.0, 212.0, 206.0)
"""The box that a head of average size needs; in a smaller one it is made to fit."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A head.

    Attributes:
        grid: where the voxels lie.
        fractions: tissue → its share of every voxel; in every voxel they sum to 1.
        tracts: orientation tensor of fibres, trace 1; its six components are xx, yy, zz, xy, xz, yz.
    """

    grid: Grid
    fractions: dict[str, Field]
    tracts: Tensor

    @cached_property
    def labels(self) -> UInt8[np.ndarray, "X Y Z"]:
        """Code of the tissue with the largest share (:mod:`.tissues`)."""
        names = list(self.fractions)
        largest = np.zeros(self.grid.shape, dtype=np.float32)
        labels = np.zeros(self.grid.shape, dtype=np.uint8)
        for name in names:
            wins = self.fractions[name] > largest
            labels[wins] = CODE[name]
            np.maximum(largest, self.fractions[name], out=largest)
        return labels

    def share(self, *tissues: str) -> Float32[np.ndarray, "X Y Z"]:
        """Share of these tissues together."""
        total = np.zeros(self.grid.shape, dtype=np.float32)
        for name in tissues:
            if name in self.fractions:
                total += self.fractions[name]
        return total

    def brain(self) -> Mask:
        """Everything inside the skull: brain, fluid around it, ventricles."""
        return self.share(*BRAIN) > 0.5

    def head(self) -> Mask:
        """Everything but air, holes filled."""
        return ndimage.binary_fill_holes(self.share("air") < 0.5)


def centred_grid(size: tuple[int, int, int], spacing: float | tuple[float, float, float]) -> Grid:
    """A grid whose middle lies at the scanner's origin."""
    edges = np.broadcast_to(np.asarray(spacing, dtype=float), 3)
    affine = np.diag([*edges, 1.0])
    affine[:3, 3] = -edges * (np.asarray(size) - 1) / 2
    return Grid(size, affine)


def random_anatomy(
    size: tuple[int, int, int] = (96, 96, 96),
    spacing: float | tuple[float, float, float] = 2.2,
    *,
    seed: int,
    lesions: int = 0,
) -> Anatomy:
    """A head that nobody has.

    The same seed gives the same head on any grid, in as much detail as the grid can show.

    Args:
        size: voxels along X, Y, Z; at least 16 each.
        spacing: edge of a voxel in mm, one number or three; 96 voxels of 2.2 mm hold a whole head, and in a
            smaller box the head is made to fit.
        seed: of everything that is random.
        lesions: how many white-matter lesions.

    Raises:
        RecipeError: a size, a spacing or a number of lesions that makes no head.
    """
    if len(size) != 3 or min(size) < 16:
        raise RecipeError(f"phantom size = {list(size)}: give at least 16 voxels along each of three axes")
    if not np.all(np.asarray(spacing) > 0):
        raise RecipeError(f"phantom spacing = {spacing}: must be larger than 0 (mm)")
    if lesions < 0 or seed < 0:
        raise RecipeError(f"phantom lesions = {lesions}, seed = {seed}: neither may be negative")
    grid = centred_grid(size, spacing)
    rng = np.random.default_rng([seed, 1])
    fit = min(1.0, float((np.asarray(size) * np.asarray(grid.spacing) / _HEAD_MM).min()))
    x, y, z = grid.spacing
    noise = Noise(size, (x / fit, y / fit, z / fit), seed, 1)
    at = _bent(_placed(grid, fit, rng), noise)
    hulls = lobes(at, noise)
    canvas = Canvas(size, at.voxel)
    paint_head(canvas, at, hulls.cranium, noise)
    paint_brain(canvas, at, hulls, noise)
    _paint_lesions(canvas, at, hulls.cerebrum, lesions, noise)
    return Anatomy(grid, canvas.shares, orientations(at, noise))


def _placed(grid: Grid, fit: float, rng: np.random.Generator) -> Place:
    """A head of its own size and proportions, turned and shifted a little, as people lie in a scanner."""
    tall, wide, long = (float(v) for v in fit * rng.uniform([0.96, 0.96, 0.96], [1.03, 1.03, 1.03]))
    dx, dy, dz = (float(v) for v in rng.uniform(-2, 2, 3) + np.array([0, -5 * fit, 12 * fit]))
    pitch, roll, yaw = (float(v) for v in rng.uniform([-6, -3, -3], [6, 3, 3]))
    return place(grid, middle_mm=(dx, dy, dz), turn_deg=(pitch, roll, yaw), stretch=(wide, long, tall))


def _bent(at: Place, noise: Noise) -> Place:
    """Coordinates bent smoothly by about 2 mm, so that no shape is exact and no head symmetric."""
    bend = [np.float32(1.3) * noise(f"bend {axis}", 38.0) for axis in "xyz"]
    return replace(at, x=at.x + bend[0], y=at.y + bend[1], z=at.z + bend[2])


def _paint_lesions(canvas: Canvas, at: Place, cerebrum: Field, lesions: int, noise: Noise) -> None:
    """Blobs of 2 to 7 mm radius in deep white matter, more of them near the ventricles."""
    if not lesions:
        return
    rng = noise.stream("lesions")
    ragged = np.float32(0.8) * noise("ragged", 6.0)
    sites = (canvas.shares["white"] > 0.9) & (cerebrum < -12) & (at.z > -12)
    index = np.argwhere(sites)
    if not len(index):
        index = np.argwhere(canvas.shares["white"] >= canvas.shares["white"].max())
    home = np.stack([axis[tuple(index.T)] for axis in (at.x, at.y, at.z)], axis=1)
    for _ in range(lesions):
        # Drawn in the head, then moved to the nearest place that is possible: grids agree on it.
        side, radii = rng.choice([-1, 1]), rng.uniform(2.2, 6.5, 3)
        wanted = np.array([side * rng.uniform(14, 36), rng.uniform(-45, 38), rng.uniform(4, 34)])
        cx, cy, cz = (float(v) for v in home[np.argmin(((home - wanted) ** 2).sum(axis=1))])
        box = at.box((cx - 9, cy - 9, cz - 9), (cx + 9, cy + 9, cz + 9))
        p = at.part(box)
        rx, ry, rz = (float(max(r, at.voxel * 0.8)) for r in radii)
        blob = ellipsoid(p.x, p.y, p.z, (cx, cy, cz), (rx, ry, rz)) + ragged[box]
        canvas.lay("lesion", canvas.cover(blob), box, over=("white",))
