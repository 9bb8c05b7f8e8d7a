"""Masks grown by a ball, exactly and many voxels at once: 64 of them are the bits of one number."""

from math import sqrt

import numpy as np
from jaxtyping import UInt64

from transmodal.shapes import Mask

Words = UInt64[np.ndarray, "X Y W"]
_TIE = 1 + 1e-6
"""A voxel at exactly the radius belongs to the ball, whatever its spacing rounds to."""


def dilated(mask: Mask, spacing: tuple[float, float, float], radius: float) -> Mask:
    """What lies within ``radius`` of a voxel of the mask.

    A ball is a heap of lines along the last axis, one for each step along the other two. So the mask is widened
    along the last axis by every length that occurs, and the widened masks are shifted and joined.

    Args:
        mask: True where something is; nothing is assumed beyond its faces.
        spacing: mm between voxels along each axis.
        radius: mm, from middle to middle of two voxels.
    """
    furthest = radius * _TIE
    wide = [_packed(mask)]
    for _ in range(int(furthest / spacing[2])):
        wide.append(_wider(wide[-1]))
    out = np.zeros_like(wide[0])
    for x in range(int(furthest / spacing[0]) + 1):
        layer = np.zeros_like(out)
        for y in range(int(furthest / spacing[1]) + 1):
            left = furthest**2 - (x * spacing[0]) ** 2 - (y * spacing[1]) ** 2
            if left < 0:
                break
            _join(layer, wide[int(sqrt(left) / spacing[2])], y, axis=1)
        _join(out, layer, x, axis=0)
    return np.unpackbits(out.view(np.uint8), axis=2, count=mask.shape[2], bitorder="little").view(bool)


def _packed(mask: Mask) -> Words:
    octets = np.packbits(mask, axis=2, bitorder="little")
    whole = np.zeros((*mask.shape[:2], -(-mask.shape[2] // 64) * 8), dtype=np.uint8)
    whole[..., : octets.shape[2]] = octets
    return whole.view("<u8")


def _wider(words: Words) -> Words:
    """By one voxel to both sides along the last axis, across the borders of words."""
    out = words | words << np.uint64(1) | words >> np.uint64(1)
    out[..., 1:] |= words[..., :-1] >> np.uint64(63)
    out[..., :-1] |= words[..., 1:] << np.uint64(63)
    return out


def _join(into: Words, words: Words, steps: int, axis: int) -> None:
    """Add the words, moved by so many steps to either side."""
    if steps >= words.shape[axis]:
        return
    first = (slice(None),) * axis
    ahead, behind = (*first, slice(steps, None)), (*first, slice(None, words.shape[axis] - steps))
    into[ahead] |= words[behind]
    if steps:
        into[behind] |= words[ahead]
