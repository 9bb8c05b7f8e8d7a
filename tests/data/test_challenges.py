"""Trees laid out as SynthRAD2023 and BraTS hand them out, with numbers of our own in them; and wrong trees."""

import nibabel as nib
import numpy as np
import pytest

from transmodal.checks.audit import audit
from transmodal.data.bring import PrepareSettings
from transmodal.data.layout import find_cases
from transmodal.data.prepare import prepare
from transmodal.errors import InputError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_synthrad_2023_from_any_level(tmp_path):
    files = [
        f"Task1/{place}/{f}.nii.gz" for place in ("brain/1BA001", "pelvis/1PC010") for f in ("mr", "ct", "mask")
    ]
    files += [f"Task2/brain/2BB002/{f}.nii.gz" for f in ("cbct", "ct", "mask")]
    root = touch(
        tmp_path, *files, "Task1/brain/overview/1_brain_train.xlsx", "Task1/brain/overview/1BA001_train.png"
    )
    brain, pelvis, cone = find_cases(root)
    assert [c.name for c in (brain, pelvis, cone)] == ["1BA001", "1PC010", "2BB002"]
    folder = root / "Task1/brain/1BA001"
    assert brain.images == {"MR": folder / "mr.nii.gz", "CT": folder / "ct.nii.gz"}
    assert brain.mask == folder / "mask.nii.gz"
    assert brain.facts == {"task": "1", "region": "brain", "centre": "A"}
    assert pelvis.facts == {"task": "1", "region": "pelvis", "centre": "C"}
    assert set(cone.images) == {"CBCT", "CT"}
    assert find_cases(root / "Task1/brain") == [brain]


@pytest.mark.parametrize(
    ("case", "subject", "names"),
    [
        ("BraTS20_Training_001", "BraTS20_Training_001", "_{}.nii t1 t1ce t2 flair seg"),
        ("BraTS2021_00495", "BraTS2021_00495", "_{}.nii.gz t1 t1ce t2 flair seg"),
        ("BraTS-GLI-00005-101", "BraTS-GLI-00005", "-{}.nii.gz t1n t1c t2w t2f seg"),
        ("Brats18_2013_2_1", "Brats18_2013_2_1", "_{}.nii.gz t1 t1ce t2 flair seg"),
    ],
)
def test_brats_of_every_year(tmp_path, case, subject, names):
    ending, *words = names.split()
    folder = tmp_path / "TrainingData" / case
    root = touch(tmp_path, *(f"TrainingData/{case}/{case}{ending.format(word)}" for word in words))
    (found,) = find_cases(root)
    assert (found.name, found.subject) == (case, subject)
    kinds = ("T1w", "T1c", "T2w", "FLAIR")
    assert found.images == {k: folder / f"{case}{ending.format(w)}" for k, w in zip(kinds, words[:4], strict=True)}
    assert found.labels == folder / f"{case}{ending.format('seg')}"


def test_two_visits_of_a_person_stay_together(tmp_path):
    names = ["BraTS-GLI-00005-100", "BraTS-GLI-00005-101", "BraTS-MET-00005-000"]
    cases = find_cases(touch(tmp_path, *(f"{n}/{n}-t1n.nii.gz" for n in names)))
    assert [c.subject for c in cases] == ["BraTS-GLI-00005", "BraTS-GLI-00005", "BraTS-MET-00005"]


def test_a_file_with_a_strange_name_is_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("transmodal.data.challenges.warn", said.append)
    case = "BraTS20_Training_355"
    touch(tmp_path, f"{case}/{case}_t1.nii", f"{case}/W39_1998.09.19_Segm.nii")
    (found,) = find_cases(tmp_path)
    assert (set(found.images), found.labels) == ({"T1w"}, None)
    assert len(said) == 1
    assert "W39_1998.09.19_Segm.nii: is not named as the challenge names its files" in said[0]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["Task1/brain/1PA001/mr.nii.gz"], "lies under brain, but 1PA001 is a case of the pelvis"),
        (["Task1/brain/1BA001/mr.nii.gz", "copy/1BA001/mr.nii.gz"], "is MR of the case 1BA001, too"),
        (["Task1/brain/1BA001/mask.nii.gz"], "case 1BA001: has no image"),
        (["BraTS2021_00000/BraTS2021_00000_t1.nii", "BraTS2021_00000/BraTS2021_00000_t1.nii.gz"], "is T1w of the"),
        (["BraTS2021_00001/BraTS2021_00000_seg.nii.gz", "BraTS2021_00002/BraTS2021_00002_seg.nii.gz"], "no image"),
    ],
)
def test_wrong_trees_are_named(tmp_path, files, words):
    with pytest.raises(InputError, match=words):
        find_cases(touch(tmp_path, *files))


def test_synthrad_is_audited_and_prepared_as_it_is(heads, save, tmp_path):
    heads(3)
    truth = {}
    for number, centre in ((1, "A"), (2, "B"), (3, "C")):
        case, own = f"1B{centre}{number:03d}", tmp_path / "raw" / f"sub-{number:02d}"
        mr, labels = (nib.load(own / f"{name}.nii.gz").get_fdata() for name in ("T1w", "labels"))
        truth[case] = np.where(labels > 0, 3 * mr - 100, -1000).round().astype(np.int16)
        for name, data in (("mr", mr.astype(np.float32)), ("ct", truth[case]), ("mask", labels.astype(np.uint8))):
            save(f"Task1/brain/{case}/{name}.nii.gz", data)
    found = audit(tmp_path / "Task1", tmp_path / "audit", pairs=False)
    # The toy heads look so alike that they are taken for one scan; units, grids and names are in order.
    assert {f.kind for f in found.findings if f.severity == "error"} <= {"duplicate"}
    prepared = prepare(tmp_path / "Task1", tmp_path / "prepared", PrepareSettings(crop_margin=-1.0))
    assert list(prepared.names) == list(truth)
    case = prepared.case("1BA001")
    assert (case.modalities, case.facts["centre"]) == (("MR", "CT"), "A")
    fit = case.fits["CT"]
    assert fit.range == (-1024, 3071)
    back = fit.invert(fit.apply(case.values("CT")))
    assert np.abs(back[0] - np.flip(truth["1BA001"], 0)).max() < 0.5, "HU come back; RAS+ from a left-handed file"
