"""The passport: known answers under every convention, golden values from files, and what is left out."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from transmodal.data.modality import modality
from transmodal.errors import InputError
from transmodal.evaluation import (
    CONVENTIONS,
    Comparison,
    evaluate,
    passport_table,
    read_rows,
    take_passport,
    write_passport,
)  # fmt: skip
from transmodal.metrics import METRICS

SIDE, INNER, ERROR = 33, 20, 0.05
"""A head of 20³ voxels in a file of 33³: 22 % of it, as in many brain scans."""


def head(pad=0, name="T1w", data_range=1.0):
    """A head at 0.7 whose prediction is off by ± 0.05, voxel by voxel in turns; the rest is 0."""
    inside = torch.zeros(SIDE, SIDE, SIDE, dtype=torch.bool)
    inside[6:26, 6:26, 6:26] = True
    sign = 1.0 - 2.0 * (torch.stack(torch.meshgrid(*[torch.arange(SIDE)] * 3, indexing="ij")).sum(dim=0) % 2)
    reference = 0.7 * inside.double()
    prediction = reference + ERROR * sign.double() * inside
    wide = torch.nn.functional.pad
    prediction, reference, inside = (wide(v, [pad] * 6) for v in (prediction, reference, inside))
    return Comparison(prediction[None], reference[None], inside, None, modality(name), data_range)


def values(comparison, convention, metric="PSNR"):
    scores = take_passport(comparison, conventions=[CONVENTIONS[convention]]).scores[convention]
    return [s for s in scores if s.metric == metric]


def value(*args):
    (score,) = values(*args)
    return score.value


def test_the_same_error_is_26_to_37_decibels():
    """Nothing changes but the convention; every number is worked out by hand."""
    strict = 20 * math.log10(1 / ERROR)
    share = (INNER / SIDE) ** 3
    assert strict == pytest.approx(26.02, abs=0.005)
    assert value(head(), "strict") == pytest.approx(strict, abs=1e-9)
    assert value(head(), "box") == pytest.approx(strict, abs=1e-9)
    assert value(head(), "volume") == pytest.approx(strict - 10 * math.log10(share), abs=1e-9)  # 32.5
    # Zero-padding changes no voxel of the head, and 4.4 dB of what is published for it.
    padded = value(head(pad=6), "volume")
    assert padded == pytest.approx(strict + 30 * math.log10((SIDE + 12) / INNER), abs=1e-9)
    assert padded > 36.5
    assert value(head(pad=6), "strict") == pytest.approx(strict, abs=1e-9)
    # The range is the reference's maximum, its true width, or twice it.
    ranges = [value(head(data_range=r), "strict") for r in (0.7, 1.0, 2.0)]
    assert ranges == pytest.approx([strict + 20 * math.log10(r) for r in (0.7, 1.0, 2.0)], abs=1e-9)


def test_the_mean_of_slices_counts_the_infinite_ones():
    (score,) = values(head(), "slice-mean")
    slice_share = (INNER / SIDE) ** 2
    assert score.value == pytest.approx(20 * math.log10(1 / ERROR) - 10 * math.log10(slice_share), abs=1e-9)
    assert (score.n, score.infinite, score.undefined) == (20, 13, 0)
    (score,) = values(head(), "slice-mask")
    assert score.value == pytest.approx(20 * math.log10(1 / ERROR), abs=1e-9)
    assert (score.n, score.infinite) == (20, 0)
    (score,) = values(head(), "slice-mean", "NMSE")
    assert (score.n, score.undefined) == (20, 13)
    assert score.value == pytest.approx((ERROR / 0.7) ** 2)


def test_slices_by_their_own_maximum():
    """Prediction 0.65 and 0.75 in turns becomes 13/15 and 1, beside 1: half of the voxels are off by 2/15."""
    (score,) = values(head(), "slice-max")
    mse = 0.5 * (2 / 15) ** 2 * (INNER / SIDE) ** 2
    assert score.value == pytest.approx(-10 * math.log10(mse), abs=1e-9)
    assert (score.n, score.undefined, score.data_range) == (20, 13, "1")
    brighter = replace(head(), prediction=3 * head().prediction)
    assert values(brighter, "slice-max")[0].value == pytest.approx(score.value, abs=1e-9), "any scale is forgiven"


def test_ssim_of_slices_equals_scikit_image():
    rng = np.random.default_rng(0)
    reference = rng.random((1, 21, 19, 4))
    prediction = reference + 0.1 * rng.normal(size=reference.shape)
    comparison = Comparison(*map(torch.from_numpy, (prediction, reference)), None, None, modality("T1w"), 1.0)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    theirs = [
        structural_similarity(prediction[0, ..., z], reference[0, ..., z], data_range=1.0, **settings)[1].mean()
        for z in range(4)
    ]
    assert value(comparison, "slice-mean", "SSIM") == pytest.approx(np.mean(theirs), abs=1e-9)
    assert value(comparison, "volume", "SSIM") != pytest.approx(np.mean(theirs), abs=1e-3)


def test_strict_and_volume_are_what_evaluate_prints_without_a_passport():
    scores = take_passport(head()).scores
    assert {s.convention for s in scores["strict"] if s.metric == "SSIM"} == {"3d masked range=1"}
    assert {s.convention for s in scores["volume"] if s.metric == "SSIM"} == {"3d whole range=1"}
    for name in ("strict", "volume"):
        inside = head().mask if name == "strict" else None
        for score in scores[name]:
            direct = METRICS[score.metric](head().prediction, head().reference, inside, data_range=1.0)
            assert score.value == pytest.approx(direct, rel=1e-12, nan_ok=True)
    assert all(
        s.convention.startswith(name) for name in scores for s in scores[name] if name not in ("strict", "volume")
    )


def test_the_challenges_golden_values_from_files(challenge, tmp_path):
    """The fixture as the challenge stores it: arrays (z, y, x), running to left, posterior, superior."""
    for name, data in zip(("made", "truth", "mask"), challenge, strict=True):
        stored = data.squeeze().numpy().astype(np.float32).transpose(2, 1, 0)
        (tmp_path / name).mkdir()
        nib.save(nib.Nifti1Image(stored, np.diag([-1.0, -1.0, 2.5, 1.0])), tmp_path / name / "p1.nii.gz")
    out = tmp_path / "out"
    evaluate(tmp_path / "made", tmp_path / "truth", mask=tmp_path / "mask", out=out, target="CT", passport=True)
    found = {(r.convention.split()[0], r.metric): r.value for r in read_rows(out / "evaluation.csv")}
    assert found["synthrad2023", "MAE"] == pytest.approx(52.89213532513181, abs=1e-6)
    assert found["synthrad2023", "PSNR"] == pytest.approx(36.373501510671495, abs=1e-6)
    assert found["synthrad2023", "SSIM"] == pytest.approx(0.9836827952, abs=1e-6)
    assert found["synthrad2025", "MAE"] == pytest.approx(52.89213532513181, abs=1e-6)
    assert found["synthrad2025", "PSNR"] == pytest.approx(36.52542019164282, abs=1e-6)
    assert found["synthrad2025", "MS-SSIM"] == pytest.approx(0.9977795107034791, abs=1e-6)


@pytest.mark.parametrize("convention", ["synthrad2023", "synthrad2025", "tissues", "strict"])
def test_what_lies_outside_the_mask_of_either_volume_does_not_count(challenge, convention):
    made, truth, mask = challenge
    asked = {"conventions": [CONVENTIONS[convention]]}
    clean = take_passport(Comparison(made, truth, mask, None, modality("CT")), **asked).scores[convention]
    spoilt = torch.where(mask, made, 7777.0), torch.where(mask, truth, -333.0)
    found = take_passport(Comparison(*spoilt, mask, None, modality("CT")), **asked).scores[convention]
    blind = {(s.region, s.metric): s.value for s in clean if not METRICS[s.metric].sees_outside}
    assert {"MAE", "PSNR"} & {metric for _, metric in blind}
    for score in found:
        if (score.region, score.metric) in blind:
            assert score.value == pytest.approx(blind[score.region, score.metric], rel=1e-12, nan_ok=True)


def test_as_papers_that_say_little(challenge):
    """Slices of -1..1 and of 8 bits against numpy and scikit-image; far from the challenge's own numbers."""
    made, truth, mask = challenge
    ours = take_passport(Comparison(made, truth, mask, None, modality("CT"))).scores
    raw = [np.clip(v[0].numpy().astype(np.float64), -1024, 3000) for v in (made, truth)]
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    for name, (x, y), size in (
        ("paper-like", [2 * (v + 1024) / 4024 - 1 for v in raw], 2.0),
        ("paper-8bit", [np.round(255 * (v + 1024) / 4024) for v in raw], 255.0),
    ):
        found = {s.metric: s for s in ours[name]}
        slices = range(x.shape[2])
        mse = [((x[..., z] - y[..., z]) ** 2).mean() for z in slices]
        maps = [structural_similarity(x[..., z], y[..., z], data_range=size, **settings)[1] for z in slices]
        assert found["MAE"].value == pytest.approx(np.abs(x - y).mean(), rel=1e-12)
        assert found["PSNR"].value == pytest.approx(np.mean(10 * np.log10(size**2 / np.array(mse))), abs=1e-9)
        assert found["SSIM"].value == pytest.approx(np.mean([m.mean() for m in maps]), abs=1e-9)
        assert (found["PSNR"].n, found["PSNR"].data_range) == (x.shape[2], f"{size:g}")
        assert found["MAE"].unit == "1"
    in_mask = {s.metric: s.value for s in ours["synthrad2023"]}
    assert found["PSNR"].value != pytest.approx(in_mask["PSNR"], abs=0.05)
    lines = passport_table([take_passport(Comparison(made, truth, mask, None, modality("CT")))]).splitlines()
    for row in ("| paper-like | PSNR", "| synthrad2023 | PSNR"):
        cells = [cell.strip() for cell in next(line for line in lines if line.startswith(row)).split(" | ")]
        # R, mask, window, unit of averaging, cases, n.
        assert all(cells[4:10]), cells
    assert "no window" in take_passport(head()).absent["paper-like"]


