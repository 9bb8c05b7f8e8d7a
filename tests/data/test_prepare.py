import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from transmodal.data.bring import PrepareSettings
from transmodal.data.files import part
from transmodal.data.prepare import prepare
from transmodal.data.prepared import PreparedCase, PreparedDataset
from transmodal.data.volume import read_volume
from transmodal.errors import InputError, PartialFailure, RecipeError

NOBODY = 2**22 + 1
"""The number of no process: Linux counts up to 2²²."""


def stamps(out: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in out.glob("cases/*/case.json")}


def test_a_dataset_with_a_missing_modality(heads, tmp_path):
    table = heads(3, gone={"sub-02": "T2w"})
    out = tmp_path / "out"
    dataset = prepare(table, out)
    assert dataset.names == ("sub-01", "sub-02", "sub-03")
    assert dataset.settings == PrepareSettings(modalities=("T1w", "T2w"), reference="T1w")
    assert dataset.case("sub-02").modalities == ("T1w",)
    assert dataset.case("sub-01").modalities == ("T1w", "T2w")
    assert dataset.case("sub-03").facts == {"age": "73"}
    raw = read_volume(table.parent / "sub-01/T1w.nii.gz").canonical()
    np.testing.assert_array_equal(dataset.case("sub-01").values("T1w"), raw.data)
    np.testing.assert_array_equal(read_volume(out / "cases/sub-01/T1w.nii").data, raw.data)
    np.testing.assert_allclose(nib.load(out / "cases/sub-01/T1w.nii").affine, raw.affine)
    assert nib.load(out / "cases/sub-01/mask.nii").get_data_dtype() == np.uint8
    assert nib.load(out / "cases/sub-01/labels.nii").get_data_dtype() == np.int16
    assert json.loads((out / "splits.json").read_text())["folds"] == {}
    fingerprint = json.loads((out / "fingerprint.json").read_text())
    assert {m: f["n"] for m, f in fingerprint["modalities"].items()} == {"T1w": 3, "T2w": 2}
    assert fingerprint["modalities"]["T1w"]["pooled"]["orientation"] == {"LAS": 3}


def test_a_second_run_makes_only_what_changed(heads, tmp_path):
    table, out = heads(3), tmp_path / "out"
    prepare(table, out)
    first = stamps(out)
    assert prepare(table, out).names == ("sub-01", "sub-02", "sub-03")
    assert stamps(out) == first

    raw = table.parent / "sub-02/T1w.nii.gz"
    image = nib.load(raw)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) * 2, image.affine), raw)
    left = part(out / "cases" / "sub-01")
    left.with_name(left.name.replace(f".{os.getpid()}.", f".{NOBODY}.")).mkdir()
    dataset = prepare(table, out)
    second = stamps(out)
    assert {n for n in first if first[n] != second[n]} == {"sub-02"}
    np.testing.assert_array_equal(dataset.case("sub-02").values("T1w"), read_volume(raw).canonical().data)
    assert sorted(os.listdir(out / "cases")) == ["sub-01", "sub-02", "sub-03"]

    prepare(table, out, PrepareSettings(mask="labels"))
    assert not set(stamps(out).values()) & set(second.values())


