"""From any grid and back: the output lies bit for bit where the input lies, in its units, marked synthetic."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import transmodal
from transmodal import registry
from transmodal.data.bring import PrepareSettings
from transmodal.data.intensity import IntensityFit
from transmodal.data.sampling import Sampling
from transmodal.data.task import Task
from transmodal.data.volume import from_image, read_volume
from transmodal.errors import InputError, PartialFailure, RecipeError, Refused
from transmodal.evaluation.evaluate import evaluate
from transmodal.inference.files import synthesize_paths
from transmodal.inference.model import Model, load_model, save_model
from transmodal.inference.predict import InferenceSettings, Scan, Translation, predict


def copying_model(size: tuple[int, int] = (12, 12), **changes: Any) -> Model:
    """A model that hands its source back: CT to CT, so that what comes out must be what went in."""
    task = Task(("T1w",), ("CT",))
    model = Model(
        name="identity",
        method=registry.build("identity", task, {}).eval(),
        arguments={},
        task=task,
        sampling=Sampling(size=size),
        prepare=PrepareSettings(intensity={"T1w": {"kind": "window", "low": -1024.0, "high": 3071.0}}),
        inference=InferenceSettings(),
        fits={"CT": IntensityFit("window", 1023.5, 2047.5, -1.0, 1.0)},
        spacing=(2.0, 2.0, 2.0),
    )
    return replace(model, **changes)


def scan(affine: np.ndarray, shape: tuple[int, int, int] = (18, 21, 15), seed: int = 0) -> nib.Nifti1Image:
    """A ball of tissue in air with integer values."""
    index = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape], indexing="ij"))
    ball = (index**2).sum(axis=0) < 0.7
    noise = np.random.default_rng(seed).integers(-80, 80, shape)
    return nib.Nifti1Image(np.where(ball, 40 + noise, -1000).astype(np.int16), affine)


def affines() -> dict[str, np.ndarray]:
    def made(linear: np.ndarray) -> np.ndarray:
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = linear, (-11.25, 7.5, 3.125)
        return affine

    turn = Rotation.from_euler("xyz", [12, -20, 31], degrees=True).as_matrix()
    return {
        "plain": made(np.diag([2.0, 2.0, 2.0])),
        "left-handed": made(np.diag([-2.0, 2.0, 2.0])),
        "LPS": made(np.diag([-2.0, -2.0, 2.0])),
        "sagittal": made(np.array([[0, 0, 2.0], [2.0, 0, 0], [0, -2.0, 0]])),
        "anisotropic": made(np.diag([1.0, 1.0, 5.0])),
        "oblique": made(turn @ np.diag([1.5, 2.0, 2.5])),
        "sheared": made(np.array([[2.0, 0.3, 0], [0, 2.0, 0.2], [0, 0, 2.0]])),
    }


@pytest.mark.parametrize("name", list(affines()))
def test_output_lies_bit_for_bit_on_the_input_and_values_return(name: str) -> None:
    image = scan(affines()[name])
    image.set_qform(affines()[name] if name != "sheared" else np.eye(4), code=1)
    image.set_sform(affines()[name], code=2)
    made = transmodal.synthesize(copying_model(), image)
    for key in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
                "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"):  # fmt: skip
        assert made.header[key].tobytes() == image.header[key].tobytes(), key
    assert made.header["pixdim"][:4].tobytes() == image.header["pixdim"][:4].tobytes()
    assert np.array_equal(made.affine, image.affine)
    assert made.get_data_dtype() == np.int16
    assert made.header["descrip"].tobytes().startswith(b"SYNTHETIC CT")
    inside = np.asarray(image.dataobj) > -900
    assert np.abs(np.asarray(made.dataobj)[inside] - np.asarray(image.dataobj)[inside]).max() < 0.5


@pytest.mark.parametrize("shape", [(5, 40, 9), (40, 5, 33), (13, 13, 1), (31, 29, 23)])
def test_any_size_is_tiled(shape: tuple[int, int, int]) -> None:
    image = scan(np.diag([2.0, 2, 2, 1]), shape)
    everywhere = nib.Nifti1Image(np.ones(shape, np.uint8), image.affine)
    made = transmodal.synthesize(copying_model(), image, mask=everywhere)
    assert np.abs(np.asarray(made.dataobj) - np.asarray(image.dataobj)).max() <= 1


def test_resampling_to_the_model_and_back_keeps_a_smooth_image() -> None:
    shape = (30, 36, 24)
    ramp = np.linspace(0, 400, shape[0])[:, None, None] + np.zeros(shape)
    image = nib.Nifti1Image(ramp.astype(np.float32), np.diag([1.0, 1, 1, 1]))
    model = copying_model(prepare=replace(copying_model().prepare, spacing=2.0))
    mask = nib.Nifti1Image(np.ones(shape, np.uint8), image.affine)
    made = np.asarray(transmodal.synthesize(model, image, mask=mask).dataobj)
    assert np.abs(made - ramp)[3:-3].max() < 2


def test_three_planes_are_averaged(recipe: Any, run: Path) -> None:
    model = load_model(run)
    volume = np.random.default_rng(0).normal(size=(1, 24, 24, 24)).astype(np.float32)
    mask = np.ones((24, 24, 24), dtype=bool)
    fits = {"T1w": IntensityFit("zscore", 0.0, 1.0)}

    def made(*planes: str) -> np.ndarray:
        settings = InferenceSettings(planes=planes)
        how = Translation(model.method, model.task, model.sampling, settings)
        return predict(how, Scan({"T1w": volume}, fits, mask))

    planes = ["axial", "coronal", "sagittal"]
    mean = np.mean([made(plane) for plane in planes], axis=0)
    np.testing.assert_allclose(made(*planes), mean, atol=1e-5)
    assert np.abs(made("axial") - made("coronal")).max() > 1e-3


def test_a_model_comes_back_as_it_was_saved(run: Path, cohort: Path, tmp_path: Path) -> None:
    model = load_model(run / "model")
    image = nib.load(cohort / "sub-001" / "T1w.nii.gz")
    before = np.asarray(transmodal.synthesize(model, image).dataobj)
    save_model(model, tmp_path / "copy")
    again = load_model(tmp_path / "copy")
    assert again.sha256 == model.sha256
    assert np.array_equal(np.asarray(transmodal.synthesize(again, [image]).dataobj), before)
    assert np.array_equal(np.asarray(transmodal.synthesize(again, {"T1w": image}).dataobj), before)


def test_a_damaged_foreign_or_pickled_model_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model"):
        load_model(tmp_path / "nothing")
    pickle = tmp_path / "net.pth"
    pickle.write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match="pickle"):
        load_model(pickle)
    with pytest.raises(InputError, match=r"no model\.json"):
        load_model(tmp_path)
    save_model(load_model(run), tmp_path / "model")
    weights = tmp_path / "model" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="sha256"):
        load_model(tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "model.json").read_text())
    (tmp_path / "model" / "model.json").write_text(json.dumps(facts | {"format": "other"}))
    with pytest.raises(InputError, match="format"):
        load_model(tmp_path / "model")


def test_files_get_a_sidecar_and_are_not_overwritten(run: Path, cohort: Path, tmp_path: Path) -> None:
    image, out = cohort / "sub-001" / "T1w.nii.gz", tmp_path / "fa.nii.gz"
    assert synthesize_paths(run / "model", [str(image)], out) == [out]
    sidecar = json.loads((tmp_path / "fa.json").read_text())
    assert sidecar["Synthetic"] is True
    assert sidecar["Units"] == "1"
    assert sidecar["Model"]["SHA256"] == load_model(run).sha256
    made = read_volume(out)
    assert 0 <= made.data.min() <= made.data.max() <= 1
    assert made.grid.same_as(read_volume(image).grid)
    with pytest.raises(Refused, match="--force"):
        synthesize_paths(run / "model", [str(image)], out)
    synthesize_paths(run / "model", [f"T1w={image}"], out, force=True)


def test_a_batch_goes_on_after_a_bad_case(run: Path, cohort: Path, tmp_path: Path) -> None:
    table = tmp_path / "cases.tsv"
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"not an image")
    table.write_text(f"case\tT1w\ngood\t{cohort}/sub-001/T1w.nii.gz\nbad\t{bad}\n")
    with pytest.raises(PartialFailure, match=r"1 of 2 cases failed \(bad\)") as caught:
        synthesize_paths(run / "model", [str(table)], tmp_path / "out")
    assert "bad.nii.gz" in caught.value.failures["bad"]
    assert (tmp_path / "out" / "good_synth-FA.nii.gz").exists()
    assert not list((tmp_path / "out").glob("*bad*"))
    record = tmp_path / "out" / "failures.json"
    assert json.loads(record.read_text())["Failures"] == caught.value.failures
    shutil.copy(cohort / "sub-002" / "T1w.nii.gz", bad)
    assert len(synthesize_paths(run / "model", [str(table)], tmp_path / "out")) == 2
    assert not record.exists()


@pytest.mark.parametrize("problem", [MemoryError(), RuntimeError("CUDA out of memory")])
def test_a_batch_goes_on_after_a_case_that_is_too_large(
    run: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def read(path: Path, **settings: Any) -> Any:
        if "sub-002" in str(path):
            raise problem
        return read_volume(path, **settings)

    monkeypatch.setattr("transmodal.inference.errand.read_volume", read)
    with pytest.raises(PartialFailure, match=r"1 of 4 cases failed \(sub-002\)") as caught:
        synthesize_paths(run / "model", [str(cohort)], tmp_path / "out")
    assert type(problem).__name__ in caught.value.failures["sub-002"]
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 3


def test_a_bids_data_set_becomes_one_of_derivatives_that_evaluate_reads(
    run: Path, cohort: Path, tmp_path: Path
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "raw" / "derivatives" / "transmodal"
    for case, session in (("sub-001", ""), ("sub-002", "_ses-1")):
        folder = raw / case / session.strip("_") / "anat"
        folder.mkdir(parents=True)
        shutil.copy(cohort / case / "T1w.nii.gz", folder / f"{case}{session}_acq-hr_T1w.nii.gz")
        shutil.copy(cohort / case / "FA.nii.gz", folder / f"{case}{session}_param-fa_dwimap.nii.gz")
    (raw / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
    written = synthesize_paths(run / "model", [str(raw)], out)
    name = load_model(run).name
    assert [str(path.relative_to(out)) for path in written] == [
        f"sub-001/dwi/sub-001_acq-hr_model-{name}_param-fa_desc-synth_dwimap.nii.gz",
        f"sub-002/ses-1/dwi/sub-002_ses-1_acq-hr_model-{name}_param-fa_desc-synth_dwimap.nii.gz",
    ]
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    sidecar = json.loads(written[0].with_name(written[0].name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Sources"] == {"T1w": "bids:raw:sub-001/anat/sub-001_acq-hr_T1w.nii.gz"}
    # What was made is not taken for data, and is matched with the measured maps.
    rows = evaluate(out, raw, out=tmp_path / "scores", target="FA")
    assert {row.case for row in rows} == {"sub-001", "sub-002_ses-1"}
    assert all(row.value > 0 for row in rows if row.metric == "MAE")


def bids_set(root: Path, cohort: Path) -> Path:
    """A raw data set of one person."""
    folder = root / "sub-001" / "anat"
    folder.mkdir(parents=True)
    shutil.copy(cohort / "sub-001" / "T1w.nii.gz", folder / "sub-001_T1w.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "theirs", "BIDSVersion": "1.10.0"}')
    return root


def test_no_description_of_another_data_set_is_replaced(run: Path, cohort: Path, tmp_path: Path) -> None:
    raw, other = (bids_set(tmp_path / name, cohort) for name in ("raw", "other"))
    link = tmp_path / "link"
    link.symlink_to(raw)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for out, reason in (
        (raw, "is the data set itself"),
        (link, "is the data set itself"),
        (other, "dataset_description.json: was not written by Transmodal"),
    ):
        for force in (False, True):
            with pytest.raises(InputError, match=reason):
                synthesize_paths(run / "model", [str(raw)], out, force=force)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for _ in range(2):
        assert len(synthesize_paths(run / "model", [str(raw)], tmp_path / "out")) == 1


@pytest.mark.parametrize("content", ['{"sub-001": "fell asleep"}', '{"GeneratedBy": [{"Name": "x"}]}', "[1]", "?"])
def test_a_list_of_failures_of_something_else_stays(run: Path, cohort: Path, tmp_path: Path, content: str) -> None:
    theirs = tmp_path / "failures.json"
    theirs.write_text(content)
    with pytest.raises(InputError, match=r"failures.json: was not written by Transmodal"):
        synthesize_paths(run / "model", [str(cohort)], tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == [content]


def test_a_table_in_a_bids_folder_keeps_the_names_of_its_cases(run: Path, cohort: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    shutil.copy(cohort / "sub-001" / "T1w.nii.gz", root / "inside.nii.gz")
    rows = f"case\tT1w\npat1\tinside.nii.gz\npat2\t{cohort}/sub-002/T1w.nii.gz\n"
    (root / "cases.tsv").write_text(rows)
    (root / "dataset_description.json").write_text("{}")
    written = synthesize_paths(run / "model", [str(root)], tmp_path / "out")
    assert [path.name for path in written] == ["pat1_synth-FA.nii.gz", "pat2_synth-FA.nii.gz"]
    sources = [json.loads((tmp_path / "out" / f"pat{n}_synth-FA.json").read_text())["Sources"] for n in (1, 2)]
    assert sources == [{"T1w": "bids:raw:inside.nii.gz"}, {"T1w": f"{cohort}/sub-002/T1w.nii.gz"}]


def test_sources_that_do_not_fit_are_refused(run: Path, cohort: Path, tmp_path: Path) -> None:
    model = load_model(run)
    image = nib.load(cohort / "sub-001" / "T1w.nii.gz")
    with pytest.raises(InputError, match="T2w: the model does not take it"):
        transmodal.synthesize(model, {"T2w": image})
    with pytest.raises(InputError, match="2 images"):
        transmodal.synthesize(model, [image, image])
    with pytest.raises(RecipeError, match="twice"):
        synthesize_paths(run / "model", [f"T1w={tmp_path}", f"T1w={tmp_path}"], tmp_path)
    two = copying_model(task=Task(("T1w", "T2w"), ("CT",)))
    shifted = nib.Nifti1Image(np.asarray(image.dataobj), image.affine + np.eye(4) * 0.5)
    with pytest.raises(InputError, match="does not lie on the grid of T1w"):
        transmodal.synthesize(two, [image, shifted])
    with pytest.raises(InputError, match="does not lie on the grid"):
        transmodal.synthesize(model, image, mask=shifted)
    empty = nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine)
    with pytest.raises(InputError, match="empty"):
        transmodal.synthesize(model, image, mask=empty)


def test_from_image_is_what_synthesis_reads(cohort: Path) -> None:
    path = cohort / "sub-001" / "T1w.nii.gz"
    assert np.array_equal(from_image(nib.load(path)).data, read_volume(path).data)