def test_orientation_is_a_part_of_synthrad2025(large_challenge):
    made, truth, mask = (v.squeeze().permute(2, 1, 0).flip(0, 1) for v in large_challenge)  # RAS+
    comparison = Comparison(made[None], truth[None], mask, None, modality("CT"))
    assert value(comparison, "synthrad2025", "MS-SSIM") == pytest.approx(0.980444438568546, abs=1e-9)


def test_lesion_and_healthy_rest_share_one_range():
    c = head(data_range=None)
    labels = torch.zeros(SIDE, SIDE, SIDE, dtype=torch.int16)
    labels[8:12, 8:12, 8:12] = 4
    labels[0, 0, 0] = 1  # outside the mask: not counted
    reference = torch.where(labels == 4, 0.9, c.reference) + 0.001 * c.prediction
    lesion = replace(c, labels=labels, reference=reference, prediction=reference + 0.1 * (labels == 4).double())
    found = take_passport(lesion, conventions=[CONVENTIONS["regions"]]).scores["regions"]
    facts = {(s.region, s.metric): s for s in found}
    assert facts["lesion", "MAE"].value == pytest.approx(0.1)
    assert facts["lesion", "MAE"].n == 64
    assert facts["healthy", "MAE"].value == 0.0
    assert facts["healthy", "PSNR"].value == math.inf
    assert facts["healthy", "MAE"].n == INNER**3 - 64
    truth = reference[:, c.mask]
    size = float(truth.max() - truth.min())
    assert facts["lesion", "PSNR"].value == pytest.approx(20 * math.log10(size / 0.1), abs=1e-9)
    assert facts["lesion", "PSNR"].convention == "regions 3d masked range=reference"


