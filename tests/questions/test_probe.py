"""What is heard inside a method, against known answers; and the command on a small run."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from transmodal.errors import InputError, RecipeError
from transmodal.evaluation.table import Row, read_rows
from transmodal.experiment.run import open_run
from transmodal.experiment.train import train
from transmodal.inference.model import load_model
from transmodal.nn.encoder import FeatureMap
from transmodal.questions import diversity, spectra
from transmodal.questions.probe import probe
from transmodal.questions.taps import Heard, tapped
from transmodal.recipe import make_recipe
from transmodal.training.monitor import read_log

GENERATOR = torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def masked(table: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of MRNet with a pyramid and masks at two stages."""
    out = tmp_path_factory.mktemp("runs") / "mrnet"
    method = {
        "name": "mrnet", "width": 4, "stages": 2, "encoder": "conv_pyramid", "fuse_stages": [1],
        "mask_stages": [0, 1], "mask_refine": "none", "gan_weight": 0.0, "mask_ramp": 2,
    }  # fmt: skip
    sampling = {**table["sampling"], "size": [32, 32]}
    train(make_recipe({**table, "method": method, "sampling": sampling}), out, device="cpu")
    return out


def heard(encoder: torch.Tensor, stride: float, stage: torch.Tensor, stage_stride: float) -> Heard:
    """One batch, one tap and one stage."""
    return Heard([[FeatureMap(encoder, stride)]], [[FeatureMap(stage, stage_stride)]])


def noise(channels: int, size: int) -> torch.Tensor:
    return torch.randn(2, channels, size, size, generator=GENERATOR)


def test_white_noise_on_both_grids_has_the_share_of_the_disc() -> None:
    """A finer stage is read up to what the tap's grid can hold, and not as if all of it were low."""
    encoder, stage = spectra.contents("a", heard(noise(64, 32), 4.0, noise(64, 128), 1.0))
    assert (encoder.who, stage.who, encoder.tap) == ("encoder", "U-Net", "tap 1 (stride 4)")
    for content in (encoder, stage):
        assert content.low == pytest.approx(math.pi * 0.25**2 / 4, rel=0.15)
        assert np.nanmax(np.abs(content.curve)) < 0.3


@pytest.mark.parametrize(("size", "finer"), [(8, 2), (8, 4), (15, 2)])
def test_no_grid_looks_lower_than_another(size: int, finer: int) -> None:
    """An even grid has one frequency at ±Nyquist along an axis: counting both makes finer maps look higher."""
    draws = (heard(noise(256, size), finer, noise(256, size * finer), 1.0) for _ in range(32))
    cases = [spectra.contents("a", draw) for draw in draws]
    encoder, stage = (np.mean([case[who].low for case in cases]) for who in (0, 1))
    assert encoder / stage == pytest.approx(1, abs=0.02)


def test_a_slow_wave_is_low_and_a_fast_one_is_not() -> None:
    line = torch.arange(64) / 64
    slow, fast = (torch.sin(2 * math.pi * cycles * line).expand(2, 1, 64, 64) for cycles in (1, 20))
    low, high = (spectra.contents("a", heard(wave, 1.0, wave, 1.0))[0].low for wave in (slow, fast))
    assert low > 0.99
    assert high < 0.01


