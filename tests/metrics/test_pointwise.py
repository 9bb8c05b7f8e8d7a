"""MAE, NMSE, PSNR and SliceConsistency: values worked out by hand, and peers."""

import math

import numpy as np
import pytest
import torch
from monai.metrics import MAEMetric, PSNRMetric
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio
from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr
from torchmetrics.functional.regression import mean_absolute_error

from transmodal.metrics.mae import mae
from transmodal.metrics.nmse import nmse
from transmodal.metrics.psnr import psnr
from transmodal.metrics.slice_consistency import slice_consistency

# reference 1 2 3 4, prediction 2 2 1 8: errors 1 0 2 4; the mask leaves the last one out.
REFERENCE = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
PREDICTION = torch.tensor([2.0, 2.0, 1.0, 8.0]).view(1, 4, 1, 1)
MASK = torch.tensor([True, True, True, False]).view(4, 1, 1)


def pair(size, data_range, seed=0):
    generator = torch.Generator().manual_seed(seed)
    reference = torch.rand((1, *size), generator=generator, dtype=torch.float64) * data_range
    return reference + 0.1 * data_range * torch.randn(reference.shape, generator=generator, dtype=torch.float64), (
        reference
    )


def test_golden_values():
    assert mae(PREDICTION, REFERENCE) == 7 / 4
    assert mae(PREDICTION, REFERENCE, MASK) == 1.0
    assert nmse(PREDICTION, REFERENCE) == 21 / 30
    assert nmse(PREDICTION, REFERENCE, MASK) == 5 / 14
    assert psnr(PREDICTION, REFERENCE, data_range=10.0) == pytest.approx(
        10 * math.log10(100 / (21 / 4)), abs=1e-12
    )
    assert psnr(PREDICTION, REFERENCE, MASK, data_range=10.0) == pytest.approx(10 * math.log10(60), abs=1e-12)


def test_channels_are_averaged_voxel_by_voxel():
    prediction, reference = torch.cat([PREDICTION, REFERENCE]), torch.cat([REFERENCE, REFERENCE])
    assert mae(prediction, reference, MASK) == 0.5
    assert nmse(prediction, reference, MASK) == 5 / 28
    assert psnr(prediction, reference, MASK, data_range=1.0) == pytest.approx(-10 * math.log10(5 / 6), abs=1e-12)


@pytest.mark.parametrize("data_range", [1.0, 255.0, 4095.0])
@pytest.mark.parametrize("size", [(19, 23, 1), (12, 11, 15)])
def test_peers(size, data_range):
    prediction, reference = pair(size, data_range)
    x, y = prediction[0].numpy(), reference[0].numpy()
    assert mae(prediction, reference) == pytest.approx(mean_absolute_error(prediction, reference).item(), rel=1e-9)
    assert mae(prediction, reference) == pytest.approx(MAEMetric()(prediction, reference).item(), rel=1e-5)
    assert nmse(prediction, reference) == pytest.approx(normalized_root_mse(y, x) ** 2, abs=1e-9)
    ours = psnr(prediction, reference, data_range=data_range)
    assert ours == pytest.approx(peak_signal_noise_ratio(y, x, data_range=data_range), abs=1e-9)
    assert ours == pytest.approx(torchmetrics_psnr(prediction, reference, data_range).item(), abs=1e-6)
    assert ours == pytest.approx(PSNRMetric(max_val=data_range)(prediction, reference).item(), abs=1e-5)


def test_degenerate_values():
    zero = torch.zeros_like(REFERENCE)
    assert psnr(REFERENCE, REFERENCE, data_range=1.0) == math.inf
    assert nmse(zero, REFERENCE) == 1.0
    assert math.isnan(nmse(zero, zero))
    assert math.isnan(nmse(REFERENCE, zero))


def test_twice_the_range_adds_six_decibels():
    once, twice = (psnr(PREDICTION, REFERENCE, data_range=r) for r in (3.0, 6.0))
    assert twice - once == pytest.approx(20 * math.log10(2), abs=1e-12)


def test_same_error_other_region_other_number():
    """The trap: nothing changes but what is counted, and PSNR rises by more than ten decibels."""
    reference = torch.zeros(1, 40, 40, 40, dtype=torch.float64)
    mask = torch.zeros(40, 40, 40, dtype=torch.bool)
    mask[10:30, 10:30, 10:30] = True
    reference[:, mask] = 0.7
    prediction = reference.clone()
    prediction[:, mask] += 0.05
    pad = torch.nn.functional.pad
    wide = pad(prediction, [20] * 6), pad(reference, [20] * 6)
    inside = psnr(prediction, reference, mask, data_range=1.0)
    assert inside == pytest.approx(20 * math.log10(20), abs=1e-9)
    assert psnr(prediction, reference, data_range=1.0) == pytest.approx(inside + 10 * math.log10(8), abs=1e-9)
    assert psnr(*wide, data_range=1.0) == pytest.approx(inside + 10 * math.log10(64), abs=1e-9)
    assert psnr(*wide, pad(mask, [20] * 6), data_range=1.0) == pytest.approx(inside, abs=1e-12)


def test_slice_consistency_by_hand():
    # Steps of the reference: 1 1 1; of the prediction: 0 -1 7. Differences 1 2 6 against 3.
    reference, prediction = (v.view(1, 1, 1, 4) for v in (REFERENCE, PREDICTION))
    assert slice_consistency(prediction, reference) == 3.0
    # In the mask the last step has one voxel outside: differences 1 2 against 2.
    assert slice_consistency(prediction, reference, MASK.view(1, 1, 4)) == 1.5
    assert slice_consistency(PREDICTION, REFERENCE, MASK, axis=0) == 1.5
    assert slice_consistency(prediction + 5, prediction) == 0.0
    assert slice_consistency(torch.full_like(reference, 9.0), reference) == 1.0
    assert math.isnan(slice_consistency(reference, torch.ones_like(reference)))
    assert math.isnan(
        slice_consistency(reference, reference, torch.tensor([True, False, True, False]).view(1, 1, 4))
    )


def test_slice_consistency_sees_stripes_only_across_slices():
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand((1, 8, 8, 12), generator=generator, dtype=torch.float64)
    stripes = reference + torch.tensor([0.0, 1.0] * 6, dtype=torch.float64)
    assert slice_consistency(stripes, reference, axis=2) > 2
    assert slice_consistency(stripes, reference, axis=0) == pytest.approx(0, abs=1e-12)
    steps = np.diff(stripes[0].numpy(), axis=2) - np.diff(reference[0].numpy(), axis=2)
    expected = np.abs(steps).mean() / np.abs(np.diff(reference[0].numpy(), axis=2)).mean()
    assert slice_consistency(stripes, reference) == pytest.approx(expected, rel=1e-12)
