from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from transmodal.errors import InputError
from transmodal.reporting.slices import choose_view, open_scan, read_mask

SHAPE = (5, 6, 7)


def stored(orientation: str, kind: str = "f4") -> tuple[np.ndarray, nib.Nifti1Image]:
    """RAS+ values, and an image that holds them turned to ``orientation``."""
    values = np.arange(np.prod(SHAPE), dtype=kind).reshape(SHAPE)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = -5, -6, -7
    image = nib.Nifti1Image(values, affine)
    turns = ornt_transform(io_orientation(affine), axcodes2ornt(orientation))
    return values, image.as_reoriented(turns)


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "LPI", "PIR", "SRA", "IPL", "ASR"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_axial_slices_are_those_of_the_volume_turned_to_ras(tmp_path: Path, orientation: str, suffix: str) -> None:
    values, image = stored(orientation)
    nib.save(image, tmp_path / f"a{suffix}")
    scan = open_scan(tmp_path / f"a{suffix}")
    assert scan.grid.shape == SHAPE
    assert scan.grid.spacing == pytest.approx((1, 2, 3))
    for level in range(SHAPE[2]):
        np.testing.assert_array_equal(scan.axial(level), values[:, :, level])
        assert scan.millimetres(level) == pytest.approx(3 * level - 7)
    assert not scan.image.in_memory


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SRA"])
def test_a_mask_is_turned_too(tmp_path: Path, orientation: str) -> None:
    values, image = stored(orientation, "i2")
    nib.save(image, tmp_path / "m.nii")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.nii"), values > 0)


def test_colour_slices_have_three_channels(tmp_path: Path) -> None:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    values = np.zeros(SHAPE, dtype=kind)
    values["G"] = np.arange(7)
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, 1, 1, 1])), tmp_path / "c.nii.gz")
    picture = open_scan(tmp_path / "c.nii.gz").axial(4)
    assert picture.shape == (5, 6, 3)
    assert (picture == [0, 4, 0]).all()


def test_slices_spread_evenly_through_the_mask_and_are_cropped_to_it() -> None:
    mask = np.zeros((30, 40, 50), dtype=bool)
    mask[10:20, 15:36, 10:30] = True
    view = choose_view(mask.shape, mask, 4)
    assert view.levels == (14, 18, 21, 25)  # 10 + 19 × (0.2, 0.4, 0.6, 0.8), rounded
    assert (view.across, view.along) == (slice(6, 24), slice(11, 40))
    assert view.inside is not None
    assert view.inside[0].sum() == 10 * 21


def test_without_a_mask_the_whole_volume_is_used() -> None:
    for mask in (None, np.zeros((30, 40, 51), dtype=bool)):
        view = choose_view((30, 40, 51), mask, 4)
        assert view.levels == (10, 20, 30, 40)
        assert view.crop(np.ones((30, 40))).shape == (30, 40)


def test_a_thin_mask_gives_fewer_slices() -> None:
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[2:5, 2:5, 3] = True
    assert choose_view(mask.shape, mask, 4).levels == (3,)


def test_what_cannot_be_shown_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.nii: there is no such file"):
        open_scan(tmp_path / "a.nii")
    (tmp_path / "b.nii").write_text("not an image")
    with pytest.raises(InputError, match=r"b\.nii: is not a readable NIfTI"):
        open_scan(tmp_path / "b.nii")
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3, 2), "f4"), np.eye(4)), tmp_path / "d.nii")
    with pytest.raises(InputError, match="is not a 3D volume"):
        open_scan(tmp_path / "d.nii")
    image = nib.Nifti1Image(np.random.default_rng(0).normal(size=(20, 20, 20)), np.eye(4))
    nib.save(image, tmp_path / "e.nii.gz")
    whole = (tmp_path / "e.nii.gz").read_bytes()
    (tmp_path / "e.nii.gz").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(InputError, match=r"e\.nii\.gz: cannot be read"):
        open_scan(tmp_path / "e.nii.gz").axial(19)
