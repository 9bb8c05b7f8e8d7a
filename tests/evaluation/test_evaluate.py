import json
import math
import os
import sys

import nibabel as nib
import numpy as np
import pytest

from transmodal import progress
from transmodal.data.grid import Grid
from transmodal.data.prepare import prepare
from transmodal.data.volume import Volume, read_volume, write_volume
from transmodal.errors import InputError, PartialFailure, RecipeError
from transmodal.evaluation.evaluate import evaluate
from transmodal.evaluation.table import read_rows

SHAPE = (14, 13, 12)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
RANDOM = np.random.default_rng(0)
REFERENCE = {name: RANDOM.uniform(0, 100, (1, *SHAPE)).astype(np.float32) for name in ("a", "b", "c")}
MASK = np.zeros((1, *SHAPE), dtype=np.float32)
MASK[:, 4:10, 4:10, 4:10] = 1


def save(path, values, affine=AFFINE, **options):
    write_volume(Volume(values, Grid(values.shape[1:], affine)), path, **options)
    return path


@pytest.fixture
def said(monkeypatch):
    """Sentences for the user."""
    sentences = []
    monkeypatch.setattr(sys.modules[evaluate.__module__], "warn", sentences.append)
    return sentences


@pytest.fixture
def folders(tmp_path):
    """Three cases: predictions are 1, 2 and 3 too high; the mask is the same."""
    for error, (name, values) in enumerate(REFERENCE.items(), start=1):
        save(tmp_path / "reference" / f"{name}.nii.gz", values)
        save(tmp_path / "prediction" / f"{name}.nii.gz", values + error)
        save(tmp_path / "mask" / f"{name}_mask.nii.gz", MASK)
    return tmp_path


def errors(rows):
    return {row.case: round(row.value, 4) for row in rows if row.metric == "MAE"}


def run(folder, **options):
    chosen = {"out": folder / "out", "mask": folder / "mask"} | options
    return evaluate(folder / "prediction", folder / "reference", **chosen)


def test_folders(folders, said):
    rows = run(folders, method="pix2pix")
    assert errors(rows) == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert len(rows) == 15
    assert {row.n for row in rows} == {216}
    assert read_rows(folders / "out" / "evaluation.csv") == rows
    content = json.loads((folders / "out" / "evaluation.json").read_text())
    mae = next(entry for entry in content["summary"] if entry["metric"] == "MAE")
    assert (mae["n"], mae["mean"], mae["sd"]) == (3, pytest.approx(2.0, abs=1e-5), pytest.approx(1.0, abs=1e-5))
    assert content["settings"]["failures"] == {}
    assert said == []


def test_manifest_paths_lead_from_out_to_the_files(folders):
    run(folders, method="pix2pix", target="CT")
    out = folders / "out"
    content = json.loads((out / "report.json").read_text())
    assert (content["target"], content["unit"], content["window"]) == ("CT", "HU", [-1024.0, 3071.0])
    assert [entry["case"] for entry in content["cases"]] == ["a", "b", "c"]
    for entry in content["cases"]:
        name = entry["case"]
        for path, place in (
            (entry["reference"], f"reference/{name}.nii.gz"),
            (entry["predictions"]["pix2pix"], f"prediction/{name}.nii.gz"),
            (entry["mask"], f"mask/{name}_mask.nii.gz"),
        ):
            assert not os.path.isabs(path)
            assert (out / path).samefile(folders / place)


def test_two_files(folders, said):
    one = folders / "prediction" / "b.nii.gz", folders / "reference" / "c.nii.gz"
    rows = evaluate(*one, out=folders / "out", mask=folders / "mask" / "a_mask.nii.gz")
    expected = np.abs(REFERENCE["b"] + 2 - REFERENCE["c"])[MASK > 0].mean()
    assert errors(rows) == {"b": pytest.approx(expected, abs=1e-3)}
    assert said == []


@pytest.mark.parametrize(
    ("target", "data_range", "words", "unit"),
    [
        ("CT", None, "range=4095", "HU"),
        ("FA", None, "range=1", "1"),
        ("FLAIR", None, "range=reference", "a.u."),
        (None, None, "range=reference", "a.u."),
        ("CT", 500.0, "range=500", "HU"),
    ],
)
def test_range_and_unit_come_from_the_target(folders, target, data_range, words, unit):
    rows = run(folders, target=target, data_range=data_range)
    by_name = {row.metric: row for row in rows if row.case == "b"}
    assert by_name["PSNR"].convention == f"3d masked {words}"
    assert by_name["MAE"].unit == unit
    inside = REFERENCE["b"][MASK > 0].astype(float)
    width = np.ptp(inside) if words == "range=reference" else float(words.split("=")[1])
    assert by_name["PSNR"].value == pytest.approx(20 * math.log10(width / 2), abs=1e-4)


def test_without_a_mask_the_whole_volume_counts_and_a_warning_says_so(folders, said):
    rows = run(folders, mask=None)
    assert {row.n for row in rows} == {math.prod(SHAPE)}
    assert {row.region for row in rows} == {"volume"}
    assert len(said) == 1
    assert "no mask for a, b, c" in said[0]
    assert "inflates PSNR" in said[0]


