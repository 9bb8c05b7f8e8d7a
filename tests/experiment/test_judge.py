"""What is judged against the target, and what against the scan it was made from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from transmodal.data.intensity import IntensityFit
from transmodal.errors import RecipeError
from transmodal.evaluation.scale import scale_of
from transmodal.experiment.judge import Judged, judge, score_judged
from transmodal.experiment.run import open_run
from transmodal.inference.model import load_model
from transmodal.metrics import METRICS

RGB = IntensityFit("window", 127.5, 127.5, -1.0, 1.0)


@pytest.fixture
def judged() -> Judged:
    rng = np.random.default_rng(0)
    source = rng.random((1, 16, 16, 14)).astype(np.float32)
    colours = source * np.array([0.9, 1.2, 0.9], dtype=np.float32).reshape(3, 1, 1, 1)
    reference = rng.random((3, 16, 16, 14)).astype(np.float32)
    return Judged(
        "a",
        "cryo",
        255 * colours,
        255 * reference,
        np.ones((16, 16, 14), dtype=bool),
        scale_of("cryo", RGB),
        source,
    )


def test_a_coloured_copy_of_the_scan_is_perfect_against_the_input(judged: Judged) -> None:
    metrics = ("SSIM-input", "SSIM", "STSIM-1-input", "STSIM-1", "delta-CF")
    rows = {row.metric: row for row in score_judged(judged, "method", metrics)}
    assert set(rows) == set(metrics)
    assert rows["SSIM-input"].value == pytest.approx(1, abs=1e-5)
    assert rows["STSIM-1-input"].value == pytest.approx(1, abs=1e-4)
    assert rows["SSIM"].value < 0.5
    assert rows["STSIM-1"].value < 0.99
    # Each row says in which range it was computed: the input's from 0 to 1, the target's in 255 levels.
    assert "range=1" in rows["SSIM-input"].convention.split()
    assert "range=255" in rows["SSIM"].convention.split()


def test_without_an_input_of_a_window_it_is_refused(judged: Judged) -> None:
    with pytest.raises(RecipeError, match=r"SSIM-input: case a.*'percentile'"):
        score_judged(replace(judged, source=None), "method", ("MAE", "SSIM-input"))
    assert [row.metric for row in score_judged(replace(judged, source=None), "method", ("MAE",))] == ["MAE"]


def test_the_input_of_a_run_is_the_first_source_as_it_was_shown(run) -> None:
    opened = open_run(run)
    case = opened.dataset.case(opened.split.test[0])
    (made,) = judge(load_model(run / "model").method, opened, case)
    values = case.fits["T1w"].apply(np.asarray(case.values("T1w")))
    assert np.allclose(made.source, (values + 1) / 2)
    (row,) = score_judged(made, "method", ("SSIM-input",))
    told = METRICS["SSIM"](
        *(torch.tensor(v) for v in (made.prediction, made.source, made.mask)), data_range=1.0
    )  # FA is from 0 to 1 already
    assert row.value == pytest.approx(told, rel=1e-9)
