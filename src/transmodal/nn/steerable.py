"""A complex steerable pyramid of an image: bands by scale and orientation, by masks on its spectrum.

References:
    A Parametric Texture Model Based on Joint Statistics of Complex Wavelet Coefficients (Portilla and Simoncelli,
    2000), appendix A. https://doi.org/10.1023/A:1026553619983
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

Spectrum = TypeVar("Spectrum", Tensor, np.ndarray)


@dataclass(frozen=True)
class Pyramid:
    """The bands of a batch of images.

    Attributes:
        high: what lies beyond the finest scale, real.
        bands: for each scale, fine to coarse, one complex band for each orientation.
        low: what lies below the coarsest scale, real.
    """

    high: Float[Tensor, "B X Y"]
    bands: tuple[tuple[Complex[Tensor, "B _ _"], ...], ...]
    low: Float[Tensor, "B _ _"]


def steerable_pyramid(
    images: Float[Tensor, "B X Y"], *, scales: int = 3, orientations: int = 4, decimated: bool = True
) -> Pyramid:
    """Split images into bands.

    Args:
        images: sizes that are multiples of ``2 ** scales``.
        scales: how many.
        orientations: at each scale.
        decimated: whether every scale has half the voxels of the one before along each axis; False keeps the size
            of the image.

    Raises:
        ValueError: a size that cannot be halved so often.
    """
    size = (images.shape[1], images.shape[2])
    if any(n % 2**scales for n in size):
        raise ValueError(f"{scales} scales need sizes that are multiples of {2**scales}, these images have {size}")
    spectrum = torch.fft.fftshift(torch.fft.fft2(images), dim=(1, 2))
    high = _image(spectrum * _as(_radial(size, 0, 0)[0], images)).real
    spectrum = spectrum * _as(_radial(size, 0, 0)[1], images)
    bands, halved = [], 0
    for scale in range(1, scales + 1):
        above, below = _radial(size, halved, -scale)
        turned = [
            spectrum * _as(above * _angular(size, halved, b, orientations), images) * (-1j) ** (orientations - 1)
            for b in range(orientations)
        ]
        bands.append(tuple(_image(band) for band in turned))
        if decimated:
            halved += 1
            spectrum, below = _middle(spectrum), _middle(below)
        spectrum = spectrum * _as(below, images)
    return Pyramid(high, tuple(bands), _image(spectrum).real)


def _image(spectrum: Tensor) -> Tensor:
    return torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1)))


def _as(mask: np.ndarray, images: Tensor) -> Tensor:
    return torch.as_tensor(mask).to(images)


def _middle(spectrum: Spectrum) -> Spectrum:
    """The low half of the frequencies along both axes; the constant is at n // 2 before and after."""
    rows, columns = (slice(n // 2 - n // 2 // 2, n // 2 - n // 2 // 2 + n // 2) for n in spectrum.shape[-2:])
    return spectrum[..., rows, columns]


@lru_cache(maxsize=32)
def _plane(size: tuple[int, int], halved: int) -> tuple[np.ndarray, np.ndarray]:
    """log₂ of the radius (1 is the highest frequency along an axis) and the angle of every frequency."""
    rows, columns = ((np.arange(n) - n // 2) / (n / 2) for n in size)
    radius = np.hypot(rows[:, None], columns[None])
    middle = (size[0] // 2, size[1] // 2)
    radius[middle] = radius[middle[0], middle[1] - 1]
    octaves, angle = np.log2(radius), np.arctan2(*np.broadcast_arrays(rows[:, None], columns[None]))
    for _ in range(halved):
        octaves, angle = _middle(octaves), _middle(angle)
    return octaves, angle


@lru_cache(maxsize=32)
def _radial(size: tuple[int, int], halved: int, edge: int) -> tuple[np.ndarray, np.ndarray]:
    """What passes above 2 ** ``edge``, and what below; their squares sum to 1."""
    octave = np.clip(_plane(size, halved)[0] - edge, -1, 0)
    high = np.abs(np.cos(np.pi / 2 * octave))
    return high, np.sqrt(1 - high**2)


@lru_cache(maxsize=64)
def _angular(size: tuple[int, int], halved: int, number: int, orientations: int) -> np.ndarray:
    """One orientation on its half of the plane, for an analytic band."""
    order = orientations - 1
    scale = 2 ** (2 * order) * math.factorial(order) ** 2 / (orientations * math.factorial(2 * order))
    angle = _plane(size, halved)[1] - np.pi * number / orientations
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    return np.where(np.abs(angle) < np.pi / 2, 2 * math.sqrt(scale) * np.cos(angle) ** order, 0.0)