@pytest.mark.parametrize(
    "name", ["{}_synth-FLAIR.nii.gz", "{}_desc-synth_FLAIR.nii", "{}/anything.nii.gz", "{}.nii"]
)
def test_names_of_predictions(folders, name):
    for error, (case, values) in enumerate(REFERENCE.items(), start=1):
        save(folders / "other" / name.format(case), values - error)
    rows = evaluate(folders / "other", folders / "reference", out=folders / "out", mask=folders / "mask")
    assert errors(rows) == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_target_chooses_among_predictions(folders):
    for case, values in REFERENCE.items():
        save(folders / "both" / f"{case}_synth-FLAIR.nii.gz", values + 4)
        save(folders / "both" / f"{case}_synth-T2w.nii.gz", values + 5)
    both = folders / "both", folders / "reference"
    for target, error in (("FLAIR", 4.0), ("T2w", 5.0)):
        rows = evaluate(*both, out=folders / "out", mask=folders / "mask", target=target)
        assert set(errors(rows).values()) == {error}
    with pytest.raises(InputError, match=r"several predictions .*give --target"):
        evaluate(*both, out=folders / "out", mask=folders / "mask")


def dataset(folder, table=False):
    """Cases with T1w (9 too high), FLAIR and a mask; as folders or as a table."""
    lines = ["case\tT1w\tFLAIR\tmask"]
    for case, values in REFERENCE.items():
        for name, image in (("T1w", values + 9), ("FLAIR", values), ("mask", MASK)):
            save(folder / case / f"{name}.nii.gz", image)
        lines.append("\t".join([case, *(f"{case}/{name}.nii.gz" for name in ("T1w", "FLAIR", "mask"))]))
    if not table:
        return folder
    (folder / "list.tsv").write_text("\n".join(lines) + "\n")
    return folder / "list.tsv"


@pytest.mark.parametrize("table", [False, True])
def test_reference_may_be_a_dataset_whose_masks_are_used(folders, said, table):
    source = dataset(folders / "data", table)
    rows = evaluate(folders / "prediction", source, out=folders / "out", target="FLAIR")
    assert errors(rows) == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert {row.n for row in rows} == {216}
    assert said == []
    content = json.loads((folders / "out" / "report.json").read_text())
    assert (folders / "out" / content["cases"][0]["sources"]["T1w"]).samefile(folders / "data/a/T1w.nii.gz")
    with pytest.raises(RecipeError, match="FLAIR, T1w; say with --target"):
        evaluate(folders / "prediction", source, out=folders / "out")
    with pytest.raises(InputError, match="no case has FLIAR; did you mean 'FLAIR'"):
        evaluate(folders / "prediction", source, out=folders / "out", target="FLIAR")


def test_reference_may_be_a_prepared_dataset(folders, said):
    source = prepare(dataset(folders / "data"), folders / "prepared")
    for case in source.names:
        image = read_volume(folders / "prepared" / "cases" / case / "FLAIR.nii")
        save(folders / "made" / f"{case}.nii.gz", image.data + 4, image.affine)
    rows = evaluate(folders / "made", folders / "prepared", out=folders / "out", target="FLAIR")
    assert errors(rows) == {"a": 4.0, "b": 4.0, "c": 4.0}
    assert {row.region for row in rows} == {"mask"}
    assert said == []


def test_flat_reference_folder_with_several_modalities(folders):
    for case, values in REFERENCE.items():
        save(folders / "flat" / f"{case}_T1w.nii.gz", values + 9)
        save(folders / "flat" / f"{case}_FLAIR.nii.gz", values)
    rows = evaluate(
        folders / "prediction", folders / "flat", out=folders / "out", target="FLAIR", mask=folders / "mask"
    )
    assert errors(rows) == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_voxels_stored_in_another_order_are_the_same_volume(folders):
    flip = AFFINE.copy()
    flip[0, 0], flip[0, 3] = -2.0, 2.0 * (SHAPE[0] - 1)
    turned = REFERENCE["a"][:, ::-1] + 1
    save(folders / "turned.nii.gz", np.ascontiguousarray(turned), flip)
    rows = evaluate(
        folders / "turned.nii.gz",
        folders / "reference" / "a.nii.gz",
        out=folders / "out",
        mask=folders / "mask" / "a_mask.nii.gz",
    )
    assert errors(rows) == {"turned": 1.0}


def shifted(folders):
    affine = AFFINE.copy()
    affine[2, 3] = 1.0
    return save(folders / "prediction" / "b.nii.gz", REFERENCE["b"], affine)


def test_another_grid_is_refused_with_both_files_and_the_remedy(folders):
    bad = shifted(folders)
    good = folders / "reference" / "b.nii.gz"
    with pytest.raises(InputError, match="another grid") as problem:
        evaluate(bad, good, out=folders / "out")
    sentence = str(problem.value)
    for word in (str(bad), str(good), "14×13×12", "12.00)", "11.00)", "resample", "transmodal synthesize"):
        assert word in sentence
    assert not (folders / "out").exists()


