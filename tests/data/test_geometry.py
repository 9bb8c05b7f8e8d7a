import nibabel as nib
import nibabel.processing
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from transmodal.data.geometry import crop, inside, overlap, resample, resample_labels
from transmodal.data.grid import Grid
from transmodal.data.volume import Volume

ROTATED = nib.eulerangles.euler2mat(0.3, -0.2, 0.1)
OBLIQUE = nib.affines.from_matvec(ROTATED @ np.diag([-0.9, 1.1, 1.5]), [9.0, -8.0, -7.0])
SHEARED = np.array([[1.0, 0.2, 0, -8], [0, 1.1, 0.1, -9], [0.05, 0, 1.2, -7], [0, 0, 0, 1]])
RNG = np.random.default_rng(0)


def volume(shape=(14, 16, 12), affine=OBLIQUE, channels=1):
    return Volume(RNG.normal(size=(channels, *shape)).astype(np.float32), Grid(shape, affine))


def to_itk(v: Volume) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(v.data[0].transpose(2, 1, 0))
    place(image, v.grid)
    return image


def place(image: SimpleITK.Image, grid: Grid) -> None:
    image.SetSpacing(grid.spacing)
    image.SetDirection((grid.affine[:3, :3] / np.array(grid.spacing)).ravel().tolist())
    image.SetOrigin(grid.affine[:3, 3].tolist())


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(
    "target", [nib.affines.from_matvec(0.6 * np.eye(3), [-6, -5, -7]), SHEARED @ np.diag([0.6, 0.6, 0.6, 1.0])]
)
def test_interpolation_agrees_with_simpleitk(order, target):
    """On finer grids, where nothing is smoothed; a voxel on the very edge may fall either way."""
    source, grid = volume(), Grid((21, 19, 25), target)
    method = SimpleITK.sitkLinear if order else SimpleITK.sitkNearestNeighbor
    reference = SimpleITK.Image(*grid.shape, SimpleITK.sitkFloat32)
    place(reference, grid)
    theirs = SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(to_itk(source), reference, SimpleITK.Transform(), method, -9.0)
    ).transpose(2, 1, 0)
    ours = resample(source, grid, order=order, fill=-9.0).data[0]
    assert 0.2 < (theirs != -9).mean() < 1
    assert (np.abs(ours - theirs) < 2e-4).mean() > 0.998


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED])
def test_a_linear_field_in_millimetres_is_reproduced(affine, order):
    """f(x, y, z) = 3 + 2x - y + z/2 survives any affine resampling away from the edge, smoothing included."""

    def field(grid: Grid) -> np.ndarray:
        index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
        return nib.affines.apply_affine(grid.affine, index) @ np.array([2.0, -1.0, 0.5]) + 3

    grid = Grid((30, 30, 30), affine)
    source = Volume(field(grid)[None].astype(np.float32), grid)
    for spacing in (0.7, 2.2):
        target = Grid((6, 6, 6), nib.affines.from_matvec(np.diag([spacing] * 3), grid.centre - 2.5 * spacing))
        np.testing.assert_allclose(resample(source, target, order=order).data[0], field(target), atol=2e-3)


def test_the_same_grid_leaves_values_untouched():
    source = volume(channels=3)
    moved = Grid(source.grid.shape, source.affine + 1e-6)
    result = resample(source, moved)
    assert result.data is source.data
    assert result.grid is moved


@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 2, 0), (0, 1, 2)])
def test_permuted_and_flipped_axes_are_exact(axes):
    source = volume(channels=2)
    turn = np.zeros((4, 4))
    for new, old in enumerate(axes):
        turn[old, new] = -1 if new != 1 else 1
        turn[old, 3] = source.grid.shape[old] - 1 if new != 1 else 0
    turn[3, 3] = 1
    shape = tuple(source.grid.shape[a] for a in axes)
    result = resample(source, Grid(shape, source.affine @ turn))
    expected = source.data.transpose(0, *[1 + a for a in axes])[:, ::-1, :, ::-1]
    np.testing.assert_array_equal(result.data, expected)
    back = resample(result, source.grid)
    np.testing.assert_array_equal(back.data, source.data)


def test_canonical_by_resampling_is_canonical_by_reorientation():
    source = volume(affine=np.array([[0, 0, 1.0, -9], [-2.0, 0, 0, 8], [0, -3.7, 0, 7], [0, 0, 0, 1]]))
    np.testing.assert_array_equal(resample(source, source.grid.canonical()).data, source.canonical().data)


