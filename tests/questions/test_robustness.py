"""The misalignment protocol: what is not moved costs nothing, what is moved is the same for every method."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from transmodal.data.bring import PrepareSettings
from transmodal.data.motion import UNITS, Misalignment
from transmodal.data.prepare import prepare
from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.table import Row, read_rows
from transmodal.experiment.run import open_run
from transmodal.experiment.train import train
from transmodal.inference.model import load_model
from transmodal.nn.cagr import Router
from transmodal.questions.offsets import Answer, follow, offsets_table, watched
from transmodal.questions.robustness import _motions, robustness
from transmodal.recipe import make_recipe
from transmodal.reporting.curves import curve_table, find_curves

SMALL = {"name": "aginet", "width": 4, "depth": 1, "gan_weight": 0.0}


@pytest.fixture(scope="module")
def aligned(table: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of AGI-Net with two sources."""
    out = tmp_path_factory.mktemp("runs") / "aligned"
    data = {**table["data"], "sources": ["T1w", "FA"], "targets": ["T2w"]}
    train(make_recipe({**table, "data": data, "method": SMALL}), out, device="cpu")
    return out


@pytest.mark.parametrize("kind", UNITS)
def test_size_0_is_the_runs_own_score_and_moving_changes_it(kind: str, aligned: Path, tmp_path: Path) -> None:
    text = robustness([str(aligned)], tmp_path, kind=kind, sizes=(0, 4), draws=2, device="cpu")
    own = {(r.method, r.case, r.metric): r.value for r in read_rows(aligned / "evaluation.csv")}
    rows = {(r.method, r.case, r.metric, r.region): r.value for r in read_rows(tmp_path / "robustness.csv")}
    assert {key[0] for key in rows} == {"identity", "mean", "aginet"}
    for method, case, metric, region in rows:
        moved, value = region == f"{kind} 4", rows[method, case, metric, region]
        if moved and method == "aginet":
            assert value != own[method, case, metric]
        else:
            # The floors do not look at the second source.
            assert value == own[method, case, metric]
    assert f"| MAE | n | 0 | 4 | per {UNITS[kind].removesuffix('s')} | less that of aginet |" in text
    assert (tmp_path / "robustness.md").read_text() == text
    assert (tmp_path / "robustness.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "offsets.csv").exists() == (kind in ("translation", "subvoxel"))


def test_the_first_source_can_be_moved_and_identity_pays(aligned: Path, tmp_path: Path) -> None:
    robustness([f"plain={aligned}"], tmp_path, kind="warp", sizes=(0, 9), moved=("T1w",), draws=1, device="cpu")
    rows = [r for r in read_rows(tmp_path / "robustness.csv") if r.metric == "MAE"]
    assert {r.method for r in rows} == {"identity", "mean", "plain"}
    changed = {m: len({r.value for r in rows if r.method == m}) > 1 for m in ("identity", "mean", "plain")}
    assert changed == {"identity": True, "mean": False, "plain": True}


def test_a_run_trained_on_moved_data_says_so_and_is_no_fold_of_another(
    aligned: Path, table: dict[str, Any], tmp_path: Path
) -> None:
    data = {**table["data"], "sources": ["T1w", "FA"], "targets": ["T2w"]}
    sampling = {**table["sampling"], "misalign": {"size": 2}}
    train(make_recipe({**table, "data": data, "sampling": sampling}), tmp_path / "run", device="cpu")
    text = robustness([str(tmp_path / "run")], tmp_path / "out", sizes=(0, 1), draws=1, device="cpu")
    assert "| regression (trained on translation 2) | 1 |" in text
    with pytest.raises(RecipeError, match="another method, or trained on data that were moved otherwise"):
        robustness([f"one={aligned}", f"one={tmp_path / 'run'}"], tmp_path / "out", device="cpu")


def test_every_method_sees_the_same_moves(run: Path) -> None:
    case = open_run(run).dataset.case("sub-001")
    step = Misalignment("subvoxel", 3.0)
    one, two = (_motions(step, ("T1w", "FA"), case, 2, 1) for _ in range(2))
    assert one == two
    assert one["T1w"] != one["FA"], "each on its own"
    assert one != _motions(step, ("T1w", "FA"), case, 2, 2)
    assert all(m.still for m in _motions(Misalignment("warp", 0.0), ("T1w",), case, 2, 0).values())


def test_wrong_words(run: Path, aligned: Path, tmp_path: Path) -> None:
    for words, more, error, says in [
        ([], {}, RecipeError, "at least one run"),
        ([str(tmp_path / "none")], {}, InputError, "holds no run"),
        ([str(aligned)], {"sizes": (1,)}, RecipeError, "two different sizes"),
        ([str(aligned)], {"draws": 0}, RecipeError, "one draw or more"),
        ([str(aligned)], {"kind": "rotations"}, RecipeError, "'rotation'"),
        ([str(aligned)], {"moved": ("T2",)}, RecipeError, "moved = 'T2'"),
        ([str(run)], {}, RecipeError, "it is the only source"),
        ([str(run), str(aligned)], {}, RecipeError, "different tasks"),
        ([str(aligned), str(aligned)], {}, RecipeError, "folds of one recipe: give each recipe its own NAME"),
        ([f"mean={aligned}"], {}, RecipeError, "is the name of a floor"),
    ]:
        with pytest.raises(error, match=says):
            robustness(words, tmp_path / "out", device="cpu", **more)
    assert not (tmp_path / "out").exists()


def test_offsets_are_those_of_the_routers_in_voxels_of_the_image(aligned: Path) -> None:
    """A router that always answers the same is heard as that, times how much coarser its level is."""
    method = load_model(aligned / "model").method
    assert isinstance(method, torch.nn.Module)
    routers = {name: m for name, m in method.named_modules() if isinstance(m, Router)}
    expected = {}
    with watched(method, (24, 24)) as learned:
        for name, router in routers.items():
            coarse = 2 if "bottleneck" in name else 1
            features = torch.randn(3, router.norm.normalized_shape[0], 24 // coarse, 24 // coarse)
            offset = router(features)[0]
            expected[name] = (offset.detach().mean(0) * coarse).numpy()
    assert set(learned) == set(routers)
    for name in routers:
        np.testing.assert_allclose(learned[name], expected[name], atol=1e-6)
    before = {name: value.copy() for name, value in learned.items()}
    next(iter(routers.values()))(torch.randn(1, 4, 8, 8))
    assert all((before[name] == learned[name]).all() for name in before), "nobody listens any more"


def test_an_offset_that_undoes_the_shift_has_slope_one() -> None:
    rng = np.random.default_rng(0)
    shifts = rng.normal(size=(40, 2))
    means = {"fold 0": np.array([0.3, -0.3]), "fold 1": np.array([-1.0, 2.0])}
    answers = [
        Answer(run, s, {"layer": np.stack([s + means[run], -0.5 * s, np.ones(2), rng.normal(size=2)])})
        for s, run in zip(shifts, [*means] * 20, strict=True)
    ]
    rows = follow("m", "T2w", answers)
    assert [round(row.slope, 6) for row in rows[:3]] == [1.0, -0.5, 0.0]
    assert [round(row.r, 6) for row in rows[:2]] == [1.0, -1.0]
    assert np.isnan(rows[2].r)
    assert abs(rows[3].r) < 0.4
    assert rows[0].n == 80
    lines = offsets_table(rows).splitlines()
    assert lines[2] == "| m | T2w | layer | 0 | +1.00 | +1.0000 | 80 |"
    assert len(lines) == 5
    assert not follow("m", "T2w", [])


def test_offsets_are_written_for_every_layer_and_group(aligned: Path, tmp_path: Path) -> None:
    robustness([str(aligned)], tmp_path, sizes=(0, 2), draws=2, device="cpu")
    with open(tmp_path / "offsets.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    method = load_model(aligned / "model").method
    assert isinstance(method, torch.nn.Module)
    routers = {name: m.groups for name, m in method.named_modules() if isinstance(m, Router)}
    assert [(row["layer"], int(row["group"])) for row in rows] == [
        (name, group) for name, groups in routers.items() for group in range(groups)
    ]
    # One still volume and two moved ones, along two axes.
    assert {row["n"] for row in rows} == {"6"}
    assert {row["source"] for row in rows} == {"FA"}


def test_slopes_and_their_paired_difference() -> None:
    """Case i of method b loses (1 + i) more for each voxel than of method a."""
    rows = [
        Row(f"sub-{i}", method, f"translation {size}", "MAE", "3d", 10.0 * i + size * slope, "1", 5)
        for i in range(3)
        for method, slope in (("mean", 0.0), ("a", 2.0), ("b", 3.0 + i))
        for size in (0, 1, 2)
    ]
    curves = find_curves(rows, [(f"translation {size}", float(size)) for size in (0, 1, 2)])
    assert list(curves) == ["MAE"]
    assert curves["MAE"]["b"].slopes == pytest.approx({"sub-0": 3.0, "sub-1": 4.0, "sub-2": 5.0})
    np.testing.assert_allclose(curves["MAE"]["a"].middle, [10, 12, 14])
    # 10 ± t(0.975, 2) 10 / √3
    np.testing.assert_allclose(
        curves["MAE"]["a"].interval - curves["MAE"]["a"].middle[:, None], [[-24.8414, 24.8414]] * 3, rtol=1e-4
    )
    floor, a, b = curve_table("MAE", curves["MAE"], "voxels").splitlines()[2:]
    assert floor.startswith("| mean (floor) | 3 |")
    assert floor.endswith("|  |")
    assert a.endswith("| 2.00 [2.00, 2.00] |  |")
    assert b.endswith("| 4.00 [1.52, 6.48] | 2.00 [-0.48, 4.48] |")


def test_runs_on_other_ground_are_not_compared(aligned: Path, table: dict[str, Any], tmp_path: Path) -> None:
    data = {**table["data"], "sources": ["T1w", "FA"], "targets": ["T2w"]}
    for name, change, says in [
        ("plane", {"sampling": {**table["sampling"], "view": "coronal"}}, "see different planes"),
        ("grid", {"data": {**data, "path": None}}, "prepared otherwise than in"),
    ]:
        made = {**table, "data": data, **change}
        if name == "grid":
            records = open_run(aligned).dataset
            raw = Path(records.case("sub-001").record["modalities"]["T1w"]["input"]).parent.parent
            prepare(raw, tmp_path / "coarse", PrepareSettings(spacing=9.5))
            made["data"] = {**data, "path": str(tmp_path / "coarse")}
        train(make_recipe(made), tmp_path / name, device="cpu")
        with pytest.raises(RecipeError, match=says):
            robustness([str(aligned), f"other={tmp_path / name}"], tmp_path / "out", device="cpu")
