"""Gaussian smoothing along every spatial axis, differentiable, for one to three axes.

The window is applied one axis at a time as a product with a banded matrix. Unlike a convolution this is not
rounded to TF32 by default, where a variance, which is a small difference of large numbers, would drown.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from transmodal.errors import RecipeError

Edges = Literal["symmetric", "replicate", "zeros", "valid"]
"""What lies beyond the faces of the image: its mirror image (c b a | a b c), its last voxel (a a a | a b c),
nothing (0 0 0 | a b c), or nowhere, and the result is ``window - 1`` voxels shorter."""
_BLOCK = 48
"""Rows of the band that are multiplied at once on a processor."""


def gaussian_filter(
    image: Float[Tensor, "B C *N"], window: int, sigma: float, edges: Edges
) -> Float[Tensor, "B C *M"]:
    """Smooth along every spatial axis with a Gaussian of ``window`` taps that sum to 1.

    Args:
        image: in any unit.
        window: voxels along each edge, an odd number.
        sigma: standard deviation in voxels.
        edges: what lies beyond the faces.

    Raises:
        RecipeError: an even window, or one that does not fit (``valid``).
    """
    if window < 1 or window % 2 == 0:
        raise RecipeError(f"window = {window}: give an odd number of voxels, so that it has a middle")
    if edges == "valid" and min(image.shape[2:]) < window:
        size = "×".join(str(n) for n in image.shape[2:])
        raise RecipeError(f"an SSIM window of {window} voxels does not fit in {size}; use symmetric padding")
    for axis in range(2, image.ndim):
        plain = image.device.type == "cpu" and not (torch.is_grad_enabled() and image.requires_grad)
        if plain and image.shape[axis] > 2 * _BLOCK:
            image = _by_blocks(image, axis, window, sigma, edges)
        else:
            image = _at_once(image, axis, window, sigma, edges)
    return image


def _at_once(image: Tensor, axis: int, window: int, sigma: float, edges: Edges) -> Tensor:
    """One axis as one product, mostly with zeros: what a GPU likes, and what can be differentiated."""
    matrix = torch.as_tensor(_band(image.shape[axis], window, sigma, edges)).to(image)
    if image.shape[axis + 1 :].numel() == 1:
        return (image.reshape(*image.shape[: axis + 1]) @ matrix.T).reshape(
            *image.shape[:axis], len(matrix), *image.shape[axis + 1 :]
        )
    lines = image.flatten(0, axis - 1).flatten(2)
    return (matrix @ lines).reshape(*image.shape[:axis], len(matrix), *image.shape[axis + 1 :])


def _by_blocks(image: Tensor, axis: int, window: int, sigma: float, edges: Edges) -> Tensor:
    """The same without most of the zeros: about twice as fast for a slice on a processor."""
    blocks = [(rows, columns, torch.as_tensor(band).to(image))
              for rows, columns, band in _blocks(image.shape[axis], window, sigma, edges)]  # fmt: skip
    shape = [*image.shape[:axis], blocks[-1][0].stop, *image.shape[axis + 1 :]]
    made = image.new_empty(shape)
    if image.shape[axis + 1 :].numel() == 1:
        lines, out = image.reshape(-1, image.shape[axis]), made.view(-1, shape[axis])
        for rows, columns, matrix in blocks:
            torch.mm(lines[:, columns], matrix.T, out=out[:, rows])
        return made
    for line, one in zip(image.flatten(0, axis - 1).flatten(2), made.flatten(0, axis - 1).flatten(2), strict=True):
        for rows, columns, matrix in blocks:
            torch.mm(matrix, line[columns], out=one[rows])
    return made


@lru_cache(maxsize=128)
def _blocks(length: int, window: int, sigma: float, edges: Edges) -> list[tuple[slice, slice, np.ndarray]]:
    """The band cut into blocks: which rows, which columns are not zero there, and the values."""
    band, found = _band(length, window, sigma, edges), []
    for start in range(0, len(band), _BLOCK):
        rows = band[start : start + _BLOCK]
        filled = np.flatnonzero(rows.any(axis=0))
        columns = slice(int(filled[0]), int(filled[-1]) + 1)
        found.append((slice(start, start + len(rows)), columns, rows[:, columns].copy()))
    return found


@lru_cache(maxsize=128)
def _band(length: int, window: int, sigma: float, edges: Edges) -> np.ndarray:
    """The matrix that filters a line of ``length`` voxels; row = where the window's middle lies."""
    radius = window // 2
    taps = np.exp(-0.5 * ((np.arange(window) - radius) / sigma) ** 2)
    taps /= taps.sum()
    middles = np.arange(radius, length - radius) if edges == "valid" else np.arange(length)
    reach = middles[:, None] + np.arange(window) - radius
    weights = np.broadcast_to(taps, reach.shape)
    if edges == "zeros":
        weights = np.where((reach >= 0) & (reach < length), weights, 0)
    if edges == "symmetric":
        reach = reach % (2 * length)
        columns = np.where(reach < length, reach, 2 * length - 1 - reach)
    else:
        columns = reach.clip(0, length - 1)
    matrix = np.zeros((len(middles), length))
    np.add.at(matrix, (np.arange(len(middles))[:, None], columns), weights)
    return matrix
