import json
import os

import nibabel as nib
import numpy as np
import pytest

from transmodal.data.box import bounds
from transmodal.data.bring import PrepareSettings
from transmodal.data.prepare import prepare
from transmodal.data.prepared import PreparedCase, PreparedDataset
from transmodal.errors import InputError, RecipeError


@pytest.fixture
def small(heads, tmp_path):
    return prepare(heads(3), tmp_path / "out", PrepareSettings(mask="labels"))


def test_mapped_volumes_equal_what_nibabel_reads(small):
    case = small.case("sub-01")
    for name in ("T1w", "T2w"):
        theirs = nib.load(case.file(name))
        np.testing.assert_array_equal(case.values(name)[0], np.asarray(theirs.dataobj))
        np.testing.assert_allclose(case.grid.affine, theirs.affine)
    mask = np.asarray(nib.load(case.file("mask")).dataobj)
    np.testing.assert_array_equal(case.mask(), mask.astype(bool))
    np.testing.assert_array_equal(case.labels()[0], np.asarray(nib.load(case.file("labels")).dataobj))


def test_what_is_mapped_cannot_be_changed(small):
    values = small.case("sub-01").values("T1w")
    assert isinstance(values, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        values[0, 0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        small.case("sub-01").mask()[0, 0, 0] = True


def test_box_and_slices_follow_the_mask(small):
    case = small.case("sub-02")
    mask = case.mask()
    assert case.box == bounds(np.asarray(mask))
    for axis in range(3):
        filled = mask.sum(axis=tuple(a for a in range(3) if a != axis))
        assert case.slices[axis] == tuple(np.flatnonzero(filled >= max(1, 0.01 * filled.max())))
        assert case.slices[axis][0] >= case.box[axis][0]
        assert case.slices[axis][-1] < case.box[axis][1]


def test_many_reads_leave_no_file_open(small):
    case = small.case("sub-01")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(500):
        case.values("T1w")[0, :, :, 3].sum()
        case.mask()[:, :, 3].sum()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_damage_is_named(small):
    path = small.case("sub-01").file("T1w")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"T1w\.nii: is missing or shorter than it was"):
        small.case("sub-01").values("T1w")
    path.unlink()
    with pytest.raises(InputError, match=r"T1w\.nii: is missing"):
        small.case("sub-01").values("T1w")
    (path.parent / "case.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(InputError, match="not a prepared case"):
        small.case("sub-01")


def test_words_that_are_not_there(small, tmp_path):
    with pytest.raises(InputError, match="has no T2; did you mean 'T2w'"):
        small.case("sub-01").values("T2")
    with pytest.raises(InputError, match="has no case 'sub-1'; did you mean 'sub-01'"):
        small.case("sub-1")
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(InputError, match="is not a prepared dataset; make one with: transmodal prepare"):
            PreparedDataset.open(folder)


def test_reopening_gives_the_same(small):
    again = PreparedDataset.open(small.path)
    assert (again.names, again.settings) == (small.names, small.settings)
    assert PreparedCase.open(small.path / "cases" / "sub-01").fits == small.case("sub-01").fits


def test_splits_are_remembered(small):
    first = small.split(0, 3)
    assert sorted([*first.train, *first.val, *first.test]) == list(small.names)
    stored = json.loads((small.path / "splits.json").read_text())
    assert set(stored["folds"]["3"]) == set(small.names)
    assert small.split(0, 3) == first
    with pytest.raises(RecipeError, match="more than the 2 subjects"):
        small.split(0, 3, only=small.names[:2])


def test_a_case_without_labels(heads, tmp_path):
    case = prepare(heads(2, gone={"sub-01": "labels"}), tmp_path / "out").case("sub-01")
    assert case.labels() is None
