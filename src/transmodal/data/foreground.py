"""Foreground: where the head or the body is, found in one image without any model.

Threshold, close, fill, keep the largest piece. The threshold is Otsu's (1979, "A threshold selection method
from gray-level histograms") for scans in arbitrary units, and a fixed one for CT. An image whose empty space
is exactly one value (skull-stripped, or already masked) needs no guess: everything else is foreground.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from transmodal.data.ball import dilated
from transmodal.data.box import bounds, slices
from transmodal.data.percentiles import percentiles
from transmodal.data.volume import Volume
from transmodal.errors import InputError
from transmodal.shapes import Mask

_CT_BELOW = -500.0
"""HU; an image that goes below it is taken for CT, and what lies above it for body (air is -1000, fat -100)."""
_CLOSE_MM = 8.0
"""Gaps up to about twice this are closed: skull (dark in MRI) and sinuses open to the outside."""
_FINE_MM, _MOST_STEPS = 0.6, 100
"""Of voxels that are at most half as wide as this, whole blocks are closed: the work grows with the square of how
many voxels wide a gap is. A scan whose blocks are still far smaller than a gap is smaller than a gap itself."""
_BINS, _PIECE = 256, 2**16
"""Of the histogram that the threshold is looked for in; and voxels that are counted at once."""
_BLANK_SHARE = 0.2
"""An image has a blank background when this share of it, and nearly all of its faces, have one value."""
_BLANK_FACES = 0.6


def foreground(volume: Volume) -> Mask:
    """Where the head or the body is.

    Args:
        volume: one image; the mean of its channels counts.

    Raises:
        InputError: nothing was found.
    """
    values = volume.grey()
    found = _above(values)
    if found.any():
        box = slices(bounds(found))
        found[box] = largest(_filled(_closed(found[box], volume.grid.spacing)))
    if not found.any():
        raise InputError(
            f"{volume.name}: no foreground was found in it (values {values.min():.4g} to {values.max():.4g}); "
            "look at the image, or give a mask"
        )
    return found


def largest(mask: Mask) -> Mask:
    """The largest piece of a mask; pieces that touch by a face belong together."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    found: np.ndarray = pieces == sizes.argmax()
    return found


def _above(values: Float[np.ndarray, "X Y Z"]) -> Mask:
    if values.min() < _CT_BELOW:
        return np.asarray(values > _CT_BELOW)
    low, high = percentiles(values, (0.5, 99.5))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    blank = _blank(values)
    if blank is not None:
        # A small part of the range, because resampling leaves ringing around a masked brain.
        off = values - np.float32(blank)
        return np.asarray(np.abs(off, out=off) > 0.03 * (high - low))
    return np.asarray(values > otsu(values, float(low), float(high)))


def otsu(values: Float[np.ndarray, "X Y Z"], low: float, high: float) -> float:
    """Otsu's threshold of values that are held to ``low`` .. ``high``: where two classes are farthest apart.

    The upper edge of one of 256 bins, as ITK's filter gives it in four times the time.
    """
    # ITK's uppermost bin reaches a hundredth of a bin beyond the highest value.
    step = (high - low) * (1 + 1 / (100 * _BINS)) / _BINS
    line, counts = values.ravel(order="K"), np.zeros(_BINS, np.int64)
    # A piece at a time, which fits into a processor's cache.
    for start in range(0, line.size, _PIECE):
        place = line[start : start + _PIECE] - low
        place /= step
        counts += np.bincount(np.clip(place, 0, _BINS - 1, out=place).astype(np.uint8), minlength=_BINS)
    edges = low + step * np.arange(1, _BINS + 1)
    share = np.cumsum(counts)[:-1] / counts.sum()
    moment = np.cumsum(counts * edges) / counts.sum()
    apart = (moment[-1] * share - moment[:-1]) ** 2 / np.maximum(share * (1 - share), np.finfo(float).tiny)
    return float(edges[apart.argmax()])


def _blank(values: Float[np.ndarray, "X Y Z"]) -> float | None:
    """The one value of empty space, or None where empty space is noise."""
    faces = np.concatenate([np.moveaxis(values, a, 0)[i].ravel() for a in range(3) for i in (0, -1)])
    levels, counts = np.unique(faces, return_counts=True)
    common = levels[counts.argmax()]
    if counts.max() < _BLANK_FACES * len(faces) or (values == common).mean() < _BLANK_SHARE:
        return None
    return float(common)


def _closed(mask: Mask, spacing: tuple[float, float, float]) -> Mask:
    """Closing by distance in millimetres; padded, so that the edge of the image does not eat into it."""
    steps = [max(1, min(n, int(_FINE_MM / s))) for n, s in zip(mask.shape, spacing, strict=True)]
    x, y, z = (s * step for s, step in zip(spacing, steps, strict=True))
    margin = [int(np.ceil(_CLOSE_MM / s)) + 1 for s in (x, y, z)]
    # Voxels may be as small as a header says. Blocks of too small ones that would need this much are not closed.
    if max(margin) > _MOST_STEPS:
        return mask
    padded = np.pad(_any_in_blocks(mask, steps), [(m, m) for m in margin])
    kept = ~dilated(~dilated(padded, (x, y, z), _CLOSE_MM), (x, y, z), _CLOSE_MM)
    found = kept[tuple(slice(m, -m) for m in margin)]
    for axis, step in enumerate(steps):
        found = found if step == 1 else np.repeat(found, step, axis)
    return np.asarray(found[tuple(slice(0, n) for n in mask.shape)] | mask)


def _any_in_blocks(mask: Mask, steps: Sequence[int]) -> Bool[np.ndarray, "I J K"]:
    """Whether a block of voxels has any of the mask; the last blocks may be smaller."""
    for axis, step in enumerate(steps):
        if step > 1:
            mask = np.logical_or.reduceat(mask, np.arange(0, mask.shape[axis], step), axis=axis)
    return mask


def _filled(mask: Mask) -> Mask:
    """Holes filled in 3D and in every slice of each plane: a neck that is cut off leaves cavities open below."""
    for plane in (None, 0, 1, 2):
        mask = _without_holes(mask, plane)
    return mask


def _without_holes(mask: Mask, across: int | None) -> Mask:
    """Gaps that touch no face are filled; in each slice across an axis by itself, or in space.

    All slices at once: pieces that never connect from slice to slice take a third of the time of a loop.
    """
    joined = ndimage.generate_binary_structure(3, 1)
    faces = [axis for axis in range(3) if axis != across]
    if across is not None:
        joined[tuple(slice(None) if axis != across else [0, 2] for axis in range(3))] = False
    gaps, count = ndimage.label(~mask, joined)
    open_ = np.zeros(count + 1, dtype=bool)
    for axis in faces:
        open_[np.take(gaps, (0, -1), axis)] = True
    open_[0] = False
    return ~open_[gaps]
