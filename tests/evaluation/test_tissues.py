"""CT by tissue: numbers worked out by hand."""

import math
from dataclasses import replace

import pytest
import torch

from transmodal.data.modality import modality
from transmodal.errors import RecipeError
from transmodal.evaluation import CONVENTIONS, Comparison, take_passport
from transmodal.evaluation.score import score
from transmodal.metrics.tissues import bone_dice, tissues

TRUTH = [-1000.0, -500.0, -200.0, 0.0, 40.0, 250.0, 300.0, 1000.0]
MADE = [-900.0, -500.0, -190.0, 0.0, 10.0, 260.0, 200.0, 900.0]
"""Off by 100, 0 | 10, 0, -30, 10 | -100, -100: air, soft tissue, bone."""


def line(values):
    return torch.tensor(values, dtype=torch.float64).reshape(1, len(values), 1, 1)


def comparison(made=MADE, truth=TRUTH, inside=None):
    mask = torch.ones(len(truth), 1, 1, dtype=torch.bool) if inside is None else inside
    return Comparison(line(made), line(truth), mask, None, modality("CT"))


def scores(c):
    return take_passport(c, conventions=[CONVENTIONS["tissues"]]).scores["tissues"]


def test_every_tissue_by_hand():
    found = {(s.region, s.metric): s for s in scores(comparison())}
    assert {key: s.value for key, s in found.items()} == pytest.approx({
        ("mask", "MAE"): 43.75, ("mask", "Bias"): -13.75, ("mask", "BoneDice"): 0.5,
        ("air", "MAE"): 50.0, ("air", "Bias"): 50.0,
        ("soft", "MAE"): 12.5, ("soft", "Bias"): -2.5,
        ("bone", "MAE"): 100.0, ("bone", "Bias"): -100.0,
    })  # fmt: skip
    assert [found[tissue, "MAE"].n for tissue in ("mask", "air", "soft", "bone")] == [8, 2, 4, 2]
    assert found["soft", "Bias"].convention == "tissues HU=-200..250 1d masked"
    assert found["bone", "MAE"].unit == "HU"


def test_the_mask_is_the_sum_of_its_tissues(challenge):
    made, truth, mask = challenge
    c = Comparison(made, truth, mask, None, modality("CT"))
    found = {(s.region, s.metric): s for s in scores(c)}
    for metric in ("MAE", "Bias"):
        parts = [found[tissue, metric] for tissue in ("air", "soft", "bone")]
        assert sum(p.value * p.n for p in parts) / 4552 == pytest.approx(found["mask", metric].value, abs=1e-9)
    assert found["mask", "MAE"].value == pytest.approx(52.89213532513181, abs=1e-9), "the challenge's own"
    where = tissues(truth, mask)
    assert torch.equal(sum(w.int() for w in where.values()), mask.int())


def test_outside_the_mask_nothing_counts():
    inside = torch.ones(8, 1, 1, dtype=torch.bool)
    inside[[0, 7]] = False
    found = {(s.region, s.metric): s.value for s in scores(comparison(inside=inside))}
    spoilt = comparison(made=[9999.0, *MADE[1:7], -9999.0], inside=inside)
    assert {(s.region, s.metric): s.value for s in scores(spoilt)} == found
    assert found["air", "MAE"] == 0.0


def test_what_is_not_there_has_no_row_or_no_number():
    soft = comparison(made=[0.0, 10.0], truth=[0.0, 0.0])
    found = {(s.region, s.metric): s.value for s in scores(soft)}
    assert {region for region, _ in found} == {"mask", "soft"}
    assert math.isnan(found["mask", "BoneDice"])
    assert bone_dice(line([300.0, 0.0]), line([0.0, 0.0]), soft.mask) == 0.0
    assert bone_dice(line([300.0, 0.0]), line([300.0, 0.0]), soft.mask) == 1.0
    assert math.isnan(bone_dice(line([math.nan, 300.0]), line([300.0, 300.0]), soft.mask))


def test_as_metrics_of_a_recipe():
    names = ("Bias", "MAE-air", "MAE-soft", "MAE-bone", "BoneDice")
    made, truth, inside = (v.numpy() for v in (line(MADE), line(TRUTH), torch.ones(8, 1, 1, dtype=torch.bool)))
    about = {"case": "x", "method": "m", "data_range": None, "metrics": names}
    rows = {row.metric: row for row in score(made, truth, inside, unit="HU", **about)}
    assert [rows[n].value for n in names] == pytest.approx([-13.75, 50.0, 12.5, 100.0, 0.5])
    assert [rows[n].unit for n in names] == ["HU"] * 4 + ["1"]
    assert rows["MAE-bone"].convention == "1d masked HU>250"
    soft = score(made[:, 3:5], truth[:, 3:5], None, unit="HU", **about)
    assert [math.isnan(row.value) for row in soft] == [False, True, False, True, True]
    with pytest.raises(RecipeError, match="MAE-air is of CT in HU, and case x is in '1'"):
        score(made, truth, inside, unit="1", **about)


def test_only_ct_with_a_mask_has_tissues():
    c = comparison()
    absent = take_passport(replace(c, kind=modality("T1w"), data_range=100.0)).absent
    assert "--target CT" in absent["tissues"]
    assert "mask" in take_passport(replace(c, mask=None, data_range=100.0)).absent["tissues"]