def test_fa_is_clipped_and_what_lay_outside_is_counted():
    c = head(name="FA", data_range=None)
    prediction = c.prediction.clone()
    prediction[0, 10, 10, 10:13] = torch.tensor([1.5, -0.2, 1.1], dtype=torch.float64)
    prediction[0, 0, 0, 0] = 9.0  # outside the mask
    found = {s.metric: s for s in take_passport(replace(c, prediction=prediction)).scores["fa"]}
    assert found["voxels above 1 (prediction)"].value == 2
    assert found["voxels below 0 (prediction)"].value == 1
    assert found["voxels above 1 (reference)"].value == 0
    assert found["voxels above 1 (prediction)"].n == INNER**3
    expected = (ERROR * (INNER**3 - 3) + 0.3 + 0.7 + 0.3) / INNER**3
    assert found["MAE"].value == pytest.approx(expected, abs=1e-12)


def test_colour_and_its_luminance():
    rng = np.random.default_rng(0)
    reference = torch.from_numpy(rng.integers(0, 256, (3, 14, 13, 12)).astype(float))
    prediction = (reference + torch.from_numpy(rng.normal(0, 20, reference.shape))).clamp(0, 255)
    c = Comparison(prediction, reference, None, None, modality("cryo"))
    found = {(s.metric, "luminance" in s.convention): s.value for s in take_passport(c).scores["colour"]}
    grey = [(0.299 * v[:1] + 0.587 * v[1:2] + 0.114 * v[2:]) for v in (prediction, reference)]
    assert found["SSIM", True] == pytest.approx(METRICS["SSIM"](*grey, data_range=255.0), abs=1e-12)
    assert found["SSIM", False] == METRICS["SSIM"](prediction, reference, data_range=255.0)
    for name in ("delta-CF", "CIEDE2000"):
        assert found[name, False] == METRICS[name](prediction, reference, data_range=255.0) > 0
    # As a run's own table has it.
    assert found["STSIM-2", False] == METRICS["STSIM-2"](prediction, reference, data_range=255.0)
    lines = passport_table([take_passport(c)]).splitlines()
    cells = {tuple(cell.strip() for cell in line.split("|")[1:3]): line for line in lines if line.startswith("|")}
    assert {("colour", "SSIM"), ("colour (luminance)", "SSIM"), ("colour", "STSIM-1")} <= cells.keys()
    averages = {key: cells["colour", key].split("|")[8].strip() for key in ("SSIM", "STSIM-1", "delta-CF")}
    assert averages == {"SSIM": "voxels of a volume", "STSIM-1": "axial slices", "delta-CF": "axial slices"}


