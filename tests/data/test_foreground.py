import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from transmodal.data.foreground import _closed, _filled, foreground, largest, otsu
from transmodal.data.grid import Grid
from transmodal.data.volume import Volume
from transmodal.errors import InputError

SHAPE = (40, 48, 36)
GRID = Grid(SHAPE, np.diag([4.0, 4, 4, 1]))
RADIUS = np.sqrt(
    sum(((np.arange(n) - n / 2 + 0.5).reshape([-1 if a == i else 1 for a in range(3)]) / r) ** 2
        for i, (n, r) in enumerate(zip(SHAPE, (16, 19, 14), strict=True)))
)  # fmt: skip
HEAD = RADIUS < 1
RNG = np.random.default_rng(0)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def mri() -> np.ndarray:
    """Bright scalp, dark skull, brain with dark ventricles, and Rician noise everywhere."""
    clean = np.select([RADIUS < 0.25, RADIUS < 0.8, RADIUS < 0.88, RADIUS < 1], [60.0, 400.0, 40.0, 700.0], 0.0)
    noise = RNG.normal(0, 25, (2, *SHAPE))
    return np.hypot(clean + noise[0], noise[1]).astype(np.float32)


def volume(values, name="scan"):
    return Volume(np.asarray(values, dtype=np.float32)[None], GRID, name)


def test_head_mri_in_noise():
    found = foreground(volume(mri()))
    assert dice(found, HEAD) > 0.97
    assert found[RADIUS < 0.9].all()


def test_eight_bit_head():
    assert dice(foreground(volume(np.round(mri() / 4).clip(0, 255))), HEAD) > 0.97


def test_skull_stripped_keeps_its_dark_edge():
    brain = np.where(RADIUS < 0.8, 400 - 390 * (RADIUS > 0.7) + 40 * RNG.random(SHAPE), 0)
    found = foreground(volume(brain))
    assert found[RADIUS < 0.8].mean() > 0.98
    assert dice(found, RADIUS < 0.8) > 0.95


def test_ct_body_with_air_inside_and_a_piece_of_table():
    hu = np.where(HEAD, 40.0, -1000.0)
    hu[RADIUS < 0.3] = -1000
    hu[:, 0:2, 0:2] = 100
    found = foreground(volume(hu))
    assert dice(found, HEAD) > 0.99
    assert found[RADIUS < 0.3].all()
    assert not found[:, 0:2, 0:2].any()


def test_a_cut_neck_does_not_leave_its_airway_open():
    hu = np.where(HEAD, 40.0, -1000.0)[:, :, 12:]
    hu[18:22, 22:26, :20] = -1000
    grid = Grid((40, 48, 24), GRID.affine)
    found = foreground(Volume(hu[None].astype(np.float32), grid))
    assert found[18:22, 22:26, 2:20].all()


def test_the_scale_of_a_scan_does_not_matter():
    scan = mri()
    np.testing.assert_array_equal(foreground(volume(scan)), foreground(volume(scan * 0.001)))


def test_colour_counts_all_channels():
    colour = np.stack([np.where(HEAD, 200, 0), np.zeros(SHAPE), np.where(RADIUS < 0.5, 200, 0)]).astype(np.float32)
    assert dice(foreground(Volume(colour, GRID)), HEAD) > 0.98


def test_largest_piece():
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[:2, :2, :2] = True
    mask[4:8, 4:8, 4:8] = True
    expected = mask.copy()
    expected[:2] = False
    np.testing.assert_array_equal(largest(mask), expected)


@pytest.mark.parametrize("value", [-1000.0, 7.0])
def test_nothing_to_find(value):
    with pytest.raises(InputError, match="sub-01: no foreground"):
        foreground(volume(np.full(SHAPE, value), "sub-01"))


def test_holes_are_those_that_a_loop_over_slices_fills() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random(tuple(rng.integers(1, 14, 3))) < rng.uniform(0.2, 0.9)
        wanted = ndimage.binary_fill_holes(mask)
        for axis in range(3):
            lines = np.moveaxis(wanted, axis, 0)
            for line in lines:
                line[...] = ndimage.binary_fill_holes(line)
        np.testing.assert_array_equal(_filled(mask), wanted)


@pytest.mark.parametrize("spacing", [0.05, 0.002, 1e-5])
def test_voxels_smaller_than_any_scanner_makes_take_no_longer(spacing):
    """A header may mistake metres for millimetres; each voxel then is a thousandth as wide."""
    small = Volume(mri()[None], Grid(SHAPE, np.diag([spacing] * 3 + [1.0])), "scan")
    assert foreground(small)[HEAD].mean() > 0.9


def test_fine_voxels_are_closed_in_blocks():
    """A ball of 12 mm with a crack of 2 mm, in voxels of 0.25 mm: as in voxels of 1 mm, but for a block."""
    lines = np.meshgrid(*[(np.arange(96) - 47.5) / 4] * 3, indexing="ij", sparse=True)
    ball = sum(line**2 for line in lines) < 6**2
    cracked = ball & (np.abs(lines[0]) > 1)
    found = _closed(cracked, (0.25, 0.25, 0.25))
    assert found[cracked].all()
    assert dice(found, ball) > 0.9
    assert found[ball].mean() > 0.98


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_is_that_of_itk(seed):
    """Two humps, of noise or of whole numbers, some values beyond what is looked at."""
    chance = np.random.default_rng(seed)
    values = np.where(chance.random((31, 32, 33)) < 0.2 + 0.1 * seed, chance.normal(300, 40, (31, 32, 33)), 20)
    values = (values + chance.normal(0, 10, values.shape)).astype(np.float32)
    values = np.asfortranarray(values.round() if seed % 2 else values)
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    itk = SimpleITK.OtsuThresholdImageFilter()
    itk.SetNumberOfHistogramBins(256)
    itk.Execute(SimpleITK.GetImageFromArray(np.clip(values, low, high).astype(np.float64)))
    assert otsu(values, low, high) == pytest.approx(itk.GetThreshold(), abs=1e-4 * (high - low) / 256)
