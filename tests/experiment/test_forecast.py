"""--dry-run says in a process of its own what the real thing then takes, and writes nothing."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from transmodal.errors import RecipeError
from transmodal.experiment.forecast import of_synthesis, of_training
from transmodal.recipe import Recipe, make_recipe
from transmodal.reporting.toml import to_toml

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")


MEASURED = """
import sys
from transmodal.__main__ import main
try:
    code = main()
except SystemExit as end:
    code = end.code
print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)
sys.exit(code)
"""
"""The peak that a process reads of itself; what a parent sees of it starts at the parent's own size."""


def peak_of(*words: object) -> tuple[float, str]:
    """Run a command; its peak of resident memory in GB, and what it printed."""
    command = [sys.executable, "-c", MEASURED, *map(str, words), "--device", "cpu", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert peak is not None, done.stderr
    return int(peak[1]) * 1024 / 1e9, done.stdout


def forecast(said: str) -> float:
    found = re.search(r"takes about ([\d.]+) GB of memory", said)
    assert found is not None, said
    return float(found[1])


@pytest.mark.slow
def test_a_training_takes_what_was_said(table: dict[str, Any], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    method = {"name": "pix2pix", "width": 32, "depth": 3, "critic_width": 32}
    evaluation = {"metrics": ["MAE"], "floors": []}
    recipe.write_text(to_toml(table | {"method": method, "evaluation": evaluation}))
    _, said = peak_of("train", recipe, "--out", tmp_path / "run", "--dry-run")
    assert not (tmp_path / "run").exists()
    peak, _ = peak_of("train", recipe, "--out", tmp_path / "run")
    assert forecast(said) == pytest.approx(peak, rel=0.25)


@pytest.mark.slow
def test_a_synthesis_takes_what_was_said(run: Path, cohort: Path, tmp_path: Path) -> None:
    _, said = peak_of("synthesize", run, cohort, "--out", tmp_path / "made", "--dry-run")
    assert not (tmp_path / "made").exists()
    assert "the largest of 4" in said
    peak, _ = peak_of("synthesize", run, cohort, "--out", tmp_path / "made")
    assert forecast(said) == pytest.approx(peak, rel=0.25)


def test_features_that_are_kept_are_told_and_refused_as_by_the_training(
    table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSMODAL_CACHE", str(tmp_path / "cache"))
    method = {
        "name": "mrnet", "width": 4, "stages": 3, "fuse_stages": [1, 2], "mask_stages": [0], "encoder": "sam_tiny",
        "encoder_size": 32, "allow_random": True, "gan_weight": 0.0, "encoder_cache": "float32",
    }  # fmt: skip
    said = of_training(make_recipe({**table, "method": method, "sampling": {"size": [24, 24]}}), "cpu")
    # Two maps of 48 channels on 2 x 2 tokens.
    assert f"are kept: {2 * 48 * 4 * 4 / 1e6:.3g} MB of disk for each" in said
    assert not (tmp_path / "cache").exists()
    jitter = make_recipe({**table, "method": method, "sampling": {"size": [24, 24], "jitter": 1}})
    with pytest.raises(RecipeError, match=r"sampling\.jitter = 1 makes a new image"):
        of_training(jitter, "cpu")
    assert "are kept" not in of_training(make_recipe(table), "cpu")


def test_nothing_is_left_and_the_largest_case_is_tried(
    run: Path, recipe: Recipe, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    sizes = {case.name: (case / "T1w.nii.gz").stat().st_size for case in cohort.glob("sub-*")}
    said = of_synthesis(run, [str(cohort)], device="cpu")
    assert f"{max(sizes, key=lambda name: sizes[name])}, the largest of 4" in said
    assert 0.05 < forecast(said) < 20
    assert "2 made-up samples of 24×24" in of_training(recipe, "cpu")
    assert not list(tmp_path.iterdir())
