"""NRRD, MetaImage and DICOM come in with the values and the geometry that they say, or are refused."""

import locale
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from transmodal.data.bring import PrepareSettings
from transmodal.data.formats import same_locale
from transmodal.data.layout import find_cases
from transmodal.data.prepare import prepare
from transmodal.data.volume import read_volume, stem, write_volume
from transmodal.errors import InputError

RNG = np.random.default_rng(0)
VALUES = RNG.normal(100, 30, (5, 6, 7)).astype(np.float32)
LPS = np.diag([-1.0, -1.0, 1.0])
TURN = Rotation.from_euler("xyz", (8, -12, 20), degrees=True).as_matrix()


def itk(values: np.ndarray = VALUES) -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(values.transpose(2, 1, 0))
    image.SetSpacing((0.9, 1.1, 2.5))
    image.SetOrigin((20.0, -31.0, 7.0))
    image.SetDirection(TURN.ravel().tolist())
    return image


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_values_and_geometry_of_itk_files(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"T1w{suffix}"
    SimpleITK.WriteImage(itk(), str(path))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.data[0], VALUES)
    # The same file through another program's eyes: SimpleITK's own conversion to NIfTI.
    SimpleITK.WriteImage(itk(), str(tmp_path / "same.nii"))
    np.testing.assert_allclose(volume.affine, read_volume(tmp_path / "same.nii").affine, atol=1e-4)
    np.testing.assert_allclose(volume.affine[:3, :3], LPS @ TURN @ np.diag([0.9, 1.1, 2.5]), atol=1e-6)
    assert stem(path) == "T1w"
    write_volume(volume, tmp_path / "out.nii.gz")
    assert read_volume(tmp_path / "out.nii.gz").grid.same_as(volume.grid)


def test_labels_stay_whole_numbers(tmp_path: Path) -> None:
    SimpleITK.WriteImage(itk((VALUES > 100).astype(np.uint8) * 41), str(tmp_path / "labels.nrrd"))
    found = read_volume(tmp_path / "labels.nrrd", label=True).data
    assert found.dtype == np.int32
    assert set(np.unique(found)) == {0, 41}


def test_itk_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "T1w.nrrd"
    SimpleITK.WriteImage(itk(), str(path))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"T1w\.nrrd: cannot be read as NRRD"):
        read_volume(path)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VALUES[0]), str(tmp_path / "flat.mha"))
    with pytest.raises(InputError, match="has 2 axes where a 3D volume is needed"):
        read_volume(tmp_path / "flat.mha")
    SimpleITK.WriteImage(itk(), str(tmp_path / "apart.mhd"))
    (tmp_path / "apart.raw").unlink()
    with pytest.raises(InputError, match="its data file is missing"):
        read_volume(tmp_path / "apart.mhd")
    SimpleITK.WriteImage(itk(np.where(VALUES > 120, np.nan, VALUES)), str(tmp_path / "nan.mha"))
    with pytest.raises(InputError, match="voxels are NaN"):
        read_volume(tmp_path / "nan.mha")


HU = (2 * RNG.integers(-500, 1000, (6, 8, 5))).astype(np.int16)
ROW, COLUMN, NORMAL = TURN[:, 0], TURN[:, 1], TURN[:, 2]


