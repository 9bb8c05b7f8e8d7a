"""Geometry: from one grid to another through both affines. Nothing is resampled that need not be.

Smoothing before downsampling: a Gaussian whose variance is the difference of the two voxels' point spread
functions (Cardoso et al. 2015, "Scale factor point spread function matching", eq. 7 for diagonal covariances).
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from scipy import ndimage

from transmodal.data.grid import Grid
from transmodal.data.volume import Volume
from transmodal.shapes import Affine

_FWHM = float(np.sqrt(8 * np.log(2)))
_COARSER = 1.2
"""Smooth where a target voxel is more than this many source voxels wide."""
_SAME_MM = 1e-2
"""Voxel centres nearer than this to each other are the same."""


def resample(volume: Volume, grid: Grid, *, order: int = 1, fill: float | None = None) -> Volume:
    """The values of ``volume`` at the voxels of ``grid``.

    Untouched bit for bit when both grids are the same, or differ only by flipped, permuted, cropped or padded
    axes; interpolated otherwise.

    Args:
        volume: what to resample.
        grid: where to.
        order: 0 nearest, 1 linear, up to 5 for splines.
        fill: value outside the box of ``volume``; None repeats the nearest voxel.

    Returns:
        float32 values on ``grid``; any other type of ``volume.data`` is kept where nothing is interpolated.
    """
    if volume.grid.same_as(grid):
        return Volume(volume.data, grid, volume.name)
    steps = _index_map(volume.grid, grid)
    if _is_reindexing(steps, volume.grid, grid):
        return Volume(_reindexed(volume.data, steps, grid, fill), grid, volume.name)
    outside = None if fill is None else ~inside(grid, volume.grid)
    channels = [_interpolated(channel, steps, grid, order) for channel in volume.data]
    if outside is not None:
        for channel in channels:
            channel[outside] = fill
    return Volume(np.stack(channels), grid, volume.name)


def resample_labels(volume: Volume, grid: Grid) -> Volume:
    """Whole numbers at the voxels of ``grid``: the nearest voxel's, and 0 outside; the type is kept."""
    if volume.grid.same_as(grid):
        return Volume(volume.data, grid, volume.name)
    steps = _index_map(volume.grid, grid)
    if _is_reindexing(steps, volume.grid, grid):
        return Volume(_reindexed(volume.data, steps, grid, 0.0), grid, volume.name)
    outside = ~inside(grid, volume.grid)
    channels = [_interpolated(channel, steps, grid, order=0) for channel in volume.data]
    for channel in channels:
        channel[outside] = 0
    return Volume(np.stack(channels), grid, volume.name)


def inside(grid: Grid, box: Grid) -> Shaped[np.ndarray, "X Y Z"]:
    """True at the voxels of ``grid`` whose centre lies in the box of the voxels (not centres) of ``box``."""
    steps = _index_map(box, grid)
    found = np.ones(grid.shape, dtype=bool)
    for axis in range(3):
        place = _along(steps, axis, [np.arange(n) for n in grid.shape])
        found &= _within(place, box.shape[axis])
    return found


def overlap(a: Grid, b: Grid) -> float:
    """The fraction of ``a`` that lies in the box of ``b``, counted on a lattice of at most 32³ voxels of ``a``."""
    lattice = [np.linspace(0, n - 1, min(n, 32)) for n in a.shape]
    steps = _index_map(b, a)
    found = np.ones(tuple(len(line) for line in lattice), dtype=bool)
    for axis in range(3):
        found &= _within(_along(steps, axis, lattice), b.shape[axis])
    return float(found.mean())


def crop(grid: Grid, box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]) -> Grid:
    """``grid`` from the first to before the last voxel of ``box`` along each axis, which may lie beyond it."""
    start = np.array([low for low, _ in box])
    affine = grid.affine.copy()
    affine[:3, 3] = grid.affine[:3, :3] @ start + grid.affine[:3, 3]
    sizes = [high - low for low, high in box]
    return Grid((sizes[0], sizes[1], sizes[2]), affine)


def _index_map(source: Grid, target: Grid) -> Affine:
    """Voxel index in ``target`` → voxel index in ``source``."""
    return np.linalg.solve(source.affine, target.affine)


def _along(steps: Affine, axis: int, lines: list[np.ndarray]) -> Float[np.ndarray, "#X #Y #Z"]:
    """Source index along ``axis`` of every point of a lattice in the target; one long where it does not change."""
    x, y, z = (step * (line if step else line[:1]) for step, line in zip(steps[axis, :3], lines, strict=True))
    return np.asarray(x[:, None, None] + y[None, :, None] + (z + steps[axis, 3])[None, None, :])


def _within(place: Float[np.ndarray, "X Y Z"], size: int) -> Shaped[np.ndarray, "X Y Z"]:
    slack = 1e-3
    return np.asarray((place >= -0.5 - slack) & (place <= size - 0.5 + slack))


def _is_reindexing(steps: Affine, source: Grid, target: Grid) -> bool:
    """Whether every voxel of ``target`` falls on a voxel (or a missing voxel) of ``source``."""
    whole = np.round(steps)
    turn = np.abs(whole[:3, :3])
    if not (np.array_equal(turn.sum(axis=0), [1, 1, 1]) and np.array_equal(turn.sum(axis=1), [1, 1, 1])):
        return False
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in target.shape])).reshape(3, -1)
    points = np.concatenate([corners, np.ones((1, corners.shape[1]))])
    apart = source.affine[:3, :3] @ ((steps - whole) @ points)[:3]
    return bool(np.abs(apart).max() <= _SAME_MM)


def _reindexed(data: np.ndarray, steps: Affine, grid: Grid, fill: float | None) -> np.ndarray:
    whole = np.round(steps).astype(int)
    order = [int(np.flatnonzero(whole[:3, axis])[0]) for axis in range(3)]
    lines, missing = [], []
    for axis, source_axis in enumerate(order):
        line = whole[source_axis, axis] * np.arange(grid.shape[axis]) + whole[source_axis, 3]
        size = data.shape[1 + source_axis]
        missing.append((line < 0) | (line >= size))
        lines.append(np.clip(line, 0, size - 1))
    turned = np.transpose(data, (0, *[1 + a for a in order]))
    out = turned[:, lines[0][:, None, None], lines[1][None, :, None], lines[2][None, None, :]]
    if fill is not None:
        for axis, gone in enumerate(missing):
            np.moveaxis(out, axis + 1, 0)[gone] = fill
    return out


def _interpolated(channel: Shaped[np.ndarray, "X Y Z"], steps: Affine, grid: Grid, order: int) -> np.ndarray:
    kind = channel.dtype if order == 0 else np.dtype(np.float32)
    if order > 0:
        width = np.linalg.norm(steps[:3, :3], axis=1)
        sigma = np.where(width > _COARSER, np.sqrt(np.maximum(width**2 - 1, 0)) / _FWHM, 0)
        if sigma.any():
            channel = ndimage.gaussian_filter(channel.astype(np.float32), sigma, mode="nearest")
    degree: Any = order
    out = np.empty(grid.shape, kind)
    ndimage.affine_transform(channel, steps[:3, :3], steps[:3, 3], output=out, order=degree, mode="nearest")
    return out
