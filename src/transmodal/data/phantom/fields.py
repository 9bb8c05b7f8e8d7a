"""Fields: smooth random functions of space, the raw material of heads that nobody has."""

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage
from scipy.interpolate import make_interp_spline

from transmodal.data.grid import Grid

Field = Float32[np.ndarray, "X Y Z"]


def stretch(lattice: Float[np.ndarray, "A B D"], shape: tuple[int, int, int], order: int = 1) -> Field:
    """A lattice of values enlarged to ``shape`` by splines of an order, the corners on the corners.

    One small matrix product for each axis: much faster than interpolating voxel by voxel.
    """
    for axis, size in enumerate(shape):
        knots = lattice.shape[axis]
        spline = make_interp_spline(np.arange(knots), np.eye(knots), k=min(order, knots - 1))
        weights = spline(np.linspace(0, knots - 1, size)).astype(np.float32)
        lattice = np.moveaxis(np.tensordot(weights, lattice, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(lattice, dtype=np.float32)


def standard(field: Float[np.ndarray, "X Y Z"]) -> Field:
    """The field with mean 0 and standard deviation 1."""
    return ((field - field.mean()) / (field.std() + 1e-6)).astype(np.float32)


def few_waves(grid: Grid, width_mm: float, rng: np.random.Generator) -> Field:
    """A very smooth standard field: a cubic spline through random values about ``width_mm`` apart."""
    size = [max(2, round(n * s / width_mm) + 1) for n, s in zip(grid.shape, grid.spacing, strict=True)]
    return standard(stretch(rng.standard_normal(size, dtype=np.float32), grid.shape, order=3))


class Noise:
    """Standard fields with features of a given size, in the order in which they are asked for.

    Args:
        grid: where.
        rng: where chance comes from.
    """

    def __init__(self, grid: Grid, rng: np.random.Generator):
        self.grid, self.rng = grid, rng

    def __call__(self, width_mm: float) -> Field:
        """A field with features of about ``width_mm``."""
        sigma = width_mm / np.asarray(self.grid.spacing)
        coarse = np.maximum(1.0, sigma / 1.5)
        size = [int(np.ceil(n / c)) + 1 for n, c in zip(self.grid.shape, coarse, strict=True)]
        rough = self.rng.standard_normal(size, dtype=np.float32)
        return standard(stretch(ndimage.gaussian_filter(rough, sigma / coarse), self.grid.shape))