def series(
    folder: Path,
    *,
    step: np.ndarray = 3.0 * NORMAL,
    uid: str = "1.2.3",
    name: Callable[[int], str] = lambda k: f"{(k * 7) % 11:03d}.dcm",
    skip: tuple[int, ...] = (),
    row: np.ndarray = ROW,
) -> None:
    """HU as DICOM slices, whose names are in no order, with a rescale slope and intercept."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(HU.shape[2]):
        if k in skip:
            continue
        # The writer turns HU into stored values by slope and intercept.
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(HU[:, :, k].T[None]))
        image.SetSpacing((0.8, 0.7, 1.0))
        position = np.array([-100.0, 50.0, 20.0]) + k * step
        tags = {
            "0008|0060": "CT",
            "0020|000e": uid,
            "0020|000d": "1.2",
            "0008|0018": f"{uid}.{k + 1}",
            "0020|0013": str(100 - k),
            "0020|0032": "\\".join(f"{v:.6f}" for v in position),
            "0020|0037": "\\".join(f"{v:.6f}" for v in (*row, *COLUMN)),
            "0028|1052": "-1024",
            "0028|1053": "2",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / name(k)))
        with same_locale():
            writer.Execute(image)


def expected(step: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = ROW * 0.8, COLUMN * 0.7, step
    affine[:3, 3] = (-100.0, 50.0, 20.0)
    affine[:3] = LPS @ affine[:3]
    return affine


def test_a_series_is_ordered_by_place_and_rescaled_to_hu(tmp_path: Path) -> None:
    series(tmp_path / "CT")
    before = locale.setlocale(locale.LC_ALL)
    volume = read_volume(tmp_path / "CT")
    assert locale.setlocale(locale.LC_ALL) == before
    np.testing.assert_array_equal(volume.data[0], HU)
    np.testing.assert_allclose(volume.affine, expected(3.0 * NORMAL), atol=1e-4)


def test_a_tilted_gantry_gives_sheared_axes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("transmodal.data.formats.warn", said.append)
    step = 3.0 * NORMAL + 0.8 * COLUMN
    series(tmp_path / "CT", step=step)
    np.testing.assert_allclose(read_volume(tmp_path / "CT").affine, expected(step), atol=1e-4)
    assert len(said) == 1
    assert "tilted by 14.9 degrees" in said[0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: series(f, skip=(2,)), "are 6.00 mm where others are 3.00 mm apart; a slice is missing"),
        (
            lambda f: [series(f), series(f, uid="1.9", name=lambda k: f"b{k}.dcm")],
            "holds 2 DICOM series mixed",
        ),
        (lambda f: [series(f), series(f, name=lambda k: f"copy{k}.dcm")], "lie at one place"),
        (lambda f: series(f, skip=(0, 1, 2, 3)), "holds one slice where a volume is needed"),
        (lambda f: f.mkdir(), "holds no DICOM series"),
    ],
    ids=["missing slice", "mixed", "twice", "one slice", "none"],
)
def test_series_that_cannot_be_used(spoil: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    spoil(tmp_path / "CT")
    with pytest.raises(InputError, match=words):
        read_volume(tmp_path / "CT")


def test_two_orientations_in_one_series(tmp_path: Path) -> None:
    series(tmp_path / "CT", skip=(4,))
    series(tmp_path / "CT", skip=(0, 1, 2, 3), row=-ROW)
    with pytest.raises(InputError, match=r"oriented otherwise|DICOM series mixed"):
        read_volume(tmp_path / "CT")


def test_a_dataset_of_mixed_formats_is_prepared(tmp_path: Path) -> None:
    """A table that names a file and a folder, and the same layout as folders; a changed slice is noticed."""
    raw = tmp_path / "raw"
    for case in ("a", "b"):
        series(raw / case / "CT")
        same = read_volume(raw / case / "CT")
        image = SimpleITK.GetImageFromArray(np.abs(same.data[0]).transpose(2, 1, 0))
        image.SetSpacing(same.grid.spacing)
        image.SetOrigin((LPS @ same.affine[:3, 3]).tolist())
        image.SetDirection((LPS @ same.affine[:3, :3] / same.grid.spacing).ravel().tolist())
        SimpleITK.WriteImage(image, str(raw / case / "T1w.nrrd"))
    (tmp_path / "cases.csv").write_text("case,T1w,CT\na,raw/a/T1w.nrrd,raw/a/CT\nb,raw/b/T1w.nrrd,raw/b/CT\n")
    for dataset in (tmp_path / "cases.csv", raw):
        assert [sorted(case.images) for case in find_cases(dataset)] == [["CT", "T1w"]] * 2
    settings = PrepareSettings(mask="nonzero", reference="T1w")
    prepared = prepare(raw, tmp_path / "out", settings)
    wanted = read_volume(raw / "a" / "CT").canonical().data
    np.testing.assert_array_equal(prepared.case("a").values("CT"), wanted)
    before = (tmp_path / "out" / "cases" / "a" / "case.json").stat().st_mtime_ns
    series(raw / "b" / "CT", step=3.1 * NORMAL)
    prepare(raw, tmp_path / "out", settings)
    assert (tmp_path / "out" / "cases" / "a" / "case.json").stat().st_mtime_ns == before
    again = prepare(raw, tmp_path / "out", settings)
    assert again.case("b").grid.spacing == pytest.approx(prepared.case("a").grid.spacing, abs=0.1)


def test_headers_without_directions_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("transmodal.data.volume.warn", said.append)
    head = b"NRRD0004\ntype: float\ndimension: 3\nsizes: 5 6 7\nencoding: raw\nendian: little\n\n"
    (tmp_path / "bare.nrrd").write_bytes(head + VALUES.transpose(2, 1, 0).tobytes())
    assert not read_volume(tmp_path / "bare.nrrd").grid.is_located
    SimpleITK.WriteImage(itk(), str(tmp_path / "full.nrrd"))
    SimpleITK.WriteImage(itk(), str(tmp_path / "full.mha"))
    assert read_volume(tmp_path / "full.nrrd").grid.is_located
    assert read_volume(tmp_path / "full.mha").grid.is_located
    assert ["bare.nrrd" in one for one in said] == [True]