def test_what_does_not_apply_says_why():
    c = replace(head(), mask=None)
    absent = take_passport(c).absent
    assert absent["strict"] == "there is no mask; give --mask"
    assert "--target CT" in absent["synthrad2025"]
    assert "three channels" in absent["colour"]
    assert "--labels" in absent["regions"]
    below = replace(head(), reference=head().reference - 0.1)
    assert "below 0" in take_passport(below).absent["slice-max"]
    thin = {name: getattr(c, name)[..., 8:14] for name in ("prediction", "reference")}
    assert "7 voxels" in take_passport(replace(c, kind=modality("CT"), **thin)).absent["synthrad2023"]
    assert take_passport(replace(c, mask=torch.zeros_like(head().mask))).absent["box"] == "the mask has no voxel"
    flat = replace(head(data_range=None), reference=torch.ones_like(head().reference), mask=None)
    with pytest.raises(InputError, match=r"no convention applies.*no range of its own"):
        take_passport(flat, conventions=[CONVENTIONS["volume"]])


def test_a_prediction_with_nan_is_undefined_and_counted(tmp_path):
    c = head()
    broken = c.prediction.clone()
    broken[0, 15, 15, 15] = math.nan
    passports = [take_passport(c, case="a"), take_passport(replace(c, prediction=broken), case="b")]
    row = next(line for line in passport_table(passports).splitlines() if line.startswith("| strict | PSNR"))
    assert row.split(" | ")[2] == "26.02"
    assert "1 cases undefined" in row
    perfect = take_passport(replace(c, prediction=c.reference), case="c")
    row = next(line for line in passport_table([perfect]).splitlines() if line.startswith("| strict | PSNR"))
    assert row.split(" | ")[2] == "∞"
    write_passport(tmp_path, [*passports, perfect])
    content = json.loads((tmp_path / "passport.json").read_text(), parse_constant=lambda token: pytest.fail(token))
    chosen = [s for s in content["scores"] if (s["convention_name"], s["metric"]) == ("strict", "PSNR")]
    assert [s["said"] for s in chosen] == ["26.02", "nan", "inf"]
    assert [s["value"] is None for s in chosen] == [False, True, True]
    (summary,) = (s for s in content["summary"] if (s["convention_name"], s["metric"]) == ("strict", "PSNR"))
    assert (summary["n"], summary["infinite"], summary["undefined"]) == (1, 1, 1)


