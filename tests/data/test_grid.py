import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transmodal.data.grid import Grid

OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.1) @ np.diag([-0.9, 0.9, 2.5]), [20.0, -31.0, 7.0]
)
SHEARED = np.array([[1.0, 0.2, 0, 3], [0, 1.1, 0.1, -4], [0.05, 0, 2, 5], [0, 0, 0, 1]])
PIR = np.array([[0, 0, 1.0, -9], [-2.0, 0, 0, 8], [0, -3.0, 0, 7], [0, 0, 0, 1]])


def centres(grid: Grid) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return nib.affines.apply_affine(grid.affine, index)


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED, PIR])
def test_canonical_keeps_every_voxel_where_it_is(affine):
    grid = Grid((4, 5, 6), affine)
    turned = grid.canonical()
    assert turned.orientation == "RAS"
    np.testing.assert_allclose(
        np.sort(centres(grid).reshape(-1, 3).round(9), axis=0),
        np.sort(centres(turned).reshape(-1, 3).round(9), axis=0),
    )


@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED, PIR])
def test_canonical_agrees_with_nibabel(affine):
    grid = Grid((4, 5, 6), affine)
    image = nib.as_closest_canonical(nib.Nifti1Image(np.zeros(grid.shape, np.uint8), affine))
    assert grid.canonical().shape == image.shape
    np.testing.assert_allclose(grid.canonical().affine, image.affine, atol=1e-6)


def test_spacing_and_centre_of_an_oblique_grid():
    grid = Grid((4, 5, 6), OBLIQUE)
    np.testing.assert_allclose(grid.spacing, (0.9, 0.9, 2.5), rtol=1e-6)
    np.testing.assert_allclose(grid.centre, centres(grid).reshape(-1, 3).mean(axis=0), atol=1e-9)


@given(st.tuples(*[st.floats(0.3, 5)] * 3), st.tuples(*[st.integers(1, 40)] * 3))
def test_with_spacing_keeps_centre_and_box(spacing, shape):
    grid = Grid(shape, OBLIQUE)
    other = grid.with_spacing(spacing)
    np.testing.assert_allclose(other.centre, grid.centre, atol=1e-9)
    for n, old, m, new, asked in zip(grid.shape, grid.spacing, other.shape, other.spacing, spacing, strict=True):
        assert new == pytest.approx(asked, rel=2e-3)
        assert (
            abs(n * old - m * new) <= max(new, 0.002 * n * old) * (0.5 if m > 1 else 1) + 0.002 * n * old or m == 1
        )


def test_same_as_counts_millimetres_at_the_far_corner():
    grid = Grid((100, 100, 100), np.eye(4))
    stretched = np.diag([1.0002, 1, 1, 1])
    assert not grid.same_as(Grid((100, 100, 100), stretched))
    assert grid.same_as(Grid((100, 100, 100), stretched), tolerance_mm=0.03)
    assert not grid.same_as(Grid((100, 100, 99), np.eye(4)))


def test_describe():
    assert Grid((4, 5, 6), PIR).describe() == "4×5×6 voxels of 2×3×1 mm, PIR"