def test_one_bad_case_does_not_stop_the_others(folders):
    shifted(folders)
    (folders / "prediction" / "c.nii.gz").write_text("not an image")
    save(folders / "prediction" / "d.nii.gz", REFERENCE["a"])
    with pytest.raises(PartialFailure, match="3 of 4 cases failed") as problem:
        run(folders)
    assert problem.value.exit_code == 4
    assert set(problem.value.failures) == {"b", "c", "d"}
    assert "c.nii.gz" in problem.value.failures["c"]
    assert "no reference for case 'd'" in problem.value.failures["d"]
    assert errors(read_rows(folders / "out" / "evaluation.csv")) == {"a": 1.0}
    content = json.loads((folders / "out" / "evaluation.json").read_text())
    assert content["settings"]["failures"] == problem.value.failures
    assert len(json.loads((folders / "out" / "report.json").read_text())["cases"]) == 1


def test_an_evaluation_that_fails_leaves_what_was_there(folders):
    run(folders)
    before = {path.name: path.read_bytes() for path in (folders / "out").iterdir()}
    assert set(before) == {"evaluation.csv", "evaluation.json", "report.json"}
    for case in REFERENCE:
        save(folders / "mask" / f"{case}_mask.nii.gz", np.zeros_like(MASK))
    with pytest.raises(InputError, match=r"none of the 3 cases.*mask of case 'a' has no voxel"):
        run(folders)
    assert {path.name: path.read_bytes() for path in (folders / "out").iterdir()} == before


def test_references_without_a_prediction_are_named(folders, said):
    (folders / "prediction" / "b.nii.gz").unlink()
    assert errors(run(folders)) == {"a": 1.0, "c": 3.0}
    assert said == ["no prediction for b: these references are not evaluated"]
    content = json.loads((folders / "out" / "evaluation.json").read_text())
    assert content["settings"]["without_prediction"] == ["b"]


def test_a_case_without_a_mask_fails_where_masks_were_asked_for(folders):
    (folders / "mask" / "b_mask.nii.gz").unlink()
    with pytest.raises(PartialFailure, match="no mask for case 'b'"):
        run(folders)


def test_mask_on_another_grid_is_refused(folders):
    save(folders / "small.nii.gz", MASK[:, 1:])
    with pytest.raises(InputError, match=r"small\.nii\.gz lies on another grid"):
        run(folders, mask=folders / "small.nii.gz")


def test_identical_volumes_give_an_infinite_psnr_that_is_counted(folders):
    save(folders / "prediction" / "a.nii.gz", REFERENCE["a"])
    rows = run(folders)
    assert next(r.value for r in rows if r.case == "a" and r.metric == "PSNR") == math.inf
    content = json.loads((folders / "out" / "evaluation.json").read_text())
    psnr = next(entry for entry in content["summary"] if entry["metric"] == "PSNR")
    assert (psnr["n"], psnr["infinite"]) == (2, 1)


def test_colour_against_colour_only(folders):
    colour = np.repeat(np.round(REFERENCE["a"]), 3, axis=0)
    save(folders / "made.nii.gz", colour + 2, dtype="rgb")
    save(folders / "true.nii.gz", colour, dtype="rgb")
    rows = evaluate(folders / "made.nii.gz", folders / "true.nii.gz", out=folders / "out", target="cryo")
    assert errors(rows) == {"made": 2.0}
    assert rows[0].unit == "RGB"
    with pytest.raises(InputError, match="3 channel"):
        evaluate(folders / "made.nii.gz", folders / "reference" / "a.nii.gz", out=folders / "out")


def test_probabilities_as_a_mask_count_from_one_half(folders):
    soft = np.where(MASK > 0, 0.6, 0.4).astype(np.float32)
    nib.save(nib.Nifti1Image(soft[0], AFFINE), folders / "soft.nii.gz")
    assert {row.n for row in run(folders, mask=folders / "soft.nii.gz")} == {216}


@pytest.mark.parametrize(
    ("prediction", "reference", "error", "message"),
    [
        ("nowhere", "reference", InputError, "nowhere: there is no such"),
        ("prediction", "nowhere", InputError, "nowhere: there is no such"),
        ("prediction", "reference/a.nii.gz", InputError, "two files or two folders"),
        ("prediction/a.nii.gz", "reference", InputError, "two files or two folders"),
        ("empty", "reference", InputError, "no .nii or .nii.gz file"),
        ("text.nii.gz", "reference/a.nii.gz", InputError, "text.nii.gz: cannot be read"),
    ],
)
def test_bad_paths(folders, prediction, reference, error, message):
    (folders / "empty").mkdir()
    (folders / "text.nii.gz").write_text("hello")
    with pytest.raises(error, match=message.replace(".", r"\.")):
        evaluate(folders / prediction, folders / reference, out=folders / "out")


def test_bad_range_is_refused_before_anything_is_read(folders):
    with pytest.raises(RecipeError, match="data_range = -1"):
        evaluate(folders / "nowhere", folders / "nowhere", out=folders / "out", data_range=-1.0)


def test_library_use_is_silent(folders, capsys):
    progress.use("silent")
    run(folders, mask=None)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
