"""The audit: what is planted is found and named, what is sound is left alone."""

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transmodal import cli
from transmodal.checks.audit import audit
from transmodal.checks.finding import KINDS
from transmodal.checks.pair import compare
from transmodal.data.grid import Grid
from transmodal.data.motion import Motion, misalign
from transmodal.data.phantom.anatomy import random_anatomy
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.data.phantom.physics import simulate
from transmodal.data.volume import Volume

HEADS = 6
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = PhantomSettings(
        subjects=HEADS, size=(40, 40, 40), spacing=5.4, contrasts=("T1w", "T2w", "FA", "CT")
    )
    return write_cohort(tmp_path_factory.mktemp("heads") / "cohort", settings, workers=1)


def test_a_sound_dataset_has_no_finding(heads: Path, tmp_path: Path) -> None:
    found = audit(heads, tmp_path, pairs=False)
    assert found.findings == ()
    assert len(found.cases) == HEADS
    assert "Nothing was found" in (tmp_path / "audit.html").read_text()


BENCHMARK = runpy.run_path(str(SCRIPT))
ALONE = [fault for fault in BENCHMARK["FAULTS"] if fault.kind not in BENCHMARK["PAIRS"]]
"""Faults that are seen without registering images to each other; those of pairs have tests of their own below."""


@pytest.mark.parametrize("fault", ALONE, ids=lambda fault: fault.words)
def test_a_planted_fault_is_found(fault: Any, heads: Path, tmp_path: Path) -> None:
    """Those of one image or of the cohort; in one head each, by the same code that makes the table."""
    work = tmp_path / "work"
    shutil.copytree(heads, work)
    fault.plant(work / "sub-002", work / "sub-003", np.random.default_rng(0))
    found = audit(work, tmp_path / "out", pairs=False)
    kinds = {(f.kind, f.case) for f in found.findings}
    case = "sub-003" if fault.kind == "duplicate" else "sub-002"
    assert (fault.kind, case) in kinds
    assert {name for _, name in kinds} <= {"sub-002", case}
    assert all(f.message and f.severity in ("error", "warning") for f in found.findings)


def test_every_kind_can_be_planted() -> None:
    faults = BENCHMARK["FAULTS"]
    assert len(faults) == 14
    assert len(ALONE) == 10
    assert {fault.kind for fault in faults} | {"dataset"} == set(KINDS)


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume]:
    anatomy = random_anatomy((60, 60, 60), 3.6, seed=5)
    return simulate(anatomy, "T1w", seed=1), simulate(anatomy, "T2w", seed=2)


def test_a_sound_pair(pair: tuple[Volume, Volume]) -> None:
    found, residual = compare("x", ("T1w", "T2w"), *pair)
    assert found == []
    assert residual is not None
    assert residual.shift_voxels < 0.2
    assert residual.mirror < -0.05


def test_a_shift_of_half_a_voxel_is_found_and_measured(pair: tuple[Volume, Volume]) -> None:
    moved = misalign(pair[1], Motion(translation_mm=(0.0, 1.8, 0.0)), order=3)
    found, residual = compare("x", ("T1w", "T2w"), pair[0], moved)
    assert [(f.kind, f.severity) for f in found] == [("misaligned", "warning")]
    assert residual is not None
    assert residual.shift_voxels == pytest.approx(0.5, abs=0.2)
    assert found[0].picture.startswith(b"\x89PNG")
    assert "picture" not in found[0].to_dict()


def test_a_mirrored_image_is_found(pair: tuple[Volume, Volume]) -> None:
    mirrored = Volume(pair[1].data[:, ::-1].copy(), pair[1].grid, "mirrored")
    found, _ = compare("x", ("T1w", "T2w"), pair[0], mirrored)
    assert "flip" in {f.kind for f in found}


def test_headers_that_disagree(pair: tuple[Volume, Volume]) -> None:
    affine = pair[1].affine @ np.diag([1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] += 500
    far = Volume(pair[1].data[..., ::2], Grid((60, 60, 30), affine), "far")
    kinds = {(f.kind, f.severity) for f in compare("x", ("T1w", "T2w"), pair[0], far)[0]}
    assert {("grid", "warning"), ("field of view", "error"), ("misaligned", "error")} <= kinds


def test_what_is_written_and_how_the_command_ends(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["audit", str(heads), "--out", str(tmp_path / "a"), "--fast", "--workers", "1"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "a" / "audit.html")
    table = (heads / "cases.tsv").read_text().splitlines()
    bad = heads / "bad.tsv"
    bad.write_text("\n".join([*table, table[1].replace("sub-001\t", "sub-099\t", 1)]) + "\n")
    assert cli.run(["audit", str(bad), "--out", str(tmp_path / "b"), "--fast", "--workers", "1"]) == 3
    out, err = capsys.readouterr()
    assert "are the same scan" in out
    assert "findings must be repaired before training" in err
    stored: dict[str, Any] = json.loads((tmp_path / "b" / "audit.json").read_text())
    assert {f["kind"] for f in stored["findings"]} == {"duplicate"}
    assert len(stored["cases"]) == HEADS + 1
    assert "sub-099" in (tmp_path / "b" / "audit.html").read_text()
    assert cli.run(["audit", str(tmp_path / "none"), "--out", str(tmp_path / "c"), "--fast"]) == 3
    assert "there is no such file or folder" in capsys.readouterr().out


def test_a_leak_between_splits_is_named(heads: Path, tmp_path: Path) -> None:
    rows = [line.split("\t") for line in (heads / "cases.tsv").read_text().splitlines()]
    lines = ["\t".join([*rows[0], "split"])]
    lines += ["\t".join([*row, "test" if n == 0 else "train"]) for n, row in enumerate(rows[1:])]
    lines.append("\t".join(["copy", *rows[1][1:], "train"]))
    table = heads / "leak.tsv"
    table.write_text("\n".join(lines) + "\n")
    messages = [f.message for f in audit(table, tmp_path, pairs=False).findings]
    assert len(messages) == 4
    assert all("they are in test and train: the test is leaked" in m for m in messages)
