"""The brain: a folded cortex, cerebellum, stem, deep nuclei and ventricles, inside a cavity full of fluid.

The folds are the zero set of noise of one wavelength, read in the direction from the middle of the brain, so that
sulci run inwards; grey matter is what lies within a few millimetres of the surface that they make. Sizes and places
follow a stereotactic atlas roughly (millimetres around the anterior commissure); nothing is measured.
"""

from dataclasses import dataclass

import numpy as np

from transmodal.data.phantom.noise import Field, Noise, Ripples
from transmodal.data.phantom.solids import Box, Canvas, Place, ellipsoid, join, tube

_FORAMEN_Z = -66.0
_CALLOSUM = (-4.0, 1.0, 36.0, 23.0)
"""Middle (y, z) and radii of the arch that the corpus callosum follows."""
_FOLDS_MM = 25.0
_RADII = (64.0, 79.0, 59.0)


@dataclass(frozen=True, eq=False)
class Lobes:
    """Distances in mm, negative inside.

    Attributes:
        cerebrum: its smooth hull; cerebellum: likewise; stem: brain stem and spinal cord.
        cranium: the cavity of the skull and the spinal canal.
    """

    cerebrum: Field
    cerebellum: Field
    stem: Field
    cranium: Field


def lobes(at: Place, noise: Noise) -> Lobes:
    """The hulls of the parts of the brain."""
    x, y, z = np.abs(at.x), at.y, at.z
    upper = ellipsoid(x, y, z, (0, -1, 9), _RADII) + np.float32(1.2) * noise("cerebrum", 26.0)
    floor = np.float32(-17) + 9 * np.clip((y - 8) / 34, 0, 1)
    upper = -join(-upper, z - floor, 8)
    temporal = ellipsoid(x, y - 0.15 * z, z, (41, 4, -21), (21, 38, 20))
    cerebrum = join(upper, temporal, 7)
    cerebellum = join(
        ellipsoid(x, y, z, (22, -48, -38), (28, 31, 23)), ellipsoid(x, y, z, (0, -50, -38), (16, 27, 23)), 8
    )
    cerebellum = -join(-cerebellum, -(z + 19.5 + 0.1 * (y + 48) + 0.1 * x), 5)
    stem = tube(x, y, z, [(0, -14, -4, 12), (0, -13, -20, 12), (0, -13, -34, 14), (0, -22, -54, 9), (0, -26, -70, 7)])
    stem = join(stem, tube(x, y, z, [(0, -26, -70, 6.5), (0, -34, -130, 5.5)]), 3)
    parts = join(join(cerebrum, cerebellum, 16), stem - 1.5, 14)
    return Lobes(cerebrum, cerebellum, stem, (parts - 1.6).astype(np.float32))


def paint_brain(canvas: Canvas, at: Place, hulls: Lobes, noise: Noise) -> None:
    """Everything inside the skull, over what is there."""
    canvas.paint("csf", np.maximum(hulls.cranium, _FORAMEN_Z - at.z))
    canvas.paint("spinal_fluid", np.maximum(hulls.cranium, at.z - _FORAMEN_Z))
    box = at.box((-72, -88, -72), (72, 86, 74))
    p = at.part(box)
    ripples = _folds(p, noise)
    grey = np.float32(2.9) + np.float32(0.3) * noise("ribbon", 20.0)[box]
    _cerebellum(canvas, p, box, hulls.cerebellum[box], noise)
    matter = _cerebrum(p, hulls.cerebrum[box], ripples, noise, box)
    canvas.paint("grey", matter, box)
    canvas.paint("white", matter + grey, box)
    stem = hulls.stem[box]
    canvas.paint("white", np.maximum(stem, _FORAMEN_Z - p.z), box)
    canvas.paint("cord", np.maximum(hulls.stem, at.z - _FORAMEN_Z))
    _callosum(canvas, at)
    _nuclei(canvas, at, noise)
    _ventricles(canvas, at, noise)


