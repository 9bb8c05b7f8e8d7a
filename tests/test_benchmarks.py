"""The scripts behind the tables: their arithmetic has known answers, and they run on a small run."""

import runpy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from transmodal import registry
from transmodal.data.grid import Grid
from transmodal.data.layout import find_cases
from transmodal.data.volume import Volume, read_volume, write_volume
from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.score import score
from transmodal.evaluation.table import Row, read_rows
from transmodal.experiment.judge import judge
from transmodal.experiment.run import open_run
from transmodal.experiment.train import train
from transmodal.inference.model import load_model
from transmodal.inference.synthesize import synthesize_volumes
from transmodal.metrics import METRICS
from transmodal.recipe import make_recipe

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(FOLDER))
    return runpy.run_path(str(FOLDER / f"{name}.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_a_script_says_how_to_run_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = script(path.stem, monkeypatch)["__doc__"]
    assert f"python benchmarks/{path.name}" in text
    assert path.name in (FOLDER / "README.md").read_text()


def test_every_generator_is_raced(monkeypatch: pytest.MonkeyPatch) -> None:
    """All methods but the floors, which compute next to nothing."""
    found = script("engines", monkeypatch)
    assert set(found["GENERATORS"]) == set(registry.names()) - {"identity", "mean"}
    run = found["engine"]
    run.__globals__["EDGE"] = 32
    run.__globals__["GENERATORS"] = {"segmentation": {"width": 4}}
    given = found["slices_of"](2)
    one, two = (run(kind, "segmentation")(given) for kind in ("eager", "ONNX Runtime"))
    assert one.shape == two.shape == (2, 1, 32, 32)
    np.testing.assert_allclose(two, one, atol=1e-5)


def test_a_constant_loss_is_found_by_every_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six persons, a part whose loss costs 0.02 to 0.025 each: the exact p of six equal signs is 2 / 2⁶."""
    found = script("ablation", monkeypatch)
    rows = [
        Row(f"sub-{i}", method, "mask", "MAE", "3d", 0.1 + 0.01 * i + cost * (0.02 + 0.001 * i), "1", 5)
        for i in range(6)
        for method, cost in ((found["WHOLE"], 0), ("without it", 1))
    ]
    line = found["table"](rows, ["it"]).splitlines()[2]
    assert line.startswith("| MAE | it | 6 | 0.125 | +0.0225 [")
    assert line.endswith("| 0.031 | +1.00 |")


def test_slabs_are_apart_and_stay_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    grid = Grid((8, 9, 40), np.diag([2.0, 2.0, 2.0, 1.0]))
    inside = np.zeros(grid.shape)
    inside[2:6, 2:6, 4:36] = 1
    names = {"MNI152_T1_2mm": "T1w", "MNI_FA_2mm_registered": "FA", "brainmask": "mask"}
    for file, kind in names.items():
        data = inside if kind == "mask" else rng.random(grid.shape)
        write_volume(Volume(data[None].astype(np.float32), grid), tmp_path / "in" / f"{file}.nii.gz")
    (tmp_path / "out").mkdir()
    script("datasets", monkeypatch)["slabs"](tmp_path / "out", tmp_path / "in")
    whole = read_volume(tmp_path / "in" / "MNI152_T1_2mm.nii.gz")
    cases = find_cases(tmp_path / "out" / "cases.tsv")
    assert len(cases) == 4
    used = []
    for case in cases:
        slab = read_volume(case.images["T1w"])
        first = round(float(slab.affine[2, 3] / 2))
        last = first + slab.data.shape[3]
        np.testing.assert_allclose(slab.data, whole.data[..., first:last])
        used.append((first, last))
    assert used[0][0] == 4
    assert used[-1][1] == 36
    assert [after[0] - before[1] for before, after in pairwise(used)] == [4, 4, 4]


def test_cormack_units_come_back_as_hounsfield_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forth by the published rule, ten times the part from -124 to 76 HU on top; back by ours."""
    to_hu = script("datasets", monkeypatch)["cormack_to_hu"]
    hu = np.linspace(-1024, 2000, 400)
    stretched = (hu + 1024) + 10 * (hu + 1024 - 900).clip(0, 200)
    np.testing.assert_allclose(to_hu(stretched), hu, atol=1e-9)
    np.testing.assert_allclose(to_hu(np.array([0.0, 900.0, 3100.0, 3500.0])), [-1024, -124, 76, 476])


def test_the_mask_of_the_ct_average_is_the_whole_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((20, 20, 48), np.diag([2.0, 2.0, 2.0, 1.0]))
    radius = np.linalg.norm(np.indices(grid.shape[:2]) - 9.5, axis=0)
    plane = np.select([radius < 5, radius < 7, radius < 8], [2500.0, 3600.0, 2000.0], 20.0)
    for file in ("avg152T1", "scct"):
        data = np.repeat(plane[..., None], 48, axis=2).astype(np.float32)
        write_volume(Volume(data[None], grid), tmp_path / "in" / f"{file}.nii.gz")
    (tmp_path / "out").mkdir()
    script("datasets", monkeypatch)["scct"](tmp_path / "out", tmp_path / "in")
    cases = find_cases(tmp_path / "out")
    assert [set(case.images) for case in cases] == [{"T1w", "CT"}] * 4
    ct, mask = read_volume(cases[1].images["CT"]), read_volume(cases[1].mask, label=True)
    assert [float(ct.data[0, i, 10, 3]) for i in (10, 3, 0)] == pytest.approx([21.45, 576.0, -1004.0], abs=0.01)
    np.testing.assert_array_equal(mask.data[0, ..., 3] > 0, radius < 8)


def test_slices_are_apart_and_a_run_against_itself_differs_nowhere(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = script("slices", monkeypatch)
    mask = torch.zeros(9, 9, 30, dtype=torch.bool)
    mask[2:7, 2:7, 4:25] = True
    assert found["chosen"](mask, 2.0, 9.0) == [4, 9, 14, 19, 24]
    assert found["label"]("OUT/no-cycle_fold2_seed0") == ("no-cycle", Path("OUT/no-cycle_fold2_seed0"))
    text = found["main"]([f"whole={run}", f"again={run}"], tmp_path, ["MAE"], 20.0)
    rows = read_rows(tmp_path / "slices.csv")
    whole, again = ([r.value for r in rows if r.method == name] for name in ("whole", "again"))
    assert whole == again
    assert len(whole) > 2
    assert f"| MAE | again | {len(whole)} | {np.mean(whole):.4g} | +0 [+0, +0] | 1.000 |" in text


def test_slices_against_the_input_are_those_of_the_runs_own_table(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = script("slices", monkeypatch)
    found["main"]([f"whole={run}", f"again={run}"], tmp_path, ["MAE", "SSIM-input", "SSIM"], 1.0)
    rows = {(r.case, r.method, r.metric): r.value for r in read_rows(tmp_path / "slices.csv")}
    opened = open_run(run)
    (name,) = opened.split.test
    level = sorted(int(case.split()[1]) for case, _, metric in rows if metric == "MAE")[4]
    case = opened.dataset.case(name)
    (judged,) = judge(load_model(run / "model").method, opened, case)
    where = (..., slice(level, level + 1))
    images = (judged.prediction, judged.source, judged.reference)
    made, shown, truth = (torch.tensor(v[where]) for v in images)
    mask = torch.tensor(judged.mask[where])
    for metric, other in (("SSIM-input", shown), ("SSIM", truth)):
        told = METRICS["SSIM"](made, other, mask, data_range=1.0)  # FA is from 0 to 1 already
        assert rows[f"{name} {level}", "whole", metric] == pytest.approx(told, abs=1e-5)
    assert rows[f"{name} {level}", "whole", "SSIM-input"] != rows[f"{name} {level}", "whole", "SSIM"]


def test_seeds_of_a_method_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    found = script("slices", monkeypatch)
    rows = [
        Row(f"a {level}", method, "slice", "MAE", "2d", value + level, "", 5)
        for level in (4, 9)
        for method, value in (("whole", 1.0), ("whole", 3.0), ("less", 2.5))
    ]
    means = {(r.case, r.method): r.value for r in found["over_seeds"](rows)}
    assert means == {("a 4", "whole"): 6, ("a 4", "less"): 6.5, ("a 9", "whole"): 11, ("a 9", "less"): 11.5}
    assert "| MAE | less | 2 | 9 | +0.5 [" in found["table"](found["over_seeds"](rows), ["MAE"])


def test_models_of_other_resolutions_are_scored_in_the_targets_window(
    run: Path, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the width of this truth's values: the R of a PSNR is that of FA, 1."""
    found = script("resolutions", monkeypatch)
    found["main"]([f"one={run}", f"two={run}"], cohort, tmp_path, ["PSNR", "MAE"], 1.0)
    rows = {(r.case, r.method, r.metric): r.value for r in read_rows(tmp_path / "resolutions.csv")}
    opened = open_run(run)
    (case,) = (case for case in find_cases(cohort) if case.name in opened.split.test)
    images = {"T1w": read_volume(case.images["T1w"])}
    mask = read_volume(case.mask, label=True)
    made = synthesize_volumes(load_model(run), images, mask).volumes["FA"].data
    truth = read_volume(case.images["FA"]).data
    level = sorted(int(name.split()[1]) for name, _, metric in rows if metric == "MAE")[4]
    inside = mask.data[0, ..., level] > 0
    mse = float(((made - truth)[0, ..., level][inside].astype(np.float64) ** 2).mean())
    assert rows[f"{case.name} {level}", "two", "PSNR"] == pytest.approx(-10 * np.log10(mse), abs=1e-4)
    assert found["data_range"]("cryo", torch.tensor([3.0, 90.0])) == 255
    with pytest.raises(InputError, match="each with a name of its own"):
        found["main"]([f"one={run}", f"two={run}", f"one={run}"], cohort, tmp_path, ["MAE"], 1.0)
    with pytest.raises(RecipeError, match="SSIM-input: sources have another grid"):
        found["main"]([f"one={run}", f"two={run}"], cohort, tmp_path, ["SSIM-input"], 1.0)


def test_a_ring_outside_the_mask_is_seen_by_artefact_energy_alone() -> None:
    """Masked SSIM and MAE do not move by a bit."""
    rng = np.random.default_rng(0)
    measured = rng.random((1, 40, 40, 40)).astype(np.float32)
    made = np.clip(measured + rng.normal(0, 0.05, measured.shape), 0, 1).astype(np.float32)
    radius = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0)
    mask = radius < 6
    ringed = np.where((radius > 15) & (radius < 18), 0.9, made[0])[None].astype(np.float32)
    energies, scores = [], []
    for image in (made, ringed):
        names = ("ArtefactEnergy", "SSIM", "MAE")
        rows = score(image, measured, mask, case="x", method="m", data_range=1.0, unit="1", metrics=names)
        energies.append(rows[0].value)
        scores.append([row.value for row in rows[1:]])
    assert energies[1] > 1.5 * energies[0], "the ring"
    assert scores[0] == scores[1]


def test_three_planes_are_judged_beside_one(
    table: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = {**table["sampling"], "view": "planes", "size": [24, 24]}
    train(make_recipe({**table, "sampling": planes}), tmp_path, device="cpu")
    capsys.readouterr()
    script("planes", monkeypatch)["main"]([tmp_path])
    printed = capsys.readouterr().out
    for label in ("axial", "coronal", "sagittal", "mean of three"):
        assert f"| {label} |" in printed
    assert "SliceConsistency" in printed


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI, of itself
def test_dice_and_hausdorff_distance_of_a_shifted_box(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box of four voxels' edge moved by one: three quarters overlap, every far voxel is one voxel away."""
    import torch

    from transmodal.experiment.run import open_run

    found = script("segmentation", monkeypatch)
    case = open_run(run).dataset.case("sub-001")
    there, made = (torch.zeros(1, 24, 24, 24, dtype=torch.long) for _ in range(2))
    there[:, 4:8, 4:8, 4:8] = 1
    made[:, 5:9, 4:8, 4:8] = 1
    made[:, 20, 20, 20] = 3
    rows = {
        (r.region, r.metric): r.value
        for r in found["score"](case, "m", made, there, {"a": [1], "b": [2], "c": [3]})
    }
    assert rows["a", "Dice"] == pytest.approx(0.75)
    assert rows["a", "HD95"] == pytest.approx(case.grid.spacing[0], rel=1e-5)
    assert all(np.isnan(rows[name, metric]) for name in "bc" for metric in ("Dice", "HD95"))
    missed = {r.metric: r.value for r in found["score"](case, "m", made * 0, there, {"a": [1]})}
    assert missed["Dice"] == 0
    assert np.isnan(missed["HD95"])


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI, of itself
def test_a_segmenter_is_asked_about_everything_in_the_targets_place(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmentation = script("segmentation", monkeypatch)
    # Head against air: even a short training finds it.
    text = segmentation["main"]([str(run)], tmp_path, {"head": list(range(1, 13))}, 25, 32, 1)
    methods = ("measured", "identity", "mean", "regression", "nothing: its mean", "nothing: zeros")
    table, losses = text.split("\n\n")
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == [f"| {m}" for m in methods]
    assert [line.split(" | ")[1] for line in losses.splitlines()[2:]] == list(methods[1:])
    dice = {r.method: r.value for r in read_rows(tmp_path / "segmentation.csv") if r.metric == "Dice"}
    assert dice["measured"] > 0.5


def test_runs_are_judged_by_fold_under_their_names(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segmentation = script("segmentation", monkeypatch)
    assert segmentation["codes"]("3,8-11") == [3, 8, 9, 10, 11]
    assert [list(fold) for fold in segmentation["by_fold"]([f"ours={run}"])] == [["ours"]]
    assert [list(fold) for fold in segmentation["by_fold"]([str(run)])] == [["regression"]]
    with pytest.raises(InputError, match="ours is given twice for one fold"):
        segmentation["by_fold"]([f"ours={run}", f"ours={run}"])
