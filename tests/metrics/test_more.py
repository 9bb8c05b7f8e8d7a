"""NMI, PCC, Sharpness, the shift-tolerant scores and ArtefactEnergy: values by hand, and peers."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.metrics import normalized_mutual_information
from torchmetrics.functional.regression import pearson_corrcoef

from transmodal.metrics.artefact import artefact_energy
from transmodal.metrics.nmi import nmi
from transmodal.metrics.pcc import pcc
from transmodal.metrics.psnr import psnr
from transmodal.metrics.sharpness import sharpness
from transmodal.metrics.shifted import best_shift, moved, shift_psnr, shift_ssim
from transmodal.metrics.ssim import ssim


def pair(size=(21, 18, 16), channels=1, seed=0, noise=0.3):
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand((channels, *size), generator=generator, dtype=torch.float64)
    return reference + noise * torch.randn(reference.shape, generator=generator, dtype=torch.float64), reference


def ball(size, radius):
    lines = [torch.arange(n) - (n - 1) / 2 for n in size]
    x, y, z = torch.meshgrid(*lines, indexing="ij")
    return x**2 + y**2 + z**2 <= radius**2


@pytest.mark.parametrize("masked", [False, True])
def test_nmi_equals_scikit_image(masked):
    prediction, reference = pair()
    mask = ball((21, 18, 16), 7.0) if masked else torch.ones(21, 18, 16, dtype=torch.bool)
    theirs = normalized_mutual_information(prediction[:, mask].numpy(), reference[:, mask].numpy(), bins=100)
    assert nmi(prediction, reference, mask if masked else None) == pytest.approx(theirs, abs=1e-9)


def test_nmi_by_hand_and_blind_to_inversion():
    # x: 0 0 1 1, y: 0 1 0 1 share nothing; x and 5 - 3x share all.
    x = torch.tensor([0.0, 0, 1, 1]).view(1, 4, 1, 1)
    y = torch.tensor([0.0, 1, 0, 1]).view(1, 4, 1, 1)
    assert nmi(x, y) == 1.0
    assert nmi(5 - 3 * x, x) == 2.0
    assert math.isnan(nmi(torch.ones_like(x), x))
    assert nmi(torch.cat([x, x]), torch.cat([x, y])) == 1.5, "the mean over channels"


def test_pcc_equals_scipy_and_torchmetrics():
    prediction, reference = pair()
    mask = ball((21, 18, 16), 7.0)
    x, y = prediction[:, mask][0], reference[:, mask][0]
    assert pcc(prediction, reference, mask) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert pcc(prediction, reference, mask) == pytest.approx(pearson_corrcoef(x, y).item(), abs=1e-6)
    assert pcc(7 - 2 * reference, reference) == pytest.approx(-1, abs=1e-12)
    assert math.isnan(pcc(torch.ones_like(reference), reference))


@pytest.mark.parametrize("width", [1, 4, 9])
def test_a_blurred_edge_scores_one_over_the_root_of_its_width(width):
    """A step that is spread over w voxels has w steps of 1/w: energy w (1/w)² = 1/w."""
    line = torch.arange(30).double()
    edge = (line >= 15).double().view(1, 30, 1, 1).expand(1, 30, 6, 5)
    ramp = ((line - 14 + 0) / width).clamp(0, 1).view(1, 30, 1, 1).expand(1, 30, 6, 5)
    assert sharpness(ramp, edge) == pytest.approx(1 / math.sqrt(width), abs=1e-12)
    assert sharpness(3 * edge - 7, edge) == pytest.approx(3)


def test_sharpness_in_a_mask_sees_no_step_across_its_border():
    reference = torch.zeros(1, 6, 6, 6, dtype=torch.float64)
    reference[:, 3:] = 1.0
    mask = torch.zeros(6, 6, 6, dtype=torch.bool)
    mask[3:] = True
    assert math.isnan(sharpness(reference, reference, mask))
    mask[2] = True
    assert sharpness(2 * reference, reference, mask) == 2.0


@pytest.mark.parametrize("shift", [(0, 0, 0), (1, -2, 0), (2, 2, -2)])
@pytest.mark.parametrize("masked", [False, True])
def test_a_shift_is_found_and_forgiven(shift, masked):
    _, reference = pair(channels=2)
    mask = ball((21, 18, 16), 5.0) if masked else None
    prediction = torch.roll(reference, shift, dims=(1, 2, 3))
    assert best_shift(prediction, reference, mask) == shift
    if masked:
        assert shift_psnr(prediction, reference, mask, data_range=1.0) == math.inf
        inner = ball((21, 18, 16), 1.0)  # the windows of 11 voxels stay inside what was rolled
        assert shift_ssim(prediction, reference, inner, data_range=1.0) == pytest.approx(1.0, abs=1e-12)
    plain = psnr(prediction, reference, mask, data_range=1.0)
    assert shift_psnr(prediction, reference, mask, data_range=1.0) >= plain


def test_shift_scores_are_the_best_of_all_shifts():
    prediction, reference = pair(noise=0.5)
    prediction = torch.roll(prediction, (1, 0, -1), dims=(1, 2, 3))
    mask = ball((21, 18, 16), 6.5)
    steps = range(-2, 3)
    shifts = [(a, b, c) for a in steps for b in steps for c in steps]
    scores = {s: psnr(moved(prediction, s), reference, mask, data_range=1.0) for s in shifts}
    best = max(scores, key=scores.get)
    assert best == best_shift(prediction, reference, mask) == (1, 0, -1)
    assert shift_psnr(prediction, reference, mask, data_range=1.0) == scores[best]
    assert shift_ssim(prediction, reference, mask, data_range=1.0) == ssim(
        moved(prediction, best), reference, mask, data_range=1.0
    )


def test_moved_goes_on_with_its_last_voxel():
    line = torch.arange(5.0).view(1, 5, 1, 1)
    assert moved(line, (2, 0, 0)).flatten().tolist() == [2, 3, 4, 4, 4]
    assert moved(line, (-1, 0, 0)).flatten().tolist() == [0, 0, 1, 2, 3]
    reference = torch.tensor([4.0, 4.0, 9.0, 9.0, 9.0]).view(1, 5, 1, 1)
    assert best_shift(line, reference) == (2, 0, 0)


def test_a_mask_at_the_face_can_be_shifted_across_it():
    _, reference = pair()
    mask = torch.zeros(21, 18, 16, dtype=torch.bool)
    mask[:8] = True
    prediction = torch.roll(reference, (-2, 0, 0), dims=(1, 2, 3))
    assert best_shift(prediction, reference, mask) == (-2, 0, 0)


def test_artefact_energy_by_hand():
    # Inside: 1 2 3, variation 2. Outside: errors 1 and 2, energy 5.
    reference = torch.tensor([1.0, 2, 3, 0, 0]).view(1, 5, 1, 1)
    prediction = torch.tensor([9.0, 9, 9, 1, -2]).view(1, 5, 1, 1)
    mask = torch.tensor([True, True, True, False, False]).view(5, 1, 1)
    assert artefact_energy(prediction, reference, mask) == 2.5
    assert artefact_energy(prediction - 1024, reference - 1024, mask) == 2.5
    assert artefact_energy(reference, reference, mask) == 0.0
    assert math.isnan(artefact_energy(prediction, reference))
    assert math.isnan(artefact_energy(prediction, torch.zeros_like(reference), mask))
    prediction[:, :3] = np.nan
    assert artefact_energy(prediction, reference, mask) == 2.5, "what lies inside does not count"
