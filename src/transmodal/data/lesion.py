"""Lesion: a soft-edged ball that is put into a scan, where it may lie, and the contrast that it makes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import ndimage, signal

from transmodal.data.grid import Grid
from transmodal.shapes import Mask

SHELL_MM = 5.0
"""How wide the tissue around a ball is that it is compared with."""

_INSIDE = 0.8
"""Share of a ball with its shell that must lie in the mask."""

_MOSTLY = 0.5
"""Share of a ball that must lie in the tissue that was asked for."""

Point = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Spot:
    """A ball at a place, and the shell around it.

    Attributes:
        place: voxel of its middle.
        box: the part of the volume that holds both.
        share: how much of each voxel of the box the ball fills, 0 to 1.
        core: voxels of which it fills half or more.
        around: the shell: from a voxel outside the ball to 5 mm further, inside the mask.
    """

    place: Point
    box: tuple[slice, slice, slice]
    share: Float32[np.ndarray, "A B D"]
    core: Bool[np.ndarray, "A B D"]
    around: Bool[np.ndarray, "A B D"]

    def contrast(self, values: Float[np.ndarray, "X Y Z"]) -> float:
        """Mean in the core minus mean in the shell."""
        here = values[self.box]
        return float(here[self.core].mean(dtype=np.float64) - here[self.around].mean(dtype=np.float64))


def spot(place: Point, diameter_mm: float, grid: Grid, mask: Mask) -> Spot:
    """A ball of a diameter; its edge is one voxel wide, as partial volume makes it."""
    edge = max(grid.spacing)
    radius = diameter_mm / 2
    reach = radius + 1.5 * edge + SHELL_MM
    box, axes = [], []
    for middle, size, spacing in zip(place, grid.shape, grid.spacing, strict=True):
        low, high = max(0, middle - int(reach / spacing) - 1), min(size, middle + int(reach / spacing) + 2)
        box.append(slice(low, high))
        axes.append((np.arange(low, high) - middle) * spacing)
    x, y, z = np.meshgrid(*axes, indexing="ij")
    distance = np.sqrt(x**2 + y**2 + z**2)
    share = np.clip((radius - distance) / edge + 0.5, 0, 1).astype(np.float32)
    where = (box[0], box[1], box[2])
    around = (distance > radius + 1.5 * edge) & (distance <= reach) & mask[where]
    # However small it is, the voxel in its middle is its core.
    core = (share >= 0.5) | (distance == 0)
    return Spot(place, where, share, core, around)


def filled(spots: Sequence[Spot], shape: tuple[int, int, int]) -> Float32[np.ndarray, "X Y Z"]:
    """How much of every voxel the balls fill; where two meet, the larger share."""
    share = np.zeros(shape, dtype=np.float32)
    for one in spots:
        np.maximum(share[one.box], one.share, out=share[one.box])
    return share


def places(
    suitable: Mask, mask: Mask, grid: Grid, *, diameter_mm: float, count: int, rng: np.random.Generator
) -> list[Point]:
    """Voxels where a ball may lie: with its shell in the mask, far from one another.

    Args:
        suitable: where its middle may be.
        mask: where voxels count.
        grid: of both.
        diameter_mm: of the largest ball.
        count: how many; fewer come back where there is no room.
        rng: where chance comes from.
    """
    apart = diameter_mm + 2 * (SHELL_MM + 1.5 * max(grid.spacing))
    candidates = np.argwhere(suitable & (_covered(mask, diameter_mm / 2 + SHELL_MM, grid) >= _INSIDE))
    chosen: list[Point] = []
    for candidate in rng.permutation(candidates):
        gaps = [np.linalg.norm((candidate - other) * np.asarray(grid.spacing)) for other in chosen]
        if all(gap >= apart for gap in gaps):
            x, y, z = (int(v) for v in candidate)
            chosen.append((x, y, z))
        if len(chosen) == count:
            break
    return chosen


def mostly(tissue: Mask, diameter_mm: float, grid: Grid) -> Mask:
    """Voxels of a tissue around which at least half a ball is of that tissue."""
    return tissue & (_covered(tissue, diameter_mm / 2, grid) >= _MOSTLY)


def even_tissue(values: Float[np.ndarray, "X Y Z"], mask: Mask, grid: Grid, width_mm: float) -> Mask:
    """The two fifths of the mask in which a scan varies least within about ``width_mm``."""
    sigma = [width_mm / 2 / spacing for spacing in grid.spacing]
    middle = float(values[mask].mean())
    centred = np.where(mask, values - middle, 0).astype(np.float64)
    mean, square = ndimage.gaussian_filter(centred, sigma), ndimage.gaussian_filter(centred**2, sigma)
    spread = np.maximum(square - mean**2, 0)
    return mask & (spread <= np.quantile(spread[mask], 0.4))


def _covered(tissue: Mask, radius_mm: float, grid: Grid) -> Float[np.ndarray, "X Y Z"]:
    """Share of a ball around every voxel that lies in the tissue."""
    axes = [np.arange(-int(radius_mm / s), int(radius_mm / s) + 1) * s for s in grid.spacing]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    ball = (x**2 + y**2 + z**2 <= radius_mm**2).astype(np.float32)
    return signal.fftconvolve(tissue.astype(np.float32), ball, mode="same") / ball.sum()