def test_stopping_in_the_middle_leaves_a_dataset_that_goes_on(heads, tmp_path, monkeypatch):
    table, out = heads(3), tmp_path / "out"
    from transmodal.data import prepare as module

    def stop(job, real=module.prepare_case):
        if job.case.name == "sub-02":
            raise KeyboardInterrupt
        real(job)

    monkeypatch.setattr(module, "prepare_case", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(table, out)
    monkeypatch.undo()
    kept = stamps(out)
    assert set(kept) == {"sub-01"}
    prepare(table, out)
    assert stamps(out)["sub-01"] == kept["sub-01"]
    assert set(stamps(out)) == {"sub-01", "sub-02", "sub-03"}


def test_one_bad_case_does_not_stop_the_others(heads, tmp_path):
    table, out = heads(3), tmp_path / "out"
    path = table.parent / "sub-02/T2w.nii.gz"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(PartialFailure, match=r"1 of 3 cases failed \(sub-02\)") as caught:
        prepare(table, out)
    assert caught.value.exit_code == 4
    assert "truncated" in caught.value.failures["sub-02"]
    dataset = PreparedDataset.open(out)
    assert dataset.names == ("sub-01", "sub-03")
    assert dataset.case("sub-03").values("T2w").any()
    assert sorted(os.listdir(out / "cases")) == ["sub-01", "sub-03"]


def test_when_all_fail_it_is_an_input_error(heads, tmp_path):
    table, out = heads(2), tmp_path / "out"
    for path in table.parent.glob("*/T1w.nii.gz"):
        path.write_text("not a scan")
    with pytest.raises(InputError, match=r"none of the 2 cases could be prepared; the first one: .*T1w"):
        prepare(table, out)
    with pytest.raises(InputError, match="holds no finished case"):
        PreparedDataset.open(out)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: d * 0, "every voxel is zero"),
        (lambda d: np.where(d > 150, np.nan, d) if (d > 150).any() else d * np.nan, "NaN or infinite"),
        (lambda d: d[:, :, 0], "has 2 axes"),
        (lambda d: np.stack([d] * 2, -1), "has 4 axes"),
        (lambda d: d[:0], "has no voxels"),
        (lambda d: d * 0 + 5, "no foreground was found|no contrast"),
    ],
)
def test_bad_scans_are_named(heads, tmp_path, spoil, words):
    table = heads(1)
    path = table.parent / "sub-01/T1w.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(spoil(image.get_fdata(dtype=np.float32)), image.affine), path)
    with pytest.raises(InputError, match=words) as caught:
        prepare(table, tmp_path / "out")
    assert "T1w.nii.gz" in str(caught.value)


def test_sources_on_grids_that_do_not_overlap(heads, tmp_path):
    table = heads(1)
    path = table.parent / "sub-01/T2w.nii.gz"
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 100
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32), affine), path)
    with pytest.raises(InputError, match=r"T2w\.nii\.gz: shares only 0% of its field of view with .*T1w\.nii\.gz"):
        prepare(table, tmp_path / "out")


def test_an_empty_label_map_as_mask(heads, save, tmp_path):
    table = heads(1)
    save("raw/sub-01/labels.nii.gz", np.zeros((20, 24, 16), np.uint8))
    with pytest.raises(InputError, match=r"labels\.nii\.gz: gives an empty mask"):
        prepare(table, tmp_path / "out", PrepareSettings(mask="labels"))


def test_labels_beyond_16_bits(heads, save, tmp_path):
    table = heads(1)
    save("raw/sub-01/labels.nii.gz", np.full((20, 24, 16), 40000, np.int32))
    with pytest.raises(InputError, match=r"labels\.nii\.gz: holds labels beyond"):
        prepare(table, tmp_path / "out")
    assert not (tmp_path / "out" / "cases" / "sub-01").exists()