def arch(at: Place) -> Field:
    """Radius in the sagittal plane, 1 on the corpus callosum, less below and more above it."""
    y0, z0, ry, rz = _CALLOSUM
    return np.hypot((at.y - np.float32(y0)) / np.float32(ry), (at.z - np.float32(z0)) / np.float32(rz))


def _folds(at: Place, noise: Noise) -> Field:
    """Distance in mm to the nearest sulcal sheet, unsigned."""
    even = Ripples(noise.stream("folds"), _FOLDS_MM)
    odd = Ripples(noise.stream("odd folds"), _FOLDS_MM)
    z = at.z - 4
    radius = np.sqrt((at.x / np.float32(0.9)) ** 2 + (at.y / np.float32(1.1)) ** 2 + (z / np.float32(0.85)) ** 2)
    # A little of the true depth is left in, so that sulci bend on their way down.
    pull = np.float32(0.12) + np.float32(0.88 * 68) / np.maximum(radius, 6)
    bend = np.float32(1.0)
    x, y, z = at.x * pull * bend, at.y * pull * bend, z * pull * bend
    field = np.float32(0.8) * even(np.abs(x), y, z) + np.float32(0.6) * odd(x, y, z)
    slope = np.zeros_like(field)
    for axis, n in enumerate(field.shape):
        if n > 1:
            slope += np.gradient(field, at.voxel, axis=axis).astype(np.float32) ** 2
    return np.abs(field) / np.maximum(np.sqrt(slope), np.float32(0.06))


def _cerebrum(at: Place, hull: Field, folds: Field, noise: Noise, box: Box) -> Field:
    """Distance to the pial surface, negative in grey and white matter."""
    rng = noise.stream("sulci")
    x, y, z = np.abs(at.x), at.y, at.z
    deep = -hull
    reach = np.float32(rng.uniform(14, 18)) + np.float32(4) * noise("sulci", 28.0)[box]
    width = np.float32(rng.uniform(0.7, 1.3)) * np.clip(1.25 - deep / 26, 0.45, 1.25)
    surface = np.minimum(-(hull + 0.8), _outside(folds - width, deep - reach))
    ring = (arch(at) - np.float32(1.12)) * 24
    fissure = _outside(x - np.float32(rng.uniform(0.9, 1.5)), -ring, z * 0 - 20)
    rise = z + 7 + 0.32 * (y - 18)
    sylvian = _outside(np.abs(rise) - width - 0.3, 36 - x, np.abs(y + 2) - 40)
    insula = _outside(np.abs(x - 37.5 + 0.06 * np.abs(y)) - width, np.abs(rise - 3) - 12, np.abs(y - 3) - 21)
    for cut in (fissure, sylvian, insula):
        surface = np.minimum(surface, cut)
    return -surface


def _outside(*bounds: Field) -> Field:
    """Distance to where all bounds are negative: positive outside, negative inside."""
    inside = np.maximum.reduce(bounds)
    square = np.zeros_like(inside)
    for bound in bounds:
        square += np.maximum(bound, 0) ** 2
    return np.where(inside > 0, np.sqrt(square), inside).astype(np.float32)


def _cerebellum(canvas: Canvas, at: Place, box: Box, hull: Field, noise: Noise) -> None:
    """Leaves fan out from the fourth ventricle; the white matter between them is the tree of life."""
    y, z = at.y + 26, at.z + 38
    radius = np.hypot(y, z)
    phase = 15 * np.arctan2(z, -y) + np.float32(0.9) * noise("leaves", 14.0)[box]
    leaf = np.abs(np.sin(phase / 2)) * 2 / 15 * np.maximum(radius, 6)
    matter = -np.minimum(-(hull + 0.6), _outside(leaf - np.float32(0.45), -hull - 13))
    middle = np.minimum(matter, hull + 9)
    canvas.paint("grey", matter, box)
    canvas.paint("white", np.maximum(middle + 2.4, hull + 3), box)


