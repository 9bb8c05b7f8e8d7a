"""BIDS: which file is which modality of whom, and where synthetic files go."""

from pathlib import Path

import pytest

from transmodal.data.bids import derived_path, description, parse
from transmodal.data.layout import find_cases
from transmodal.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("name", "case", "modality"),
    [
        ("sub-01_T1w", "sub-01", "T1w"),
        ("sub-01_ses-2_acq-tse_run-1_T2w", "sub-01_ses-2", "T2w"),
        ("sub-01_ce-gadolinium_T1w", "sub-01", "T1c"),
        ("sub-01_ct", "sub-01", "CT"),
        ("sub-01_model-tensor_param-fa_dwimap", "sub-01", "FA"),
        ("sub-01_param-MD_dwimap", "sub-01", "MD"),
        ("sub-01_space-T1w_desc-brain_mask", "sub-01", "mask"),
        ("sub-01_label-lesion_mask", "sub-01", "lesion_mask"),
        ("sub-01_desc-aseg_dseg", "sub-01", "labels"),
        ("sub-01_dwi", "sub-01", ""),
        ("sub-01_task-rest_bold", "sub-01", ""),
    ],
)
def test_names(name: str, case: str, modality: str) -> None:
    found = parse(name)
    assert found is not None
    assert (found.case, found.modality) == (case, modality)


@pytest.mark.parametrize("name", ["T1w", "sub-01", "sub_T1w", "sub-01_T1w_x-", "subject01_T1w"])
def test_names_that_are_none(name: str) -> None:
    assert parse(name) is None


def test_derivatives_add_what_the_raw_data_lack(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/dwi/sub-01_dwi.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "derivatives/prep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
        "derivatives/prep/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "derivatives/prep/sub-01/anat/sub-01_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
        "derivatives/prep/sub-02/anat/sub-02_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
        "derivatives/fit/sub-01/dwi/sub-01_model-tensor_param-fa_dwimap.nii.gz",
        "derivatives/transmodal/sub-01/anat/sub-01_desc-synth_FLAIR.nii.gz",
        "derivatives/prep/sub-07/anat/sub-07_desc-brain_mask.nii.gz",
        "sourcedata/sub-09_T1w.nii.gz",
    )
    (tmp_path / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t71\tF\nsub-02\tn/a\tM\n")
    one, two = find_cases(tmp_path)
    assert one.images == {
        "T1w": tmp_path / "sub-01/anat/sub-01_T1w.nii.gz",
        "FA": tmp_path / "derivatives/fit/sub-01/dwi/sub-01_model-tensor_param-fa_dwimap.nii.gz",
    }
    assert one.mask == tmp_path / "derivatives/prep/sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    assert (one.facts, two.facts) == ({"age": "71", "sex": "F"}, {"sex": "M"})
    assert (set(two.images), two.mask) == ({"T1w"}, None)
    chosen = find_cases(tmp_path, ["desc-preproc", "space-MNI152NLin2009cAsym"])
    assert chosen[0].images["T1w"].name == "sub-01_desc-preproc_T1w.nii.gz"
    assert chosen[0].mask is not None
    assert "space-MNI" in chosen[0].mask.name
    assert chosen[1].mask is not None


def test_a_folder_of_derivatives_can_be_the_dataset(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", "sub-01/anat/sub-01_desc-synth_FLAIR.nii.gz")
    (only,) = find_cases(tmp_path)
    assert set(only.images) == {"T1w"}


def test_several_files_of_one_modality_are_chosen_by_entities(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01_run-1_T1w.nii.gz", "sub-01_run-2_T1w.nii.gz", "sub-02_T1w.nii.gz")
    with pytest.raises(
        InputError, match=r"case sub-01: .* are all T1w; set data\.prepare\.entities = \['run-1'\]"
    ):
        find_cases(tmp_path)
    one, two = find_cases(tmp_path, ["run-2"])
    assert one.images["T1w"].name == "sub-01_run-2_T1w.nii.gz"
    assert two.images["T1w"].name == "sub-02_T1w.nii.gz"


@pytest.mark.parametrize(
    ("case", "sources", "target", "expected"),
    [
        ("sub-01", ["sub-01_T1w"], "FLAIR", "sub-01/anat/sub-01_desc-synth_FLAIR.nii.gz"),
        ("sub-01_ses-2", ["sub-01_ses-2_acq-hr_run-1_T1w", "sub-01_ses-2_run-1_T2w"], "PDw",
         "sub-01/ses-2/anat/sub-01_ses-2_run-1_desc-synth_PDw.nii.gz"),
        ("sub-01", ["sub-01_T1w"], "FA", "sub-01/dwi/sub-01_model-pix2pix_param-fa_desc-synth_dwimap.nii.gz"),
        ("sub-01", ["sub-01_T1w"], "CT", "sub-01/ct/sub-01_desc-synth_ct.nii.gz"),
        ("sub-01", ["sub-01_T1w"], "T1c", "sub-01/anat/sub-01_ce-agent_desc-synth_T1w.nii.gz"),
    ],
)  # fmt: skip
def test_names_of_synthetic_files_say_so_and_read_back(
    case: str, sources: list[str], target: str, expected: str
) -> None:
    made = derived_path(case, [Path(f"{name}.nii.gz") for name in sources], target, "pix2pix")
    assert made == Path(expected)
    named = parse(made.name.removesuffix(".nii.gz"))
    assert named is not None
    assert (named.case, named.modality, named.is_synthetic) == (case, target, True)


def test_description(tmp_path: Path) -> None:
    found = description("Synthetic FLAIR", "0.1.0", tmp_path)
    assert found["DatasetType"] == "derivative"
    assert found["GeneratedBy"][0]["Version"] == "0.1.0"
    assert found["SourceDatasets"] == [{"URL": tmp_path.resolve().as_uri()}]