def test_output_folders_that_are_not_ours(heads, tmp_path):
    table = heads(1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
    with pytest.raises(InputError, match="is not empty and is no prepared dataset"):
        prepare(table, tmp_path / "mine")
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]
    with pytest.raises(InputError, match="is a file; give a folder"):
        prepare(table, tmp_path / "mine" / "thesis.txt")
    with pytest.raises(InputError, match="is a file where a folder is needed"):
        prepare(table, tmp_path / "mine" / "thesis.txt" / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output(heads, tmp_path):
    table = heads(1)
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(InputError, match="cannot be written"):
        prepare(table, tmp_path / "closed" / "out")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (PrepareSettings(modalities=("T1w", "Flair")), r"modalities: no case has 'Flair'"),
        (PrepareSettings(exclude=("sub-7",)), r"exclude: no case 'sub-7'"),
        (PrepareSettings(intensity={"T1": "zscore"}), r"intensity\.T1: no such modality; did you mean 'T1w'"),
        (PrepareSettings(reference="labels"), r"reference = 'labels' is not among the modalities"),
    ],
)
def test_settings_that_the_dataset_does_not_have(heads, tmp_path, settings, words):
    with pytest.raises(RecipeError, match=words):
        prepare(heads(1), tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_exclude_and_choose(heads, tmp_path):
    dataset = prepare(heads(3), tmp_path / "out", PrepareSettings(modalities=("T2w",), exclude=("sub-02",)))
    assert dataset.names == ("sub-01", "sub-03")
    assert dataset.case("sub-01").modalities == ("T2w",)
    with pytest.raises(InputError, match="every case is excluded"):
        prepare(heads(1), tmp_path / "other", PrepareSettings(exclude=("sub-01",)))


def test_colour_is_stored_as_colour_and_mapped(save, tmp_path):
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (12, 10, 8, 3), dtype=np.uint8)
    colour[:3] = 0
    rgb = np.ascontiguousarray(colour).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    save("raw/p1/cryo.nii.gz", rgb, np.eye(4))
    case = prepare(tmp_path / "raw", tmp_path / "out", PrepareSettings(mask="nonzero")).case("p1")
    values = case.values("cryo")
    assert values.dtype == np.uint8
    np.testing.assert_array_equal(values, np.moveaxis(colour, -1, 0))
    assert nib.load(tmp_path / "out/cases/p1/cryo.nii").header["datatype"] == 128


TOOL = """import sys, nibabel as nib, numpy as np
image = nib.load(sys.argv[1])
if "--fail" in sys.argv:
    sys.exit("no licence")
if "--image" in sys.argv:
    sys.exit(nib.save(image, sys.argv[2]))
nib.save(nib.Nifti1Image((image.get_fdata() > 80).astype(np.uint8), image.affine), sys.argv[2])
"""


SLOW = """import glob, pathlib, time
while glob.glob({made!r}) and not pathlib.Path({go!r}).exists():
    time.sleep(0.01)
"""


def test_a_program_of_the_users_makes_the_mask(heads, tmp_path):
    table, out, tool = heads(2), tmp_path / "out", tmp_path / "tool.py"
    tool.write_text(TOOL)
    command = f"{sys.executable} {tool} {{image}} {{mask}}"
    dataset = prepare(table, out, PrepareSettings(fit_in="mask"), mask_tool=command)
    case = dataset.case("sub-01")
    raw = read_volume(table.parent / "sub-01/T1w.nii.gz").canonical().data[0]
    np.testing.assert_array_equal(case.mask(), raw > 80)
    first = stamps(out)
    prepare(table, out, PrepareSettings(fit_in="mask"), mask_tool=command)
    assert stamps(out) == first
    prepare(table, out, PrepareSettings(), mask_tool="")
    assert not set(stamps(out).values()) & set(first.values())


@pytest.mark.parametrize(
    ("command", "settings", "error", "words"),
    [
        ("PYTHON TOOL {image} {mask} --fail", {}, InputError, "ended with 1 and no mask .no licence."),
        ("PYTHON TOOL {image} {mask} --image", {}, InputError, "different values where a mask has two"),
        ("/nowhere/tool {image} {mask}", {}, InputError, "'/nowhere/tool' did not run"),
        ("tool {image}", {}, RecipeError, "has no {mask}"),
        ("tool '{image} {mask}", {}, RecipeError, "No closing quotation"),
        ("tool {image} {mask}", {"mask": "labels"}, RecipeError, "give one of them"),
    ],
)
def test_mask_tools_that_do_not_work(heads, tmp_path, command, settings, error, words):
    tool = tmp_path / "tool.py"
    tool.write_text(TOOL)
    command = command.replace("PYTHON", sys.executable).replace("TOOL", str(tool))
    with pytest.raises(error, match=words):
        prepare(heads(1), tmp_path / "out", PrepareSettings(**settings), mask_tool=command)


