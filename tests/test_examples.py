"""The examples run."""

import runpy
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest

from transmodal.evaluation.table import read_rows
from transmodal.experiment.train import train
from transmodal.recipe import make_recipe

FOLDER = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda p: p.stem)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


def test_from_scans_to_scores(tmp_path: Path) -> None:
    runpy.run_path(str(FOLDER / "01_from_scans_to_scores.py"))["main"](tmp_path)
    assert nib.load(tmp_path / "sub-001_synth-FA.nii.gz").shape == (32, 32, 32)
    assert (tmp_path / "run" / "report.html").is_file()
    mae = {r.method: r.value for r in read_rows(tmp_path / "run" / "evaluation.csv") if r.metric == "MAE"}
    assert mae["regression"] < min(mae["identity"], mae["mean"])


def test_a_method_of_your_own(table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_lab").mkdir()
    shutil.copy(FOLDER / "02_a_method_of_your_own.py", tmp_path / "my_lab" / "wavy.py")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = make_recipe({**table, "method": {"name": "my_lab.wavy", "knots": 8}})
    assert "my_lab.wavy" in train(recipe, tmp_path / "run", device="cpu")


def test_two_folders_to_a_passport(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(FOLDER / "03_two_folders_to_a_passport.py"))["main"](tmp_path)
    printed = capsys.readouterr().out
    assert "| synthrad2025 | MS-SSIM |" in printed
    # White noise of 40 to 47 HU against 53 to 60: every subject is better, 2 / 2⁸.
    assert "n = 8, p = 0.00781, rank-biserial r = -1.00" in printed
    assert (tmp_path / "scores_theirs" / "passport.json").is_file()
