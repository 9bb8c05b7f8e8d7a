"""Traits: what a scan looks like, in some eighty numbers that say its kind and show nobody.

They are quantiles, means and sizes of the foreground, never values of voxels. Except for the levels of a physical
quantity and the sizes in mm, they stay the same when the scan's scale or offset changes.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import ndimage
from scipy.stats import rankdata

from transmodal.data.box import bounds, slices
from transmodal.data.intensity import IntensityFit
from transmodal.data.percentiles import percentiles
from transmodal.data.volume import Volume
from transmodal.shapes import Mask

PATTERN = ("core", "levels", "depths", "texture")
"""The groups of numbers that depend on the contrast."""
LAYOUT = ("outline", "profile", "size")
"""Those that depend on where front and top are; each has one row an axis."""
DETAIL = ("detail",)
"""How sharp it is along each axis."""
GROUPS = (*PATTERN, *DETAIL, *LAYOUT)

_COARSE_MM, _BROAD_MM = 3.0, 6.0
_CORE_PERCENTILES = (1, 5, 10, 25, 75, 90, 95, 99)
_LEVEL_PERCENTILES = (5, 10, 25, 50, 75, 90, 95)
_EDGES = (0.0, 0.06, 0.12, 0.2, 0.35, 0.6)
"""Of the layers from the surface (0) to the deepest point (1) of the foreground."""
_CORE, _PARTS, _FEW = 0.35, 6, 6
NUMBERS = {
    "core": len(_CORE_PERCENTILES), "levels": len(_LEVEL_PERCENTILES), "depths": 3 * len(_EDGES), "texture": 2,
    "detail": 3, "outline": 3 * _PARTS, "profile": 3 * _PARTS, "size": 3,
}  # fmt: skip
"""Group → how many numbers it has."""
_LAYERS = 8
"""Looked at together: what fits into a processor's cache takes a third of the time."""
_FAR = 6.0
"""A quantile further than this from the median, in interquartile ranges, says no more than this."""


def traits(image: Volume, where: Mask, fit: IntensityFit) -> dict[str, Any]:
    """The traits of one image, for JSON.

    Args:
        image: turned to RAS+; the mean of its channels counts.
        where: its foreground, on its grid, not empty.
        fit: its normalisation; a window's levels are kept in its units.

    Returns:
        ``spacing`` (mm, by R, A, S), ``litres`` (of the foreground), ``window`` (whether levels are physical), and
        lists of numbers by the names in :data:`GROUPS`: ``core``, quantiles of the deep part in interquartile
        ranges from its median; ``levels``, quantiles of all; ``depths``, quartiles of the rank of values by depth
        below the surface; ``texture``; ``detail``, log of the mean step to the next voxel along each axis, in
        standard deviations; ``outline`` and ``profile``, how much foreground and of which mean rank lies in each
        sixth of each axis; ``size``, log of the box in mm.
    """
    spacing = image.grid.spacing
    steps = [max(1, min(round(_COARSE_MM / s), n)) for s, n in zip(spacing, where.shape, strict=True)]
    litres = float(where.sum() * np.prod(spacing) / 1e6)
    box = _whole_blocks(where, steps)
    values, where = image.grey()[box], where[box]
    inside = values[where]
    low, high = (float(p) for p in percentiles(inside, (0.5, 99.5)))
    scaled = np.clip(values, low, high)
    scaled -= low
    scaled /= high - low or 1.0
    physical = fit.kind == "window"
    seen = fit.apply(inside) if physical else 2 * scaled[where] - 1
    mask, coarse, step = _coarse(scaled, where, steps, spacing)
    ranks = rankdata(coarse[mask]) / mask.sum()
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=step)[1:-1, 1:-1, 1:-1]
    relative = depth / depth.max()
    core = mask & (relative > _CORE)
    core = core if core.sum() >= _FEW else mask
    outline, profile = _along_axes(mask, ranks)
    found: dict[str, Any] = {
        "core": _curve(coarse[core]),
        "levels": percentiles(seen, _LEVEL_PERCENTILES),
        "depths": _by_depth(relative[mask], ranks),
        "texture": _texture(coarse, mask, core, step),
        "detail": _detail(scaled, where),
        "outline": outline,
        "profile": profile,
        "size": np.log(np.multiply(mask.shape, step)),
    }
    numbers = {name: np.round(np.ravel(group), 4).astype(float).tolist() for name, group in found.items()}
    return {"spacing": [round(s, 4) for s in spacing], "litres": litres, "window": physical, **numbers}