def test_the_stage_beside_a_tap_is_the_coarsest_that_is_not_coarser() -> None:
    maps = [FeatureMap(noise(1, 64 // 2**level), 2.0**level) for level in range(4)]
    encoder, stage = spectra.contents("a", Heard([[FeatureMap(noise(1, 18), 3.5)]], [maps]))
    assert encoder.tap == "tap 1 (stride 3.5)"
    alone = spectra.contents("a", Heard([[FeatureMap(noise(1, 18), 3.5)]], [maps[:2]]))[1]
    assert stage.low == alone.low
    small = heard(noise(1, 7), 8.0, noise(1, 64), 1.0)
    assert spectra.contents("a", small) == [], "too small to say anything"
    (said,) = spectra.left_out(small)
    assert said.startswith("tap 1 (stride 8) has maps of 7 x 7 and is left out")


def test_masks_that_are_alike_count_as_one_and_independent_ones_as_three() -> None:
    one = torch.rand(4, 1, 40, 40, generator=GENERATOR)
    others = tuple(torch.rand(4, 1, 40, 40, generator=GENERATOR) for _ in range(2))
    found = Heard(masks={"alike": [(one, one, one)], "apart": [(one, *others)]})
    values = {(row.region, row.metric): row.value for row in diversity.readings("a", found)}
    assert values["alike", "effective"] == pytest.approx(1.0, abs=1e-4)
    assert values["alike", "correlation"] == pytest.approx(1.0, abs=1e-4)
    assert values["alike", "overlap"] == pytest.approx(1.0)
    assert values["apart", "effective"] == pytest.approx(3.0, abs=0.05)
    assert values["apart", "correlation"] < 0.05


def test_what_is_heard_is_what_the_method_says_itself(masked: Path) -> None:
    method = load_model(masked / "model").method
    x = torch.randn(3, 1, 32, 32, generator=GENERATOR)
    with tapped(method) as own, torch.no_grad():
        made = method.generate(x, method.features(x))
    assert set(own.masks) == set(made.sites) == {"stage0", "stage1"}
    for site, said in made.sites.items():
        assert all(torch.equal(a, b) for a, b in zip(own.site(site), said.masks, strict=True))
    assert [m.stride for m in own.encoder[0]] == [2.0, 4.0, 8.0, 16.0]
    assert [m.stride for m in own.stages[0]] == [1.0, 2.0]
    with torch.no_grad():
        method.generate(x, method.features(x))
    assert len(own.encoder) == 1, "nobody listens any more"


def test_opening_masks_is_the_error_without_them(masked: Path) -> None:
    """Without ρ masks commute, so that opening all of both sites leaves the plain U-Net."""
    method = load_model(masked / "model").method
    x = torch.randn(1, 1, 32, 32, generator=GENERATOR)

    def error() -> float:
        with torch.no_grad():
            return float(method.generate(x, method.features(x)).image.abs().mean())

    def scored() -> list[Row]:
        value = error()
        both = {"up": value, "down": -value}
        return [Row("a", "mrnet", "mask", name, "3d", changed, "1", 9) for name, changed in both.items()]

    plain = error()
    found = list(diversity.opened(method, scored))
    rows = {(r.region, r.method): r.value for r in found if r.metric == "up"}
    assert [r.value for r in found if r.metric == "down"] == [-value for value in rows.values()]
    assert {r.convention for r in found} == {"3d, less as it is"}
    assert len(rows) == 8
    assert error() == plain, "the masks are as they were"
    stack = method.generator.masks["stage0"]
    stack.forced = frozenset({1})
    assert rows["stage0", "mask 2 opened"] == pytest.approx(error() - plain, abs=1e-12)
    stack.forced = frozenset()
    assert rows["stage0", "all opened"] != 0


def test_the_command_on_a_run(masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr("transmodal.progress.warn", warned.append)
    text = probe([str(masked)], tmp_path, slices=3, device="cpu")
    case = open_run(masked).split.test[0]
    rows = read_rows(tmp_path / "spectra.csv")
    assert {r.method for r in rows} == {
        f"{who}{how}" for who in ("encoder", "U-Net") for how in ("", ", untrained")
    }
    assert {r.case for r in rows} == {case}
    assert all(0 < r.value < 1 and r.n == 3 for r in rows)
    masks = read_rows(tmp_path / "masks.csv")
    assert {r.region for r in masks} == {"stage0", "stage1"}
    assert all(1 <= r.value <= 3 for r in masks if r.metric == "effective")
    with open(tmp_path / "readings.csv") as file:
        logged = list(csv.DictReader(file))
    assert {row["step"] for row in logged} == {"2", "4", "6"}
    assert float(logged[0]["epoch"]) > 0
    assert "| stage1 | 1 |" in text
    worth = read_rows(tmp_path / "worth.csv")
    assert {(r.metric, r.unit) for r in worth} >= {("PSNR", "dB")}
    mae, psnr = ({(r.region, r.method): r.value for r in worth if r.metric == name} for name in ("MAE", "PSNR"))
    assert mae.keys() == psnr.keys()
    assert mae["stage0", "all opened"] != 0 != psnr["stage0", "all opened"]
    assert "What opening masks adds to PSNR (dB):" in text
    assert [sentence[:18] for sentence in warned] == ["tap 3 (stride 8) h", "tap 4 (stride 16) "]
    assert all(f"- {sentence}" in text for sentence in warned)
    assert (tmp_path / "probe.md").read_text() == text
    for name in ("spectra.png", "masks.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("said", [True, False])
def test_an_epoch_is_counted_in_samples_of_all_processes_and_passes(
    masked: Path, tmp_path: Path, said: bool
) -> None:
    """Three steps of 2 processes with 3 passes of 2 samples have seen 36; an old log counts one process."""
    whole = open_run(masked)
    (line,) = [line for line in read_log(masked / "log.jsonl") if line["step"] == 2 and "terms" in line]
    assert line["samples"] == 2
    old = {key: value for key, value in line.items() if key != "samples"}
    text = json.dumps({**old, "step": 3, **({"samples": 12} if said else {})})
    (tmp_path / "log.jsonl").write_text(text + "\n")
    training = replace(whole.recipe.training, accumulate=3)
    run = replace(whole, folder=tmp_path, recipe=replace(whole.recipe, training=training))
    cases = [whole.dataset.case(name) for name in whole.split.train]
    items = sum(len(case.slices[2]) for case in cases)
    assert {reading.epoch for reading in diversity.logged(run)} == {round((36 if said else 18) / items, 4)}


def test_what_cannot_be_probed_is_said(run: Path, masked: Path, tmp_path: Path) -> None:
    for words, slices, error, says in [
        ([], 8, RecipeError, "at least one run"),
        ([str(masked)], 0, RecipeError, "slices = 0"),
        ([str(tmp_path / "none")], 8, InputError, "holds no run"),
        ([str(masked), str(masked)], 8, RecipeError, "give each fold once"),
        ([str(masked), str(run)], 8, RecipeError, "another method"),
        ([str(run)], 8, RecipeError, "nothing to probe"),
    ]:
        with pytest.raises(error, match=says):
            probe(words, tmp_path / "out", slices=slices, device="cpu")
