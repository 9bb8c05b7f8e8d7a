"""Distances from voxel to voxel. All arithmetic is in float32; a mask says which voxels count."""

from collections.abc import Callable
from typing import Literal, Protocol

from jaxtyping import Bool, Float
from torch import Tensor, where

Images = Float[Tensor, "B C *N"]
Mask = Bool[Tensor, "B 1 *N"]
Loss = Float[Tensor, ""]
Pixel = Literal["l1", "l2", "charbonnier"]


class PixelLoss(Protocol):
    """(prediction, truth, mask) → mean distance."""

    def __call__(self, prediction: Images, truth: Images, mask: Mask | None = None) -> Loss:
        """The mean over voxels that count, channels and samples."""
        ...


def l1(prediction: Images, truth: Images, mask: Mask | None = None) -> Loss:
    """Mean of |p - t|, in the units of the images. Its minimiser is the median."""
    return _mean(lambda d: d.abs(), prediction, truth, mask)


def body_l1(prediction: Images, truth: Images, mask: Mask, weight: float) -> Loss:
    """The same over all voxels; those in the mask weigh ``weight``, others 1."""
    if weight == 1:
        return l1(prediction, truth)
    weights = (1 + (weight - 1) * mask.float()).expand_as(prediction)
    return (weights * (prediction.float() - truth.float()).abs()).sum() / weights.sum()


def l2(prediction: Images, truth: Images, mask: Mask | None = None) -> Loss:
    """Mean of (p - t)², in squared units of the images. Its minimiser is the mean."""
    return _mean(lambda d: d.square(), prediction, truth, mask)


def charbonnier(prediction: Images, truth: Images, mask: Mask | None = None, *, epsilon: float = 1e-3) -> Loss:
    """Mean of √((p - t)² + ε²): as :func:`l1`, but smooth around 0. At least ε where voxels count.

    From Two Deterministic Half-Quadratic Regularization Algorithms for Computed Imaging (Charbonnier et al.,
    1994); as a loss of networks in LapSRN, https://arxiv.org/abs/1704.03915, section 3.3.

    Args:
        prediction: what came out.
        truth: what should have.
        mask: where voxels count; everywhere if None.
        epsilon: width of the smooth part, in the units of the images.
    """
    return _mean(lambda d: (d.square() + epsilon**2).sqrt(), prediction, truth, mask)


def _mean(distance: Callable[[Tensor], Tensor], prediction: Tensor, truth: Tensor, mask: Tensor | None) -> Tensor:
    """The mean distance where ``mask`` is True; 0 where it is empty, and NaN outside it does no harm."""
    difference = prediction.float() - truth.float()
    if mask is None:
        return distance(difference).mean()
    inside = mask.expand_as(difference)
    values = distance(where(inside, difference, 0.0))
    return where(inside, values, 0.0).sum() / inside.sum().clamp(min=1)


PIXEL: dict[Pixel, PixelLoss] = {"l1": l1, "l2": l2, "charbonnier": charbonnier}