def test_cropping_and_padding_by_whole_voxels_is_exact():
    source = volume()
    part = crop(source.grid, ((2, 9), (0, 5), (-3, 4)))
    result = resample(source, part, fill=-9.0)
    np.testing.assert_array_equal(result.data[0, :, :, 3:], source.data[0, 2:9, 0:5, :4])
    assert (result.data[0, :, :, :3] == -9).all()
    edge = resample(source, part).data[0]
    np.testing.assert_array_equal(edge[:, :, 0], source.data[0, 2:9, 0:5, 0])


def test_fill_is_used_from_half_a_voxel_outside_on():
    source = Volume(np.full((1, 4, 4, 4), 5, np.float32), Grid((4, 4, 4), np.eye(4)))
    target = Grid((10, 4, 4), nib.affines.from_matvec(np.diag([0.4, 1, 1]), [-0.6, 0, 0]))
    values = resample(source, target, fill=0.0).data[0, :, 0, 0]
    np.testing.assert_allclose(values, [0, *[5] * 9])
    np.testing.assert_array_equal(inside(target, source.grid)[:, 0, 0], values > 0)


def test_smoothing_before_downsampling_suppresses_what_the_grid_cannot_hold():
    """A checkerboard of single voxels aliases to ±1 without smoothing; to nearly its mean with it."""
    index = np.indices((32, 32, 32)).sum(axis=0)
    source = Volume(((-1.0) ** index)[None].astype(np.float32), Grid((32, 32, 32), np.eye(4)))
    coarse = Grid((8, 8, 8), np.diag([4.0, 4, 4, 1]))
    assert np.abs(resample(source, coarse, order=0).data).min() == 1
    assert np.abs(resample(source, coarse).data[0, 1:-1, 1:-1, 1:-1]).max() < 0.02


def test_smoothing_width_is_the_difference_of_the_point_spreads():
    """An impulse becomes a Gaussian whose variance is (r² - 1) / (8 ln 2) voxels², here r = 3 along x."""
    source = Volume(np.zeros((1, 61, 5, 5), np.float32), Grid((61, 5, 5), np.eye(4)))
    source.data[0, 30] = 1
    place, line = [], []
    for shift in range(3):
        target = Grid((20, 5, 5), nib.affines.from_matvec(np.diag([3.0, 1, 1]), [shift, 0, 0]))
        line += resample(source, target).data[0, :, 2, 2].tolist()
        place += (np.arange(20) * 3.0 + shift - 30).tolist()
    weight, place = np.array(line), np.array(place)
    assert weight.sum() == pytest.approx(1, rel=0.01)
    assert (weight * place**2).sum() == pytest.approx((9 - 1) / (8 * np.log(2)), rel=0.03)


def test_a_little_coarser_is_not_smoothed():
    source = volume(affine=np.eye(4))
    target = Grid((10, 10, 10), np.diag([1.15, 1.15, 1.15, 1]))
    theirs = nib.processing.resample_from_to(
        nib.Nifti1Image(source.data[0], np.eye(4)), (target.shape, target.affine), order=1, mode="nearest"
    )
    np.testing.assert_allclose(resample(source, target).data[0], theirs.get_fdata(), atol=1e-5)


def test_labels_are_never_mixed_and_are_0_outside():
    labels = Volume(RNG.choice([0, 7, 40000], (1, 12, 12, 12)).astype(np.int32), Grid((12, 12, 12), OBLIQUE))
    target = Grid((40, 40, 40), nib.affines.from_matvec(np.eye(3) * 0.8, labels.grid.centre - 16))
    result = resample_labels(labels, target).data
    assert result.dtype == np.int32
    assert set(np.unique(result)) == {0, 7, 40000}
    assert not result[0][~inside(target, labels.grid)].any()


@given(st.tuples(*[st.integers(-6, 6)] * 3), st.tuples(*[st.integers(1, 8)] * 3))
@settings(max_examples=40)
def test_overlap_is_the_shared_volume_of_two_boxes(shift, size):
    a = Grid((5, 6, 7), np.eye(4))
    b = Grid(size, nib.affines.from_matvec(np.eye(3), shift))
    shared = 1.0
    for n, start, m in zip(a.shape, shift, size, strict=True):
        shared *= max(0, min(n, start + m) - max(0, start)) / n
    assert overlap(a, b) == pytest.approx(shared)
    assert overlap(a, b) == pytest.approx(inside(a, b).mean())


def test_overlap_of_a_large_grid_and_its_half():
    a = Grid((256, 256, 40), np.eye(4))
    assert overlap(a, Grid((128, 256, 40), np.eye(4))) == pytest.approx(0.5, abs=0.02)
    assert overlap(a, Grid((256, 256, 40), nib.affines.from_matvec(np.eye(3), [1000, 0, 0]))) == 0