def _whole_blocks(where: Mask, steps: list[int]) -> tuple[slice, ...]:
    """The box of a mask, widened to whole blocks counted from the first voxel of the image."""
    ends = zip(bounds(where), steps, strict=True)
    return tuple(slice(low // n * n, -(-high // n) * n) for (low, high), n in ends)


def _coarse(
    values: Float[np.ndarray, "X Y Z"], where: Mask, steps: list[int], spacing: tuple[float, float, float]
) -> tuple[Bool[np.ndarray, "I J K"], Float[np.ndarray, "I J K"], tuple[float, ...]]:
    """Mask and values in blocks of about 3 mm, cut to the mask's box, and the edges of a block in mm."""
    mask = _blocks(where, steps) > 0.5
    if not mask.any():
        steps, mask = [1, 1, 1], where
    box = slices(bounds(mask))
    size = tuple(s * n for s, n in zip(spacing, steps, strict=True))
    return mask[box], _blocks(values, steps)[box], size


def _blocks(values: Shaped[np.ndarray, "X Y Z"], steps: list[int]) -> Float[np.ndarray, "I J K"]:
    counts = [n // step for n, step in zip(values.shape, steps, strict=True)]
    cut = values[tuple(slice(0, count * step) for count, step in zip(counts, steps, strict=True))]
    split = [n for pair in zip(counts, steps, strict=True) for n in pair]
    return np.asarray(cut.reshape(split).mean(axis=(1, 3, 5), dtype=np.float32))


def _curve(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " Q"]:
    """Quantiles in interquartile ranges from the median."""
    middle, lower, upper = percentiles(values, (50, 25, 75))
    spread = max(float(upper - lower), 1e-3)
    return np.asarray(np.clip((percentiles(values, _CORE_PERCENTILES) - middle) / spread, -_FAR, _FAR))


def _by_depth(depth: Float[np.ndarray, " N"], ranks: Float[np.ndarray, " N"]) -> list[float]:
    layer = np.digitize(depth, _EDGES) - 1
    found: list[float] = []
    for number in range(len(_EDGES)):
        here = ranks[layer == number]
        found += [0.5] * 3 if len(here) < _FEW else [float(q) for q in percentiles(here, (25, 50, 75))]
    return found


def _texture(
    values: Float[np.ndarray, "I J K"], mask: Mask, core: Mask, step: tuple[float, ...]
) -> tuple[float, float]:
    """How much of the variation in the core is finer than 6 mm, and whether it grows where the image is bright."""
    sigma = [_BROAD_MM / s for s in step]
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sigma)
    broad = ndimage.gaussian_filter(np.where(mask, values, 0), sigma) / np.maximum(weight, 1e-3)
    fine = (values - broad)[core]
    total = max(float(values[core].std()), 1e-6)
    if min(float(fine.std()), float(broad[core].std())) < 1e-6 * total or len(fine) < _FEW:
        return 0.0, 0.0
    return float(fine.std()) / total, float(np.corrcoef(fine, broad[core])[0, 1])


def _detail(values: Float[np.ndarray, "X Y Z"], where: Mask) -> list[float]:
    spread = max(float(values[where].std()), 1e-6)
    total, count = np.zeros(3), np.zeros(3)
    slowest_first = np.argsort(np.multiply(values.strides, -1), kind="stable")
    values, where = values.transpose(slowest_first), where.transpose(slowest_first)
    for start in range(0, len(values), _LAYERS):
        for axis in range(3):
            # The step from these layers to the next ones belongs to these.
            part = slice(start, start + _LAYERS + (axis == 0))
            before = (slice(None),) * axis
            ahead, behind = (*before, slice(1, None)), (*before, slice(None, -1))
            steps = np.abs(values[part][ahead] - values[part][behind])
            both = where[part][ahead] & where[part][behind]
            total[slowest_first[axis]] += np.multiply(steps, both, out=steps).sum(dtype=np.float64)
            count[slowest_first[axis]] += np.count_nonzero(both)
    return [float(value) for value in np.log(total / np.maximum(count, 1) / spread + 1e-3)]


def _along_axes(
    mask: Mask, ranks: Float[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, "3 P"], Float[np.ndarray, "3 P"]]:
    """For each sixth of each axis, its share of the foreground times six, and the mean rank in it."""
    outline, profile = np.zeros((3, _PARTS)), np.full((3, _PARTS), 0.5)
    for axis, index in enumerate(np.nonzero(mask)):
        n = mask.shape[axis]
        share = _shares(n)
        counts = np.bincount(index, minlength=n) @ share
        outline[axis] = counts * _PARTS / len(index)
        np.divide(np.bincount(index, ranks, n) @ share, counts, out=profile[axis], where=counts > 0)
    return outline, profile


def _shares(n: int) -> Float[np.ndarray, "N P"]:
    """How much of each of ``n`` layers lies in each sixth of them."""
    layers, parts = np.arange(n)[:, None] / n, np.arange(_PARTS) / _PARTS
    ends = np.minimum(layers + 1 / n, parts + 1 / _PARTS)
    return np.asarray(n * np.maximum(0.0, ends - np.maximum(layers, parts)))