def _callosum(canvas: Canvas, at: Place) -> None:
    box = at.box((-14, -46, -12), (14, 38, 30))
    p = at.part(box)
    ring = (arch(p) - 1) * 24
    ends = np.maximum(-8 - p.z - 0.15 * (p.y + 40), np.where(p.y < -20, 2 - p.z, -10))
    canvas.paint("white", np.maximum(np.maximum(np.abs(ring) - 2.8, np.abs(p.x) - 10), ends), box)


def _nuclei(canvas: Canvas, at: Place, noise: Noise) -> None:
    box = at.box((-44, -46, -32), (44, 40, 28))
    p = at.part(box)
    wobble = np.float32(0.5) * noise("nuclei", 12.0)[box]
    x, y, z = np.abs(p.x), p.y, p.z
    thalamus = ellipsoid(x - 0.12 * (y + 15) * -1, y, z, (11.5, -15, 6), (8.5, 15, 9))
    head = ellipsoid(x, y, z, (15.5, 18, 5), (5.5, 12, 9.5))
    caudate = join(head, tube(x, y, z, [(15, 10, 14, 4), (17, -6, 18, 3), (22, -26, 15, 2.2)]), 4)
    putamen = ellipsoid(x + 0.22 * (y - 4) - 0.1 * z, y, z, (27.5, 4, 2), (5.2, 16.5, 10.5))
    pallidum = ellipsoid(x + 0.3 * (y - 2), y, z, (20.5, 2, -1), (4.2, 9.5, 6.5))
    hippocampus = tube(x, y, z, [(25, -6, -20, 5.5), (29, -20, -14, 4.5), (25, -36, -3, 3.5)])
    amygdala = ellipsoid(x, y, z, (23, 3, -20), (8, 8, 7.5))
    red = ellipsoid(x, y, z, (5.5, -20, -9), (3.5, 4, 4))
    for tissue, solid in (
        ("thalamus", thalamus), ("caudate", caudate), ("putamen", putamen), ("pallidum", pallidum),
        ("grey", np.minimum(hippocampus, amygdala)), ("pallidum", red),
    ):  # fmt: skip
        canvas.lay(tissue, canvas.cover(solid + wobble), box, over=("white", "grey"))


def _ventricles(canvas: Canvas, at: Place, noise: Noise) -> None:
    wide = float(noise.stream("ventricles").uniform(0.75, 1.35))
    box = at.box((-42, -64, -48), (42, 36, 28))
    p = at.part(box)
    x, y, z = np.abs(p.x), p.y, p.z
    body = [(12, 29, 3, 3), (9, 21, 11, 5), (8, 4, 17, 5), (10, -16, 17, 5), (18, -33, 9, 6.5)]
    temporal = [(18, -33, 9, 6.5), (29, -30, -5, 4), (34, -12, -16, 2.8), (31, 2, -20, 2.2)]
    occipital = [(18, -33, 9, 6.5), (25, -46, 3, 3.5), (23, -60, 2, 1.5)]
    tubes = [tube(x, y, z, [(*q[:3], q[3] * wide) for q in chain]) for chain in (body, temporal, occipital)]
    # Up to the corpus callosum, and a thin septum between the two sides.
    lateral = np.maximum(join(join(tubes[0], tubes[1], 4), tubes[2], 4), (arch(p) - np.float32(0.9)) * 24 * (x < 16))
    lateral = np.maximum(lateral, np.float32(0.6) - x)
    third = np.maximum(ellipsoid(x, y, z, (0, -6, -1), (1.6 * wide + 1.2, 14, 13)), x - 1.8 * wide)
    aqueduct = tube(x, y, z, [(0, -20, -8, 1.2), (0, -26, -22, 1.2), (0, -29, -32, 2)])
    fourth = ellipsoid(x, y, z, (0, -30, -38), (7.5 * wide, 5 * wide, 10))
    solid = np.minimum(np.minimum(lateral, third), np.minimum(aqueduct, fourth)).astype(np.float32)
    canvas.paint("ventricle", solid, box)
