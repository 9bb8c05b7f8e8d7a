import gzip
import os

import nibabel as nib
import numpy as np
import pytest

from transmodal.data import volume as volume_module
from transmodal.data.grid import Grid
from transmodal.data.volume import Volume, from_image, read_volume, stem, to_image, write_volume
from transmodal.errors import InputError

RNG = np.random.default_rng(0)
DATA = RNG.normal(100, 30, (5, 6, 7)).astype(np.float32)
ROTATED = nib.eulerangles.euler2mat(0.3, -0.2, 0.1)
AFFINES = {
    "oblique": nib.affines.from_matvec(ROTATED @ np.diag([0.9, 1.1, 2.5]), [20.0, -31.0, 7.0]),
    "left-handed": np.array([[-1.0, 0, 0, 90], [0, 1, 0, -126], [0, 0, 1, -72], [0, 0, 0, 1]]),
    "sheared": np.array([[1.0, 0.2, 0, 3], [0, 1.1, 0.1, -4], [0.05, 0, 2, 5], [0, 0, 0, 1]]),
    "anisotropic PIR": np.array([[0, 0, 1.0, -9], [-2.0, 0, 0, 8], [0, -3.7, 0, 7], [0, 0, 0, 1]]),
}
FIELDS = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
          "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units", "dim_info")  # fmt: skip


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 2), (4, 3), (0, 0)])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_geometry_comes_back_bit_for_bit(tmp_path, name, codes, kind):
    image = kind(DATA, AFFINES[name])
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_dim_info(freq=1, phase=0, slice=2)
    qform, sform = codes
    image.set_sform(AFFINES[name] if sform else None, sform)
    image.set_qform(AFFINES[name] if qform else None, qform)
    nib.save(image, tmp_path / "in.nii.gz")
    read = read_volume(tmp_path / "in.nii.gz")
    write_volume(read, tmp_path / "out.nii.gz", description="SYNTHETIC T2w")
    before, after = nib.load(tmp_path / "in.nii.gz"), nib.load(tmp_path / "out.nii.gz")
    assert type(after) is type(before)
    for key in FIELDS:
        np.testing.assert_array_equal(after.header[key], before.header[key], err_msg=key)
    np.testing.assert_array_equal(after.header["pixdim"][:4], before.header["pixdim"][:4])
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(np.asarray(after.dataobj), DATA)
    assert after.header["descrip"].item() == b"SYNTHETIC T2w"
    np.testing.assert_array_equal(read_volume(tmp_path / "out.nii.gz").affine, read.affine)


@pytest.mark.parametrize("size", [np.inf, -np.inf, np.nan, 0.0, -2.0, 7.0])
@pytest.mark.parametrize(("kind", "at"), [(nib.Nifti1Image, (80, "<f4")), (nib.Nifti2Image, (112, "<f8"))])
def test_a_wrong_voxel_size_beside_a_good_affine_is_not_handed_on(tmp_path, size, kind, at):
    image = kind(DATA, np.diag([2.0, 3.0, 4.0, 1.0]))
    image.set_sform(image.affine, 2)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "in.nii")
    content, (byte, number) = bytearray((tmp_path / "in.nii").read_bytes()), at
    assert np.frombuffer(content, number, 1, byte) == 2
    content[byte : byte + int(number[-1])] = np.array(size, number).tobytes()
    (tmp_path / "in.nii").write_bytes(content)
    read = read_volume(tmp_path / "in.nii")
    write_volume(read, tmp_path / "out.nii")
    made = nib.load(tmp_path / "out.nii")
    np.testing.assert_array_equal(made.header["pixdim"][1:4], [2, 3, 4])
    np.testing.assert_array_equal(made.affine, image.affine)


@pytest.mark.parametrize("size", [np.inf, np.nan])
def test_a_qform_without_voxel_sizes_gets_those_of_the_sform(tmp_path, size):
    image = nib.Nifti1Image(DATA, np.diag([2.0, 3.0, 4.0, 1.0]))
    image.set_sform(image.affine, 2)
    image.set_qform(image.affine, 1)
    image.header["pixdim"][1:4] = size
    write_volume(from_image(image), tmp_path / "out.nii")
    header = nib.load(tmp_path / "out.nii").header
    np.testing.assert_array_equal(header["pixdim"][1:4], [2, 3, 4])
    np.testing.assert_array_equal(header.get_qform(), image.affine)