def test_slices_left_out_are_rows_of_the_tidy_table():
    rows = take_passport(head(), case="a", method="m").rows
    (row,) = (r for r in rows if (r.metric, r.convention.split()[0]) == ("PSNR infinite", "slice-mean"))
    assert (row.value, row.unit, row.n, row.case, row.method) == (13.0, "slices", 33, "a", "m")


def test_every_line_of_the_table_says_all_that_must_be_known():
    lines = passport_table([take_passport(head(name="FA"))]).splitlines()
    heads = [cell.strip() for cell in lines[0].strip("|").split(" | ")]
    assert heads == ["convention", "metric", "value", "unit", "data range", "mask", "window", "averaged over",
                     "cases", "n", "left out"]  # fmt: skip
    body = [line for line in lines[2:] if line.startswith("|")]
    assert len(body) > 30
    assert all(line.count(" | ") == 10 for line in body)
    with_range = [line.split(" | ") for line in body if line.split(" | ")[1] in ("PSNR", "SSIM", "MS-SSIM")]
    other = {"paper-like": "2", "paper-8bit": "255"}
    assert all(cells[4] == other.get(cells[0].strip("| "), "1") for cells in with_range)
    assert all(cells[5] and cells[6] and cells[7] and cells[9] for cells in (b.split(" | ") for b in body))


def test_labels_are_found_by_the_name_of_the_case(tmp_path):
    c = head()
    for folder, name, data in [
        ("made", "a", c.prediction[0]), ("truth", "a", c.reference[0]), ("mask", "a_mask", c.mask),
        ("labels", "a_seg", torch.eye(SIDE)[..., None] * c.mask),
    ]:  # fmt: skip
        (tmp_path / folder).mkdir()
        volume = data.numpy().astype(np.float32)
        nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / folder / f"{name}.nii.gz")
    places = {name: tmp_path / name for name in ("mask", "labels")}
    rows = evaluate(
        tmp_path / "made", tmp_path / "truth", out=tmp_path / "out", data_range=1.0, passport=True, **places
    )
    lesion = [r for r in rows if (r.region, r.metric) == ("lesion", "MAE")]
    assert [r.n for r in lesion] == [INNER**2]
    assert lesion[0].value == pytest.approx(ERROR, abs=1e-6)
    assert {r.region for r in rows} == {"mask", "volume", "box", "lesion", "healthy"}
    assert (tmp_path / "out" / "passport.md").read_text().startswith("| convention |")
    assert [repr(row) for row in read_rows(tmp_path / "out" / "evaluation.csv")] == [repr(row) for row in rows]


def test_the_evaluation_needs_no_training_code():
    code = (
        "import sys, transmodal.evaluation\n"
        "parts = {m.split('.')[1] for m in sys.modules if m.startswith('transmodal.')}\n"
        "right = {'methods', 'registry', 'inference', 'training', 'experiment', 'recipe', 'reporting'}\n"
        "assert not parts & right, parts & right"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