def test_sigterm_leaves_whole_cases_and_the_next_run_finishes(heads, tmp_path):
    table, out = heads(12), tmp_path / "out"
    tool = tmp_path / "tool.py"
    tool.write_text(SLOW.format(made=str(out / "cases/*/case.json"), go=str(tmp_path / "go")) + TOOL)
    command = f"{sys.executable} {tool} {{image}} {{mask}}"
    words = [sys.executable, "-m", "transmodal", "prepare", str(table), "--out", str(out), "--workers", "2"]
    running = subprocess.Popen([*words, "--mask-tool", command], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not stamps(out) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    assert any("stopping after the cases in work" in line for line in running.stderr)
    (tmp_path / "go").touch()
    _, said = running.communicate(timeout=60)
    kept = stamps(out)
    assert running.returncode == 130, said
    assert "run it again to go on" in said
    # Up to two are made before, two are in work and the pool has handed out three more; the others are dropped.
    assert 0 < len(kept) < 9
    for name in kept:
        assert read_volume(out / "cases" / name / "T1w.nii").data.any()
    assert len(prepare(table, out, mask_tool=command, workers=1).names) == 12
    assert kept.items() <= stamps(out).items()
    assert not list((out / "cases").glob(".*"))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of half a megabyte, and how to make it larger; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(words):
        return subprocess.run(["mount", *words, str(place)], capture_output=True, check=False).returncode

    if shutil.which("mount") is None or mount(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]):
        pytest.skip("no right to mount a small disk here")
    yield place, lambda: mount(["-o", "remount,size=32m"])
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_whole_cases_and_more_room_finishes(heads, small_disk):
    """Each case takes about 150 kB of the 512."""
    table, (place, enlarge) = heads(8), small_disk
    with pytest.raises((InputError, PartialFailure), match="No space left on device"):
        prepare(table, place / "out")
    kept = stamps(place / "out")
    assert 0 < len(kept) < 8
    for name in kept:
        case = PreparedCase.open(place / "out" / "cases" / name)
        assert np.isfinite(case.values("T1w")).all()
        assert case.mask().any()
    enlarge()
    assert len(prepare(table, place / "out").names) == 8
    assert kept.items() <= stamps(place / "out").items()
    assert not list((place / "out" / "cases").glob(".*"))


def test_a_changed_sidecar_or_detached_file_is_a_changed_case(tmp_path):
    values = (np.indices((12, 12, 12)) - 5.5) ** 2
    ball = np.where(values.sum(axis=0) < 20, 200 + values[0], 0).astype(np.float32)
    for case in ("a", "b"):
        (tmp_path / "set" / case).mkdir(parents=True)
        np.save(tmp_path / "set" / case / "T1w.npy", ball)
        image = SimpleITK.GetImageFromArray(ball)
        SimpleITK.WriteImage(image, str(tmp_path / "set" / case / "T2w.mhd"))
    facts = {"spacing": [2, 2, 2], "orientation": "RAS"}
    (tmp_path / "set" / "stack.json").write_text(json.dumps(facts))
    settings = PrepareSettings(modalities=("T1w", "T2w"), min_overlap=0.0)
    prepare(tmp_path / "set", tmp_path / "out", settings)
    first = stamps(tmp_path / "out")
    prepare(tmp_path / "set", tmp_path / "out", settings)
    assert stamps(tmp_path / "out") == first
    raw = tmp_path / "set" / "a" / "T2w.raw"
    raw.write_bytes(bytes(reversed(raw.read_bytes())))
    with suppress(PartialFailure):
        prepare(tmp_path / "set", tmp_path / "out", settings)
    second = stamps(tmp_path / "out")
    assert second.get("a") != first["a"]
    assert second["b"] == first["b"]
    (tmp_path / "set" / "stack.json").write_text(json.dumps({**facts, "spacing": [2, 2, 3]}))
    only = PrepareSettings(modalities=("T1w",))
    assert prepare(tmp_path / "set", tmp_path / "out", only).case("b").grid.spacing == (2.0, 2.0, 3.0)
    (tmp_path / "set" / "stack.json").write_text(json.dumps(facts))
    assert prepare(tmp_path / "set", tmp_path / "out", only).case("b").grid.spacing == (2.0, 2.0, 2.0)


def test_margins_are_numbers():
    with pytest.raises(RecipeError, match="crop_margin = nan"):
        PrepareSettings(crop_margin=float("nan"))
