"""Tracts: where fibres of the white matter run, as one orientation tensor in every voxel.

A bundle is a smooth weight and a unit direction ``d`` in every voxel. Bundles that meet are averaged,
``T = (Σ w d dᵀ + w₀ I/3) / (Σ w + w₀)``: trace 1, one large eigenvalue where a bundle is alone, nearly equal ones
where bundles cross. The bundles' courses are simple curves (arcs, fans, straight runs) set by eye.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32

from transmodal.data.phantom.brain import arch
from transmodal.data.phantom.noise import Field, Noise
from transmodal.data.phantom.solids import Box, Place, tube

Tensor = Float32[np.ndarray, "6 X Y Z"]
"""Components xx, yy, zz, xy, xz, yz."""

_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
_ALONE = 0.25
"""Weight of fibres without a common direction."""
_Direction = tuple[Field | float, Field | float, Field | float]


def orientations(at: Place, noise: Noise) -> Tensor:
    """The orientation tensor in every voxel; without direction outside the brain.

    Args:
        at: where the voxels are.
        noise: of this subject; it bends and frays the bundles.
    """
    out = np.zeros((6, *at.x.shape), dtype=np.float32)
    out[:3] = np.float32(1 / 3)
    box = at.box((-68, -84, -74), (68, 82, 72))
    p = at.part(box)
    total = np.float32(_ALONE) * np.exp(np.float32(0.5) * noise("frayed", 16.0)[box])
    there = out[(slice(None), *box)]
    there[:] = 0
    there[:3] = total / 3
    for weight, direction in _bundles(p, box, noise):
        length = np.sqrt(sum(np.square(d) for d in direction)) + np.float32(1e-6)
        unit = [(d / length).astype(np.float32) for d in direction]
        weight = weight.astype(np.float32)
        for row, (a, b) in enumerate(_PAIRS):
            there[row] += weight * unit[a] * unit[b]
        total += weight
    there /= total
    return out


def _bundles(p: Place, box: Box, noise: Noise) -> Iterator[tuple[Field, _Direction]]:
    """(weight, direction) of every bundle. ``x`` is folded to the right half; ``side`` unfolds directions."""
    x, y, z = np.abs(p.x), p.y, p.z
    side = np.sign(p.x)
    ring = arch(p)
    up_y, up_z = (y + 4) / 36**2, (z - 1) / 23**2
    steep = np.sqrt(up_y**2 + up_z**2) + np.float32(1e-6)
    up_y, up_z = up_y / steep, up_z / steep
    # Callosal fibres cross the midline level and then climb outwards along parabolas, fanning at both ends.
    lift = (ring - 1) * 26 - np.float32(0.013) * x**2
    low = 1 / (1 + np.exp((np.where(y < -20, 3, -6) - z) / 2))
    yield 2.2 * np.exp(-((lift / (4 + 0.22 * x)) ** 2) - (x / 42) ** 4) * low, (
        np.ones_like(x), np.float32(0.026) * p.x * up_y, np.float32(0.026) * p.x * up_z,
    )  # fmt: skip
    # Cingulum: along the arch, just above it.
    yield 1.3 * np.exp(-(((ring - 1.22) * 26 / 3.5) ** 2) - ((x - 8) / 4) ** 2) * low, (0.0 * x, -up_z, up_y)
    # Corticospinal tract and corona radiata: from the stem through the internal capsule, then a fan.
    stalk = tube(x, y, z, [(5, -15, -60, 3), (7, -9, -34, 4), (12, -13, -12, 3), (21, -12, 4, 3), (25, -12, 20, 4)])
    yield 1.9 * _fade(stalk, 4), (side * np.clip(0.35 + 0.02 * z, 0, 0.6), 0.0 * x, np.ones_like(x))
    fan = np.exp(-(((x - 25 - 0.1 * (z - 15)) / (7 + 0.1 * np.clip(z, 0, 60))) ** 2)) / (1 + np.exp((12 - z) / 5))
    yield 1.0 * fan * np.exp(-(((y + 8) / 42) ** 4)), (side * (x - 8), y + 10, z + 14)
    # Limbs of the internal capsule to the front and the thalamic radiation to the back.
    limb = tube(x, y, z, [(15, 36, 8, 5), (20, 12, 6, 3), (18, 0, 5, 3)])
    yield 1.2 * _fade(limb, 4), (side * 0.1, np.ones_like(x), 0.05 + 0 * x)
    optic = tube(x, y, z, [(22, -22, 2, 3), (33, -36, 4, 4), (28, -66, 4, 5)])
    yield 1.5 * _fade(optic, 4), (side * np.clip(0.6 + 0.03 * (y + 22), -0.4, 0.6), -np.ones_like(x), 0.02 + 0 * x)
    # Association bundles: superior and inferior longitudinal, uncinate.
    slf = tube(x, y, z, [(34, 36, 18, 3), (37, 8, 24, 4), (37, -24, 24, 4), (40, -44, 10, 4), (46, -30, -8, 3)])
    turn = np.clip((-y - 24) / 22, 0, 1)
    yield 1.4 * _fade(slf, 5), (side * 0.1, 1 - 0.6 * turn, -0.9 * turn)
    ilf = tube(x, y, z, [(40, 20, -24, 4), (40, -20, -16, 4), (32, -62, -4, 5)])
    yield 1.2 * _fade(ilf, 5), (side * np.clip((y + 20) / 60, -0.4, 0), np.ones_like(x), -0.2 + 0 * x)
    uncinate = tube(x, y, z, [(24, 38, -6, 3), (31, 18, -10, 3), (34, 12, -22, 3)])
    yield 1.1 * _fade(uncinate, 4), (side * 0.4, np.ones_like(x), 0.5 + 0 * x)
    # Cerebellar peduncles: across the pons, and back into the cerebellum.
    pons = tube(x, y, z, [(0, -4, -33, 4), (14, -16, -35, 5), (22, -38, -38, 5)])
    back = np.clip((x - 8) / 10, 0, 1)
    yield 1.5 * _fade(pons, 4), (np.ones_like(x), -side * 1.5 * back, 0.0 * x)
    # Elsewhere fibres run towards the cortex, swaying.
    yield 0.45 * np.ones_like(x), (
        p.x + 9 * noise("sway x", 18.0)[box], 0.8 * y + 9 * noise("sway y", 18.0)[box],
        z + 9 * noise("sway z", 18.0)[box],
    )  # fmt: skip


def _fade(distance: Field, width_mm: float) -> Field:
    """1 in a tube, falling smoothly outside it."""
    return np.exp(-((np.maximum(distance, 0) / np.float32(width_mm)) ** 2))