def test_big_endian_header(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(DATA.astype(">i2"), AFFINES["oblique"], header)
    nib.save(image, tmp_path / "in.nii")
    volume = read_volume(tmp_path / "in.nii")
    np.testing.assert_array_equal(volume.data[0], DATA.astype(np.int16))
    write_volume(volume, tmp_path / "out.nii")
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii").affine, nib.load(tmp_path / "in.nii").affine)


def test_a_computed_grid_is_written_with_its_affine(tmp_path):
    write_volume(Volume(DATA[None], Grid((5, 6, 7), AFFINES["sheared"])), tmp_path / "a" / "v.nii")
    back = nib.load(tmp_path / "a" / "v.nii")
    np.testing.assert_allclose(back.affine, AFFINES["sheared"], rtol=1e-6)
    assert back.header.get_xyzt_units()[0] == "mm"


def test_int16_with_slope_is_read_in_real_units_and_written_with_slope_1(tmp_path):
    image = nib.Nifti1Image(np.arange(-105, 105, dtype=np.int16).reshape(5, 6, 7), np.eye(4))
    image.header.set_slope_inter(0.25, 10)
    nib.save(image, tmp_path / "in.nii.gz")
    volume = read_volume(tmp_path / "in.nii.gz")
    np.testing.assert_array_equal(volume.data[0].ravel(), np.arange(-105, 105) * 0.25 + 10)
    write_volume(volume, tmp_path / "out.nii.gz", dtype="int16")
    back = nib.load(tmp_path / "out.nii.gz")
    assert (back.dataobj.slope, back.dataobj.inter) == (1, 0)
    np.testing.assert_array_equal(np.asarray(back.dataobj), np.round(volume.data[0]))


def test_integers_are_rounded_and_clipped():
    values = np.array([-40000.0, -1.5, 0.49, 0.51, 40000.0], dtype=np.float32).reshape(1, 5, 1, 1)
    stored = np.asarray(to_image(Volume(values, Grid((5, 1, 1), np.eye(4))), dtype="int16").dataobj)
    assert stored.ravel().tolist() == [-32768, -2, 0, 1, 32767]


def test_colour_goes_round_as_datatype_128(tmp_path):
    colour = RNG.integers(0, 256, (3, 5, 6, 7)).astype(np.float32)
    write_volume(Volume(colour, Grid((5, 6, 7), np.eye(4))), tmp_path / "c.nii.gz", dtype="rgb")
    assert nib.load(tmp_path / "c.nii.gz").header["datatype"] == 128
    np.testing.assert_array_equal(read_volume(tmp_path / "c.nii.gz").data, colour)
    with pytest.raises(InputError, match=r"c\.nii\.gz: is in colour, and a mask or label map .* one whole number"):
        read_volume(tmp_path / "c.nii.gz", label=True)
    np.save(tmp_path / "c.npy", np.moveaxis(colour, 0, -1).astype(np.uint8))
    (tmp_path / "c.json").write_text('{"spacing": [1, 1, 1], "orientation": "RAS"}')
    with pytest.raises(InputError, match=r"c\.npy: is in colour"):
        read_volume(tmp_path / "c.npy", label=True)


@pytest.mark.parametrize("name", AFFINES)
def test_canonical_agrees_with_nibabel(name):
    image = nib.Nifti1Image(DATA, AFFINES[name])
    ours, theirs = from_image(image).canonical(), nib.as_closest_canonical(image)
    np.testing.assert_array_equal(ours.data[0], np.asarray(theirs.dataobj))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-6)


def test_a_fourth_axis_of_one_is_dropped():
    assert from_image(nib.Nifti1Image(DATA[..., None], np.eye(4))).data.shape == (1, 5, 6, 7)


def test_labels_keep_whole_numbers_behind_a_slope(tmp_path):
    image = nib.Nifti1Image(np.arange(210, dtype=np.uint8).reshape(5, 6, 7), np.eye(4))
    image.header.set_slope_inter(1.0000001, 0)
    nib.save(image, tmp_path / "l.nii.gz")
    labels = read_volume(tmp_path / "l.nii.gz", label=True).data
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels.ravel(), np.arange(210))


