import sys
from pathlib import Path

import pytest

from transmodal import progress
from transmodal.data.files import natural
from transmodal.data.layout import find_cases, is_drawn
from transmodal.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def table(root: Path, *lines: str, name: str = "cases.tsv") -> Path:
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / name


def test_table(tmp_path):
    touch(tmp_path, "a/T1w.nii.gz", "a/CT.nii", "b/T1w.nii.gz", "b/m.nii.gz", "b/l.nii.gz", "b/les.nii.gz")
    path = table(
        tmp_path,
        "case\tT1w\tCT\tmask\tlabels\tlesions\tsubject\tage\tsite",
        "sub-10_ses-2\ta/T1w.nii.gz\ta/CT.nii\t\tn/a\t\t\t79.5\tBonn",
        "sub-9\tb/T1w.nii.gz\tn/a\tb/m.nii.gz\tb/l.nii.gz\tb/les.nii.gz\tanna\tn/a\tKöln",
        "",
    )
    nine, ten = find_cases(path)
    assert (nine.name, nine.subject, ten.name, ten.subject) == ("sub-9", "anna", "sub-10_ses-2", "sub-10")
    assert ten.images == {"T1w": tmp_path / "a/T1w.nii.gz", "CT": tmp_path / "a/CT.nii"}
    assert nine.images == {"T1w": tmp_path / "b/T1w.nii.gz", "lesions": tmp_path / "b/les.nii.gz"}
    assert (nine.mask, nine.labels) == (tmp_path / "b/m.nii.gz", tmp_path / "b/l.nii.gz")
    assert ten.facts == {"age": "79.5", "site": "Bonn"}
    assert nine.facts == {"site": "Köln"}
    assert (ten.mask, ten.labels, ten.split) == (None, None, None)
    assert find_cases(tmp_path) == [nine, ten]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_comma_and_semicolon_and_a_byte_order_mark(tmp_path, delimiter):
    touch(tmp_path, "x.nii.gz")
    rows = ["\ufeffcase,T1w,split".replace(",", delimiter), "s1,x.nii.gz,train".replace(",", delimiter)]
    (case,) = find_cases(table(tmp_path, *rows, name="cases.csv"))
    assert (case.name, case.subject, case.split, case.images) == (
        "s1",
        "s1",
        "train",
        {"T1w": tmp_path / "x.nii.gz"},
    )


def test_one_folder_per_case(tmp_path):
    touch(
        tmp_path, "p2/T1w.nii.gz", "p2/CT.nii", "p2/mask.nii.gz", "p10/T1w.nii.gz", "p10/labels.nii.gz", "p2/x.txt"
    )
    two, ten = find_cases(tmp_path)
    assert (two.name, ten.name) == ("p2", "p10")
    assert set(two.images) == {"T1w", "CT"}
    assert two.mask == tmp_path / "p2/mask.nii.gz"
    assert ten.labels == tmp_path / "p10/labels.nii.gz"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_linked_cases_are_found_and_circles_end(tmp_path, capsys):
    touch(tmp_path / "there", "sub-01/T1w.nii.gz", "sub-02/T1w.nii.gz", "sub-02/FLAIR.nii.gz")
    scans = tmp_path / "scans"
    touch(scans, "sub-03/T1w.nii.gz")
    for name in ("sub-01", "sub-02"):
        (scans / name).symlink_to(tmp_path / "there" / name)
    (scans / "again").symlink_to(scans / "sub-03")
    (scans / "sub-03" / "up").symlink_to(scans)
    (scans / "one").symlink_to(scans / "other")
    (scans / "other").symlink_to(scans / "one")
    before = progress.voice()
    progress.use("human")
    cases = {case.name: sorted(case.images) for case in find_cases(scans)}
    progress.use(before)
    assert cases == {"sub-01": ["T1w"], "sub-02": ["FLAIR", "T1w"], "sub-03": ["T1w"]}
    said = capsys.readouterr().err.replace("\n", " ")
    assert said.count("passed over") == 2


