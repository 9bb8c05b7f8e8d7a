"""The verb ``calibrate``: people that nobody trained on, intervals as files, and what is refused."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from transmodal.data.bring import PrepareSettings
from transmodal.data.claim import claimed
from transmodal.data.intensity import IntensityFit
from transmodal.data.phantom.cohort import PhantomSettings, write_cohort
from transmodal.data.prepare import prepare
from transmodal.data.prepared import PreparedDataset
from transmodal.errors import InputError, Refused
from transmodal.experiment.calibrate import _measured, calibrate
from transmodal.inference.files import synthesize_paths
from transmodal.inference.model import load_model

OLD = tuple(f"sub-00{n}" for n in range(1, 5))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people whom the run has never seen."""
    settings = PhantomSettings(subjects=8, size=(24, 24, 24), spacing=8.5, contrasts=("T1w", "T2w", "FA"))
    return write_cohort(tmp_path_factory.mktemp("others"), settings, workers=1)


@pytest.fixture(scope="module")
def data(others: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("others") / "prepared"
    prepare(others, out, PrepareSettings(exclude=OLD))
    return out


@pytest.fixture(scope="module")
def calibrated(run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    mine = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(run, mine)
    told = calibrate(mine, data, device="cpu")
    assert "4 people; shares up to 0.800 can be promised" in told
    return mine


def test_intervals_hold_what_was_calibrated(calibrated: Path, data: Path, others: Path, tmp_path: Path) -> None:
    """Of the calibration's own people, at least the share's quantile is held, on average, in the files."""
    held = []
    for name in PreparedDataset.open(data).names:
        folder = others / name
        out = tmp_path / name / "fa.nii.gz"
        synthesize_paths(
            calibrated / "model", [str(folder / "T1w.nii.gz")], out, mask=folder / "mask.nii.gz", interval=0.75
        )
        low, made, high = (nib.load(out.with_name(f"fa{e}.nii.gz")).get_fdata() for e in ("_lower", "", "_upper"))
        truth, inside = (nib.load(folder / f"{n}.nii.gz").get_fdata() for n in ("FA", "mask"))
        assert ((low <= made + 1e-6) & (made <= high + 1e-6)).all()
        held.append(float(((low <= truth) & (truth <= high))[inside > 0].mean()))
    # 0.75 of five people, of whom the fifth is unknown, is 0.9375 of the four.
    assert np.mean(held) == pytest.approx(0.9375, abs=0.01)
    sidecar = json.loads((tmp_path / "sub-005" / "fa.json").read_text())
    told = sidecar["Interval"]
    assert (told["Holds"], told["In"], told["CalibratedOn"]) == (0.75, "given mask", 4)
    assert json.loads((tmp_path / "sub-005" / "fa_lower.json").read_text())["Limit"] == "lower"


def test_the_mask_of_the_promise_is_told(
    calibrated: Path, others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("transmodal.progress.warn", said.append)
    found = load_model(calibrated / "model").calibration
    assert found is not None
    assert found.masked
    image = str(others / "sub-005" / "T1w.nii.gz")
    synthesize_paths(calibrated / "model", [image], tmp_path / "fa.nii.gz", interval=0.5)
    assert any("calibrated in masks that were given" in sentence for sentence in said)


def test_what_cannot_be_calibrated(run: Path, others: Path, cohort: Path, prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the model was trained or chosen on sub-00"):
        calibrate(run, prepared, device="cpu")
    prepare(others, tmp_path / "coarse", PrepareSettings(exclude=OLD, spacing=12.0))
    with pytest.raises(InputError, match=r"was prepared with spacing = 12\.0, the model's own data with 0\.0"):
        calibrate(run, tmp_path / "coarse", device="cpu")
    with pytest.raises(InputError, match="1 people to calibrate on"):
        calibrate(run, device="cpu")
    with pytest.raises(Refused, match="never calibrated"):
        synthesize_paths(
            run / "model", [str(cohort / "sub-001" / "T1w.nii.gz")], tmp_path / "fa.nii.gz", interval=0.5
        )


def test_measured_values_beyond_the_window_count_as_not_held(data: Path) -> None:
    case = PreparedDataset.open(data).case("sub-005")
    narrow = replace(case, fits={**case.fits, "FA": IntensityFit("window", 0.15, 0.15, -1.0, 1.0)})
    values = np.asarray(case.values("FA"))
    found = _measured(narrow, "FA")
    assert np.array_equal(np.isinf(found), values > 0.3 + 3e-5)
    assert np.isinf(found).any()
    assert found[np.isfinite(found)].max() <= 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_a_run_in_use_is_not_calibrated(calibrated: Path, data: Path) -> None:
    before = (calibrated / "model" / "calibration.json").read_bytes()
    with claimed(calibrated), pytest.raises(Refused, match="another process is working in this folder"):
        calibrate(calibrated, data, device="cpu")
    assert (calibrated / "model" / "calibration.json").read_bytes() == before
