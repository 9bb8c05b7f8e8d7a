"""Smooth random fields of an anatomy: the same in millimetres on any grid, and the same in any order of calls."""

import zlib

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage

Field = Float32[np.ndarray, "X Y Z"]

_REACH_MM = 140.0
"""Half of the cube after which a field repeats; larger than a head."""
_SPREAD = 0.479 ** (3 / 2)
"""Standard deviation of a sum of cubic B-splines with unit normal weights in 3D, averaged over place."""


class Noise:
    """Fields with mean about 0 and standard deviation about 1, each with a name of its own.

    A field is a cubic B-spline on a lattice with random weights. The weights depend on the seed and the name
    only, so that a finer grid shows the same subject in more detail.
    """

    def __init__(self, shape: tuple[int, int, int], spacing: tuple[float, float, float], *seed: int):
        self.shape, self.spacing, self.seed = shape, spacing, seed

    def stream(self, name: str) -> np.random.Generator:
        """The random numbers that belong to ``name``."""
        return np.random.default_rng([*self.seed, zlib.crc32(name.encode())])

    def __call__(self, name: str, width_mm: float) -> Field:
        """The field called ``name``, with features of about ``width_mm``."""
        knots = 2 * int(np.ceil(_REACH_MM / width_mm))
        field = self.stream(name).standard_normal((knots, knots, knots), dtype=np.float32)
        for n, spacing in zip(self.shape, self.spacing, strict=True):
            place = (np.arange(n) - (n - 1) / 2) * spacing / width_mm
            # The first axis is used up and its voxels become the last: after three rounds the order is right.
            field = np.tensordot(field, _bsplines(place, knots), axes=(0, 1))
        return np.ascontiguousarray(field / np.float32(_SPREAD))


def _bsplines(place: Float[np.ndarray, "N"], knots: int) -> Float32[np.ndarray, "N K"]:
    """Weights of the four cubic B-splines that reach each place; the lattice is a ring."""
    base = np.floor(place).astype(int)
    t = place - base
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    table = np.zeros((len(place), knots), dtype=np.float32)
    rows = np.arange(len(place))
    for step, weight in enumerate(weights):
        np.add.at(table, (rows, (base + step - 1) % knots), weight / 6)
    return table


class Ripples:
    """Noise of one wavelength, whose zero set is a labyrinth of even spacing: sulci seen from above."""

    def __init__(self, rng: np.random.Generator, wavelength_mm: float, *, step_mm: float = 4.0, half_mm: float = 96.0):
        n = 2 * round(half_mm / step_mm)
        kx, kz = np.fft.fftfreq(n, step_mm), np.fft.rfftfreq(n, step_mm)
        k = np.sqrt(kx[:, None, None] ** 2 + kx[None, :, None] ** 2 + kz[None, None, :] ** 2) * wavelength_mm
        spectrum = np.fft.rfftn(rng.standard_normal((n, n, n))) * np.exp(-(((k - 1) / 0.3) ** 2))
        field = np.fft.irfftn(spectrum, (n, n, n))
        self.weights = ndimage.spline_filter((field / field.std()).astype(np.float32), mode="grid-wrap")
        self.step, self.middle = step_mm, n / 2

    def __call__(self, x: Field, y: Field, z: Field) -> Field:
        """The noise at places in millimetres."""
        index = [axis / np.float32(self.step) + np.float32(self.middle) for axis in (x, y, z)]
        out = np.empty(x.shape, dtype=np.float32)
        ndimage.map_coordinates(self.weights, index, output=out, order=3, mode="grid-wrap", prefilter=False)
        return out
