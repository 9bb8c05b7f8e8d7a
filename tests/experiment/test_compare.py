"""compare: folds are joined, seeds averaged, unlike things refused; prices and pictures come along."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from transmodal import registry
from transmodal.data.task import Task
from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.table import Row, read_rows, write_rows
from transmodal.experiment.compare import compare
from transmodal.experiment.train import train
from transmodal.recipe import make_recipe


@pytest.fixture(scope="module")
def runs(table: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recipes, two folds each, and a second seed of one of them."""
    out = tmp_path_factory.mktemp("runs")
    table = {**table, "training": {**table["training"], "steps": 2, "validate_every": 0}}
    for fold in range(2):
        for name, lr in (("slow", 1e-5), ("fast", 1e-2)):
            own = {"data": {**table["data"], "fold": fold}}
            own["training"] = {**table["training"], "optimizer": {"lr": lr}}
            train(make_recipe({**table, **own}), out / f"{name}{fold}", device="cpu")
    own["training"] = {**own["training"], "seed": 1}
    own["data"] = {**own["data"], "fold": 0}
    train(make_recipe({**table, **own}), out / "fast0_seed1", device="cpu")
    return out


def test_folds_are_joined_and_seeds_averaged(runs: Path, tmp_path: Path) -> None:
    words = [f"slow={runs}/slow{n}" for n in range(2)] + [f"fast={runs}/fast{n}" for n in range(2)]
    text = compare([*words, f"fast={runs}/fast0_seed1"], tmp_path, margin=0.5)
    rows = {(r.method, r.case, r.metric): r.value for r in read_rows(tmp_path / "comparison.csv")}
    assert {key[0] for key in rows} == {"identity", "mean", "slow", "fast"}
    both = [
        {
            (r.case, r.metric): r.value
            for r in read_rows(runs / name / "evaluation.csv")
            if r.method == "regression"
        }
        for name in ("fast0", "fast0_seed1")
    ]
    for key, value in both[0].items():
        assert rows["fast", *key] == pytest.approx((value + both[1][key]) / 2)
    slow = [r for r in read_rows(runs / "slow1" / "evaluation.csv") if r.method == "regression"]
    assert all(rows["slow", r.case, r.metric] == r.value for r in slow)
    facts = json.loads((tmp_path / "comparison.json").read_text())
    lead = facts["contests"][0]
    assert lead["metric"] == "MAE"
    means = [standing["mean"] for standing in lead["standings"]]
    assert means == sorted(means)
    with open(tmp_path / "duels.csv", newline="") as file:
        duels = list(csv.DictReader(file))
    assert len(duels) == 3 * 6
    assert all(0 <= float(duel["p"]) <= float(duel["p_holm"]) <= 1 for duel in duels)
    assert {duel["margin"] for duel in duels if duel["metric"] == "MAE"} == {"0.5"}
    price = facts["prices"]["slow"]
    known = registry.show("regression", Task(), {"width": 4, "depth": 2})
    assert price["parameters"] == known["players"]["generator"]["generator"]
    assert price["steps"] == 2
    assert price["gmac"] > 0
    assert price["volume_seconds"] > 0
    assert price["training_bytes"] > 2**20
    assert f"{price['parameters']:,}" in text
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "comparison.html").read_text()
    assert all(f'<section id="{part}">' in page for part in ("summary", "subjects", "duels", "cost", "images"))
    # With two or three subjects nothing can be shown, and it is said.
    assert "is not shown to beat the floor identity nor mean on MAE" in text
    assert "cannot give a corrected p below" in text


def test_unlike_things_are_refused(runs: Path, tmp_path: Path) -> None:
    one, other = str(runs / "slow0"), str(runs / "fast0")
    with pytest.raises(RecipeError, match="are of different recipes; give each its own NAME=FOLDER"):
        compare([one, other], tmp_path / "o")
    with pytest.raises(RecipeError, match="with the same seed"):
        compare([one, one], tmp_path / "o")
    with pytest.raises(RecipeError, match="is the name of a floor"):
        compare([f"mean={one}"], tmp_path / "o")
    with pytest.raises(RecipeError, match="name at least one folder"):
        compare([], tmp_path / "o")
    with pytest.raises(InputError, match="there is MAE, PSNR, SSIM"):
        compare([f"a={one}", f"b={other}"], tmp_path / "o", metric="FLAIRness")
    assert not (tmp_path / "o" / "comparison.csv").exists()


def changed(folder: Path, out: Path, **facts: object) -> str:
    """A copy of a run whose rows of the floor identity are changed."""
    shutil.copytree(folder, out)
    rows = [
        Row(**{**vars(row), **facts}) if row.method == "identity" and row.metric == "MAE" else row
        for row in read_rows(out / "evaluation.csv")
    ]
    write_rows(out / "evaluation.csv", rows)
    return str(out)


def test_other_voxels_or_other_images_are_noticed(runs: Path, tmp_path: Path) -> None:
    one = f"a={runs / 'slow0'}"
    fewer = changed(runs / "fast0", tmp_path / "fewer", n=5)
    with pytest.raises(InputError, match=r"counts .* voxels in .* and 5 in"):
        compare([one, f"b={fewer}"], tmp_path / "o")
    moved = changed(runs / "fast0", tmp_path / "moved", value=0.5)
    with pytest.raises(InputError, match=r"slow0 and 0\.5 in .*moved; they were not judged on"):
        compare([one, f"b={moved}"], tmp_path / "o")
