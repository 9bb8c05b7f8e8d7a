"""The structural scores of the SynthRAD challenges, exactly, oddities included.

They are kept beside :mod:`transmodal.metrics.ssim` and not in its place: another window (uniform, 7 voxels),
another covariance (of a sample), the outside overwritten, and in 2025 another product over scales. Facts taken
from https://github.com/SynthRAD2023/metrics (14 July 2023) and https://github.com/SynthRAD2025/evaluation
(commit 17cac47); the code here is our own, and gives their values to 1e-6 (tests/metrics/test_synthrad.py).
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import uniform_filter
from torch import Tensor

from transmodal.losses.structural import MS_SSIM_WEIGHTS
from transmodal.metrics.region import box, check

HU_2023 = (-1024.0, 3000.0)
"""Window of SynthRAD2023: values are clipped to it, and R = 4024."""

HU_2025 = (-1024.0, 3071.0)
"""Window of SynthRAD2025's evaluation code: R = 4095, where its website says 4000."""

_WINDOW, _BORDER = 7, 3
_SHORTEST = 97
"""Voxels that SynthRAD2025 pads every axis to, so that the fifth scale keeps seven."""


def ssim_2023(
    prediction: Float[Tensor, "1 X Y Z"],
    reference: Float[Tensor, "1 X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    window: tuple[float, float] = HU_2023,
) -> float:
    """SSIM of SynthRAD2023 (the version of its test phase), in [-1, 1].

    Both volumes are clipped to ``window`` and moved to begin at 0, and are 0 outside the mask. The map has a
    uniform window of 7 voxels and sample covariance; it is averaged over the voxels of the mask that lie 3
    voxels or more from every face. Undefined (NaN) where there is none.

    Args:
        prediction: in HU.
        reference: in HU.
        mask: True where a voxel counts; None for all.
        window: lowest and highest value.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    around = (slice(None),) * 3 if mask is None else box(mask, _BORDER + _WINDOW)
    x, y = (_window_of(v, mask, window)[around] for v in (prediction, reference))
    inside = np.zeros(reference.shape[1:], dtype=bool)
    core = tuple(slice(_BORDER, -_BORDER) for _ in range(3))
    inside[core] = True if mask is None else mask.numpy()[core]
    inside = inside[around]
    means, variances, covariance = _moments(x, y, inside)
    c1, c2 = _constants(window)
    values = _luminance(means, c1) * ((2 * covariance + c2) / (variances[0] + variances[1] + c2))
    return float(values.mean()) if values.size else float("nan")


def ms_ssim_2025(
    prediction: Float[Tensor, "1 X Y Z"],
    reference: Float[Tensor, "1 X Y Z"],
    mask: Bool[Tensor, "X Y Z"],
    *,
    window: tuple[float, float] = HU_2025,
) -> float:
    """Masked MS-SSIM of SynthRAD2025's evaluation code, in [0, 1].

    As published code does it, and unlike Wang et al. 2003: luminance enters at every scale; the exponents are
    taken voxel by voxel, before the mean; l, c and s are clipped at 0 one by one; volumes and mask are padded
    with their last voxels to 97 voxels along each axis; halving is the mean of a voxel and those *before* it (0
    before the first), every second one kept, so that turning a volume round changes the value a little; and the
    mask is halved by keeping every second voxel. The axes are taken as they are stored: the challenge's files
    run to left, posterior, superior.

    Undefined (NaN) where a scale has no voxel of the mask 3 voxels or more from its faces.

    Args:
        prediction: in HU.
        reference: in HU.
        mask: True where a voxel counts. The published code fails without one.
        window: lowest and highest value.

    Raises:
        InputError: shapes differ, or the mask is empty.
    """
    check(prediction, reference, mask)
    short = [max(0, _SHORTEST - n) for n in reference.shape[1:]]
    widths = [(missing // 2, missing - missing // 2) for missing in short]
    x, y = (np.pad(_window_of(v, mask, window), widths, mode="edge") for v in (prediction, reference))
    inside = np.pad(mask.numpy(), widths, mode="edge")
    c1, c2 = _constants(window)
    score = 1.0
    for weight in MS_SSIM_WEIGHTS:
        core = np.zeros_like(inside)
        core[3:-3, 3:-3, 3:-3] = inside[3:-3, 3:-3, 3:-3]
        means, variances, covariance = _moments(x, y, core)
        if not covariance.size:
            return float("nan")
        roots = np.sqrt(variances.clip(min=0)).prod(axis=0)
        contrast = (2 * roots + c2) / (variances.sum(axis=0) + c2)
        structure = (covariance + c2 / 2) / (roots + c2 / 2)
        parts = (part.clip(min=0) for part in (_luminance(means, c1), contrast, structure))
        score *= float(np.clip(np.prod([part**weight for part in parts], axis=0).mean(), 0, 1))
        x, y, inside = _halve(x), _halve(y), inside[::2, ::2, ::2]
    return score


def _window_of(volume: Tensor, mask: Tensor | None, window: tuple[float, float]) -> np.ndarray:
    """Clipped, moved to begin at 0, and 0 outside the mask."""
    values = volume[0].double().clamp(*window) - window[0]
    return (values if mask is None else torch.where(mask, values, 0.0)).numpy()


def _constants(window: tuple[float, float]) -> tuple[float, float]:
    size = window[1] - window[0]
    return (0.01 * size) ** 2, (0.03 * size) ** 2


def _luminance(means: np.ndarray, c1: float) -> np.ndarray:
    return np.asarray((2 * means.prod(axis=0) + c1) / ((means**2).sum(axis=0) + c1))


def _moments(x: np.ndarray, y: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both means, both sample variances, and the sample covariance in the window around each voxel ``inside``."""

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(uniform_filter(values, _WINDOW)[inside])

    count = _WINDOW**3
    sample = count / (count - 1)
    means = np.stack([mean(x), mean(y)])
    variances = sample * (np.stack([mean(x * x), mean(y * y)]) - means**2)
    return means, variances, sample * (mean(x * y) - means.prod(axis=0))


def _halve(volume: np.ndarray) -> np.ndarray:
    """Every second voxel of the mean of a voxel and its neighbours before it, 0 before the first."""
    for axis in range(3):
        before = np.pad(volume, [(int(a == axis), 0) for a in range(3)])
        first, second = (before.take(range(start, volume.shape[axis] + start, 2), axis=axis) for start in (0, 1))
        volume = (first + second) / 2
    return volume