def test_bids_names_anywhere_below(tmp_path):
    touch(
        tmp_path,
        "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_acq-tse_T2w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
        "sub-02/sub-02_T1w.nii.gz",
        "sub-02/sub-02_mask.nii.gz",
        "derivatives/x/sub-01_ses-1_desc-synth_T2w.nii.gz",
        ".git/sub-03_T1w.nii.gz",
        "sub-02/._sub-02_T1w.nii.gz",
    )
    one, again, two = find_cases(tmp_path)
    assert [c.name for c in (one, again, two)] == ["sub-01_ses-1", "sub-01_ses-2", "sub-02"]
    assert [c.subject for c in (one, again, two)] == ["sub-01", "sub-01", "sub-02"]
    assert set(one.images) == {"T1w", "T2w"}
    assert two.mask == tmp_path / "sub-02/sub-02_mask.nii.gz"


def test_two_files_for_one_modality(tmp_path):
    touch(tmp_path, "p1/T1w.nii.gz", "p1/T1w.nii")
    with pytest.raises(InputError, match=r"T1w\.nii\.gz: T1w\.nii is also T1w"):
        find_cases(tmp_path)


def test_missing_empty_and_unusable(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        find_cases(tmp_path / "gone")
    with pytest.raises(InputError, match="no NIfTI, NRRD, MetaImage or DICOM file was found"):
        find_cases(tmp_path)
    touch(tmp_path, "scan.nii.gz")
    with pytest.raises(InputError, match=r"such as scan\.nii\.gz\) say no case"):
        find_cases(tmp_path)
    with pytest.raises(InputError, match="not a table"):
        find_cases(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["subject\tT1w", "a\tx.nii.gz"], "no column 'case'"),
        (["case\tT1w"], "has no rows"),
        (["case\tage", "a\t3"], "no column holds volumes"),
        (["case\tT1w\tT1w", "a\tx.nii.gz\tx.nii.gz"], "two columns have the same name"),
        (["case\tT1w", "a\tx.nii.gz", "a\tx.nii.gz"], "'a' is listed twice"),
        (["case\tT1w", "a\tgone.nii.gz"], r"case a, column T1w: 'gone\.nii\.gz' is not an existing volume"),
        (["case\tT1w", "a\tx.nii.gz", "b\t12"], "case b, column T1w: '12' is not an existing volume"),
        (["case\tT1w\tmask", "a\tx.nii.gz\tm.nii"], r"case a, column mask: 'm\.nii'"),
        (["case\tT1w", "a\tx.nii.gz\tmore"], "row 2: has 3 cells where the header has 2"),
        (["case\tT1w", "a\tx.nii.gz", "b\tn/a"], "case b: has no image"),
        (["case\tT1w\tsplit", "a\tx.nii.gz\ttrian"], "split 'trian' is not known; did you mean 'train'"),
        (["case\tT1w\tsplit", "a\tx.nii.gz\ttrain", "b\tx.nii.gz\t"], "case b: has no split, but others have"),
        (
            ["case\tT1w\tsubject\tsplit", "a\tx.nii.gz\tp\ttrain", "b\tx.nii.gz\tp\ttest"],
            "subject p is in the splits train and test",
        ),
        (["case\tT1w", "../a\tx.nii.gz"], "cannot name a case"),
        (["case\tT1w", "a/b\tx.nii.gz"], "cannot name a case"),
        (["case\tT1w", "..\tx.nii.gz"], "cannot name a case"),
        (["case\tT1w", "n/a\tx.nii.gz"], "'' cannot name a case"),
        (["case\t../../x\tT1w", "a\tx.nii.gz\tx.nii.gz"], r"'\.\./\.\./x' cannot name a modality"),
        (["case\t.T1w", "a\tx.nii.gz"], "'.T1w' cannot name a modality"),
    ],
)
def test_contradictions_are_named(tmp_path, lines, words):
    touch(tmp_path, "x.nii.gz")
    with pytest.raises(InputError, match=words) as caught:
        find_cases(table(tmp_path, *lines))
    assert "cases.tsv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_text(tmp_path):
    (tmp_path / "cases.tsv").write_bytes(b"\xff\xfe\x00c\x00a")
    with pytest.raises(InputError, match="cannot be read as a table"):
        find_cases(tmp_path)


def test_drawn_columns():
    assert all(
        is_drawn(c) for c in ("labels", "lesions", "Lesion", "mask", "seg", "lesion_seg", "brain_mask", "dseg")
    )
    assert not any(is_drawn(c) for c in ("T1w", "segT1", "FLAIR", "CT", "masked_T1w"))


def test_natural_order():
    assert sorted(["s10", "s9", "s1b", "s1", "10", "9"], key=natural) == ["9", "10", "s1", "s1b", "s9", "s10"]
