"""The verb ``overlap``: boxes whose Dice, distance and volume are known."""

import json
from pathlib import Path

import numpy as np
import pytest

from transmodal.data.grid import Grid
from transmodal.data.volume import Volume, write_volume
from transmodal.errors import InputError, PartialFailure
from transmodal.evaluation.table import read_rows
from transmodal.questions.overlap import overlap

GRID = Grid((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]))


def folder(path: Path, *, moved: int = 0, cases: int = 4, suffix: str = "", grid: Grid = GRID) -> Path:
    """Case k has a box of 4 × 4 × (4 + k) voxels as label 1, moved along X, and label 3 in case 0 alone."""
    for case in range(cases):
        labels = np.zeros((1, *grid.shape), dtype=np.int16)
        labels[0, 5 + moved : 9 + moved, 5:9, 5 : 9 + case] = 1
        if case == 0:
            labels[0, 15:18, 15:18, 15:18] = 3
        write_volume(Volume(labels, grid), path / f"sub-{case}{suffix}.nii.gz", dtype="uint8")
    return path


def test_two_folders(tmp_path: Path) -> None:
    made, real = folder(tmp_path / "made", moved=1, suffix="_seg"), folder(tmp_path / "real", suffix="_dseg")
    names = tmp_path / "names.tsv"
    names.write_text("index\tname\n1\tbox\n")
    text = overlap(made, real, tmp_path / "out", names=names)
    rows = {(r.case, r.method, r.region, r.metric): r.value for r in read_rows(tmp_path / "out" / "overlap.csv")}
    for case in range(4):
        assert rows[f"sub-{case}", "synthetic", "box", "Dice"] == pytest.approx(0.75)
        assert rows[f"sub-{case}", "synthetic", "box", "HD95"] == pytest.approx(2.0)
        assert rows[f"sub-{case}", "real", "box", "Volume"] == pytest.approx(16 * (4 + case) * 8 / 1000)
    assert rows["sub-0", "synthetic", "3", "Dice"] == 1
    assert "| box | synthetic | 4 | 0.750 [0.750, 0.750] | 4 | 2.00 [2.00, 2.00] |" in text
    box = json.loads((tmp_path / "out" / "overlap.json").read_text())["labels"][0]
    assert box["volume"]["bias"]["value"] == 0
    assert box["volume"]["icc"]["value"] == pytest.approx(1)
    assert (tmp_path / "out" / "overlap.html").read_text().count("data:image/png;base64,") == 1


def test_two_sessions_of_one_person_are_one(tmp_path: Path) -> None:
    """Four people, one of them twice: Dice of 3/4, of 3/4 and 1 for that person, and four in all."""
    for name, moved in (("made", 1), ("real", 0)):
        folder(tmp_path / name, moved=moved, suffix="_ses-1")
        again = folder(tmp_path / f"{name}2", cases=1) / "sub-0.nii.gz"
        again.rename(tmp_path / name / "sub-0_ses-2.nii.gz")
    overlap(tmp_path / "made", tmp_path / "real", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "overlap.json").read_text())["labels"][0]
    assert found["Dice"]["n"] == 4
    assert found["Dice"]["mean"] == pytest.approx((3 * 0.75 + 0.875) / 4)
    assert len(read_rows(tmp_path / "out" / "overlap.csv")) > 4


def test_with_truth_the_loss_is_what_synthesis_adds(tmp_path: Path) -> None:
    """The segmenter is off by one voxel on real scans (Dice 3/4) and by two on synthetic ones (1/2)."""
    places = {
        name: folder(tmp_path / name, moved=moved) for name, moved in (("made", 2), ("real", 1), ("truth", 0))
    }
    overlap(places["made"], places["real"], tmp_path / "out", truth=places["truth"])
    found = json.loads((tmp_path / "out" / "overlap.json").read_text())
    assert {(one["label"], one["side"]): one["Dice"]["mean"] for one in found["labels"]} == pytest.approx(
        {("1", "synthetic"): 0.5, ("1", "real"): 0.75, ("3", "synthetic"): 1, ("3", "real"): 1}
    )
    assert found["synthetic_minus_real"]["1"]["Dice"]["mean"] == pytest.approx(-0.25)
    assert found["synthetic_minus_real"]["1"]["HD95"]["mean"] == pytest.approx(2.0)


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    real = folder(tmp_path / "real")
    other = folder(tmp_path / "other", suffix="x")
    with pytest.raises(InputError, match="sub-0x, sub-1x"):
        overlap(other, real, tmp_path / "out")
    with pytest.raises(InputError, match="no such file or folder"):
        overlap(tmp_path / "gone", real, tmp_path / "out")
    with pytest.raises(InputError, match="holds no label map"):
        overlap(real / "sub-0.nii.gz", real, tmp_path / "out")
    part = folder(tmp_path / "part", cases=3)
    coarse = Grid((20, 20, 20), np.diag([3.0, 3.0, 3.0, 1.0]))
    folder(part, cases=1, grid=coarse)
    with pytest.raises(PartialFailure, match="another grid"):
        overlap(part, real, tmp_path / "out")
    assert {r.case for r in read_rows(tmp_path / "out" / "overlap.csv")} == {"sub-1", "sub-2"}
    assert "1 cases are not in every folder" in (tmp_path / "out" / "overlap.md").read_text()


def test_labels_of_one_name_are_one_region_and_reserved_names_are_refused(tmp_path: Path) -> None:
    """The boxes moved by one: of 16 · 4 voxels three quarters meet; 27 of the other label are where they were."""
    made, real = folder(tmp_path / "made", moved=1), folder(tmp_path / "real")
    names = tmp_path / "names.tsv"
    names.write_text("index\tname\n1\tboth\n3\tboth\n")
    overlap(made, real, tmp_path / "out", names=names)
    rows = {(r.case, r.method, r.metric): r for r in read_rows(tmp_path / "out" / "overlap.csv")}
    assert rows["sub-0", "synthetic", "Dice"].value == pytest.approx((48 + 27) / (64 + 27))
    assert rows["sub-0", "real", "Volume"].n == 64 + 27
    assert {r.region for r in rows.values()} == {"both"}
    names.write_text("index\tname\n1\tmask\n")
    with pytest.raises(InputError, match="label 1 is called 'mask'"):
        overlap(made, real, tmp_path / "none", names=names)
    assert not (tmp_path / "none").exists()