def bad(tmp_path, what):
    path = tmp_path / "bad.nii.gz"
    data = DATA.copy()
    if what == "text":
        path = tmp_path / "bad.nii"
        path.write_text("case,age\n1,2\n" * 100)
        return path
    if what in ("truncated", "half header"):
        nib.save(nib.Nifti1Image(RNG.normal(size=(30, 30, 30)), np.eye(4)), path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if what == "truncated" else gzip.compress(b"\0" * 200))
        return path
    if what == "empty file":
        path.write_bytes(b"")
        return path
    if what == "NaN":
        data[1, 2, 3] = np.nan
    elif what == "infinite":
        data[0, 0, 0] = -np.inf
    elif what == "zero":
        data[:] = 0
    elif what == "2D":
        data = data[0]
    elif what == "4D":
        data = np.stack([data, data], axis=-1)
    elif what == "no voxels":
        data = data[:0]
    elif what == "complex":
        data = data.astype(np.complex64)
    image = nib.Nifti1Image(data, np.eye(4))
    if what == "flat affine":
        image.set_sform(np.diag([1.0, 1, 0, 1]), 1)
        image.header["pixdim"][3] = 1
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("text", "truncated or of another format"),
        ("truncated", "truncated or of another format"),
        ("half header", "truncated or of another format"),
        ("empty file", "truncated or of another format"),
        ("NaN", "1 of 210 voxels are NaN or infinite"),
        ("infinite", "1 of 210 voxels are NaN or infinite"),
        ("zero", "every voxel is zero"),
        ("2D", r"has 2 axes \(6, 7\) where a 3D"),
        ("4D", r"has 4 axes \(5, 6, 7, 2\) where a 3D"),
        ("no voxels", "has no voxels"),
        ("complex", "of type complex64, not numbers"),
        ("flat affine", "not invertible"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(tmp_path, what, words):
    path = bad(tmp_path, what)
    with pytest.raises(InputError, match=words) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_volume(tmp_path / "gone.nii.gz")
    with pytest.raises(InputError, match="a folder was given"):
        read_volume(tmp_path)


def test_an_all_zero_label_map_is_fine_but_nan_is_not():
    empty = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    assert not from_image(empty, label=True).data.any()
    with pytest.raises(InputError, match="must not hold NaN"):
        from_image(nib.Nifti1Image(np.full((2, 2, 2), np.nan, np.float32), np.eye(4)), label=True)


def test_output_that_cannot_be_written(tmp_path):
    volume = Volume(DATA[None], Grid((5, 6, 7), np.eye(4)))
    with pytest.raises(InputError, match=r"must end in \.nii"):
        write_volume(volume, tmp_path / "v.mha")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_volume(volume, tmp_path / "file" / "v.nii.gz")
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(InputError, match="cannot be written"):
            write_volume(volume, tmp_path / "closed" / "v.nii.gz")


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "v.nii.gz"
    volume = Volume(DATA[None], Grid((5, 6, 7), np.eye(4)))
    write_volume(volume, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        write_volume(volume, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["v.nii.gz"]


def test_values_and_grid_must_agree():
    with pytest.raises(ValueError, match="on a grid of"):
        Volume(DATA[None], Grid((5, 6, 8), np.eye(4)))


def test_stem(tmp_path):
    assert [stem(tmp_path / n) for n in ("a.b.nii.gz", "a.nii", "a.txt")] == ["a.b", "a", "a"]


def test_a_header_that_does_not_say_where_voxels_lie(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(volume_module, "warn", said.append)
    image = nib.Nifti1Image(DATA, None)
    image.header.set_zooms((2, 3, 4))
    nib.save(image, tmp_path / "T1w.nii")
    volume = read_volume(tmp_path / "T1w.nii")
    np.testing.assert_allclose(volume.grid.spacing, (2, 3, 4))
    assert not volume.grid.is_located
    assert len(said) == 1
    assert "left and right are a guess" in said[0]
    singular = nib.Nifti1Image(DATA, None)
    singular.header["sform_code"] = 1
    nib.save(singular, tmp_path / "zero.nii")
    with pytest.raises(InputError, match="affine is not invertible"):
        read_volume(tmp_path / "zero.nii")
