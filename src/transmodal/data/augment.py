"""Augment: small changes to a training sample that leave it a possible head.

Geometry is changed alike for sources, targets, mask and labels; contrast only in the sources, because the target's
is what has to be learnt. Chance comes from one generator that is passed in.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Integer
from scipy import ndimage

from transmodal.data.sampling import Sampling


@dataclass(frozen=True, eq=False)
class Sample:
    """One training sample, channels first.

    Attributes:
        source: normalised sources.
        target: normalised targets.
        mask: where voxels count.
        labels: label map, or None.
        extent: see :class:`~transmodal.data.batch.Batch`.
        background: normalised empty space of every source channel, then of every target channel.
        contrast: which source channels may change their contrast: those that are there and lie in [-1, 1].
        spacing: mm between voxels along the axes that the network sees.
    """

    source: Float32[np.ndarray, "Cin *N"]
    target: Float32[np.ndarray, "Cout *N"]
    mask: Bool[np.ndarray, "1 *N"]
    labels: Integer[np.ndarray, "1 *N"] | None
    extent: Float32[np.ndarray, "3 2"]
    background: tuple[float, ...]
    contrast: tuple[bool, ...]
    spacing: tuple[float, ...]


def augment(sample: Sample, sampling: Sampling, axis: int | None, rng: np.random.Generator) -> Sample:
    """The sample after the changes that ``sampling`` asks for.

    Args:
        sample: as it was cut.
        sampling: flip, rotate and gamma.
        axis: the slice's axis, or None for a patch.
        rng: where chance comes from; as many numbers are drawn whatever they decide.
    """
    flip, angle, gamma = rng.random(), rng.uniform(-1, 1), rng.uniform(-1, 1)
    if axis != 0 and flip < sampling.flip:
        sample = _flipped(sample)
    if sampling.rotate:
        sample = _rotated(sample, sampling.rotate * angle)
    if sampling.gamma:
        source, which = sample.source.copy(), np.array(sample.contrast)
        power = math.exp(gamma * math.log1p(sampling.gamma))
        source[which] = 2 * np.clip((source[which] + 1) / 2, 0, 1) ** np.float32(power) - 1
        sample = replace(sample, source=source)
    return sample


def _flipped(sample: Sample) -> Sample:
    """Left becomes right: X is the first axis of a patch, and of an axial or coronal slice.

    ``extent`` is where the window lies in the mirrored head, so that it still runs from left to right.
    """

    def turn(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(values[:, ::-1])

    extent = sample.extent.copy()
    extent[0] = 1 - extent[0, ::-1]
    return replace(
        sample,
        source=turn(sample.source),
        target=turn(sample.target),
        mask=turn(sample.mask),
        labels=None if sample.labels is None else turn(sample.labels),
        extent=extent,
    )


def _rotated(sample: Sample, degrees: float) -> Sample:
    """Turned in millimetres about the middle; ``extent`` keeps describing the window before the turn."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    scale = np.diag(sample.spacing)
    matrix = np.linalg.inv(scale) @ np.array([[cosine, -sine], [sine, cosine]]) @ scale
    middle = (np.array(sample.mask.shape[1:]) - 1) / 2
    offset = middle - matrix @ middle

    def turn(values: np.ndarray, order: int, fill: float) -> np.ndarray:
        turned = np.empty_like(values)
        for channel, out in zip(values, turned, strict=True):
            degree: Any = order
            ndimage.affine_transform(channel, matrix, offset, output=out, order=degree, cval=fill)
        return turned

    fills = iter(sample.background)

    def image(values: np.ndarray) -> np.ndarray:
        return np.concatenate([turn(channel[None], 1, next(fills)) for channel in values])

    source, target = image(sample.source), image(sample.target)
    return replace(
        sample,
        source=source,
        target=target,
        mask=turn(sample.mask.astype(np.uint8), 0, 0.0).astype(bool),
        labels=None if sample.labels is None else turn(sample.labels, 0, 0.0),
    )
