"""The challenges' scores against values that their own public code gave for a fixture without randomness."""

import math

import numpy as np
import pytest
import torch

from transmodal.errors import InputError
from transmodal.metrics.mae import mae
from transmodal.metrics.psnr import psnr
from transmodal.metrics.synthrad import HU_2023, HU_2025, ms_ssim_2025, ssim_2023


def fixture():
    z, y, x = np.indices((20, 24, 28)).astype(float)
    truth = np.round(600 * np.sin(x / 5) * np.cos(y / 7) + 300 * np.cos(z / 3) - 100)
    truth[5:8, 10:12, 12:16] = 3500
    truth[12:14, 6:9, 5:8] = -2000
    made = truth + np.round(80 * np.sin((x + 2 * y + 3 * z) / 5)) + 8 * (((x * y + z) % 11) - 5)
    mask = ((z - 9.5) / 9) ** 2 + ((y - 11.5) / 10) ** 2 + ((x - 13.5) / 12) ** 2 <= 1
    return torch.from_numpy(made)[None], torch.from_numpy(truth)[None], torch.from_numpy(mask)


def large():
    """The same, every voxel five times along each axis: five scales fit without padding."""
    grown = [np.kron(v.squeeze().numpy(), np.ones((5, 5, 5)))[:, :113, :131] for v in fixture()]
    return torch.from_numpy(grown[0])[None], torch.from_numpy(grown[1])[None], torch.from_numpy(grown[2] > 0)


def clipped(window):
    made, truth, mask = fixture()
    return made.clamp(*window), truth.clamp(*window), mask


def test_2023_golden_values():
    made, truth, mask = fixture()
    assert int(mask.sum()) == 4552
    assert mae(made, truth, mask) == pytest.approx(52.89213532513181, abs=1e-6)
    assert mae(made, truth) == pytest.approx(53.4712053571, abs=1e-6)
    assert psnr(*clipped(HU_2023), data_range=4024.0) == pytest.approx(36.373501510671495, abs=1e-6)
    assert psnr(*clipped(HU_2023)[:2], data_range=4024.0) == pytest.approx(36.2875027267, abs=1e-6)
    assert psnr(made, truth, data_range=float(truth.max() - truth.min())) == pytest.approx(38.9732413974, abs=1e-6)
    assert ssim_2023(made, truth, mask) == pytest.approx(0.9836827952, abs=1e-9)
    assert ssim_2023(made.float(), truth.float(), mask) == pytest.approx(0.9836827871, abs=1e-6)
    assert ssim_2023(made, truth) == pytest.approx(0.9644211210, abs=1e-9)
    assert ssim_2023(truth, truth, mask) == 1.0


def test_2025_golden_values():
    made, truth, mask = fixture()
    assert psnr(*clipped(HU_2025), data_range=4095.0) == pytest.approx(36.52542019164282, abs=1e-6)
    assert ms_ssim_2025(made, truth, mask) == pytest.approx(0.9977795107034791, abs=1e-9)
    assert ms_ssim_2025(*large()) == pytest.approx(0.980444438568546, abs=1e-9)
    _, truth, mask = large()
    assert ms_ssim_2025(truth, truth, mask) == pytest.approx(1.0, abs=1e-12)


def test_what_lies_outside_the_mask_or_the_window_does_not_count():
    made, truth, mask = fixture()
    spoilt = torch.where(mask, made, 7777.0)
    for score in (ssim_2023, ms_ssim_2025):
        assert score(spoilt, truth, mask) == score(made, truth, mask)
    assert ssim_2023(made.clamp(*HU_2023), truth, mask) == ssim_2023(made, truth, mask)
    assert ms_ssim_2025(made.clamp(*HU_2025), truth, mask) == ms_ssim_2025(made, truth, mask)


def test_2025_depends_on_the_order_of_the_axes():
    """Halving looks back, never ahead; so orientation is a part of the convention."""
    made, truth, mask = large()
    turned = ms_ssim_2025(made.flip(1), truth.flip(1), mask.flip(0))
    assert turned != pytest.approx(ms_ssim_2025(made, truth, mask), abs=1e-7)
    assert turned == pytest.approx(ms_ssim_2025(made, truth, mask), abs=1e-2)
    assert ssim_2023(made.flip(1), truth.flip(1), mask.flip(0)) == pytest.approx(ssim_2023(made, truth, mask))


def test_a_mask_at_the_faces_alone_leaves_nothing_to_measure():
    made, truth, mask = fixture()
    mask = torch.zeros_like(mask)
    mask[:2] = True
    assert math.isnan(ssim_2023(made, truth, mask))
    mask[:] = False
    with pytest.raises(InputError, match="no voxel"):
        ms_ssim_2025(made, truth, mask)
