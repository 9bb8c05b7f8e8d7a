"""The challenges' scores against values that their own public code gave for a fixture without randomness."""

import math

import pytest
import torch

from transmodal.errors import InputError
from transmodal.metrics.mae import mae
from transmodal.metrics.psnr import psnr
from transmodal.metrics.synthrad import HU_2023, HU_2025, ms_ssim_2025, ssim_2023


def clipped(challenge, window):
    made, truth, mask = challenge
    return made.clamp(*window), truth.clamp(*window), mask


def test_2023_golden_values(challenge):
    made, truth, mask = challenge
    assert int(mask.sum()) == 4552
    assert mae(made, truth, mask) == pytest.approx(52.89213532513181, abs=1e-6)
    assert mae(made, truth) == pytest.approx(53.4712053571, abs=1e-6)
    assert psnr(*clipped(challenge, HU_2023), data_range=4024.0) == pytest.approx(36.373501510671495, abs=1e-6)
    assert psnr(*clipped(challenge, HU_2023)[:2], data_range=4024.0) == pytest.approx(36.2875027267, abs=1e-6)
    assert psnr(made, truth, data_range=float(truth.max() - truth.min())) == pytest.approx(38.9732413974, abs=1e-6)
    assert ssim_2023(made, truth, mask) == pytest.approx(0.9836827952, abs=1e-9)
    assert ssim_2023(made.float(), truth.float(), mask) == pytest.approx(0.9836827871, abs=1e-6)
    assert ssim_2023(made, truth) == pytest.approx(0.9644211210, abs=1e-9)
    assert ssim_2023(truth, truth, mask) == 1.0


def test_2025_golden_values(challenge, large_challenge):
    made, truth, mask = challenge
    assert psnr(*clipped(challenge, HU_2025), data_range=4095.0) == pytest.approx(36.52542019164282, abs=1e-6)
    assert ms_ssim_2025(made, truth, mask) == pytest.approx(0.9977795107034791, abs=1e-9)
    assert ms_ssim_2025(*large_challenge) == pytest.approx(0.980444438568546, abs=1e-9)
    _, truth, mask = large_challenge
    assert ms_ssim_2025(truth, truth, mask) == pytest.approx(1.0, abs=1e-12)


def test_what_lies_outside_the_mask_or_the_window_does_not_count(challenge):
    made, truth, mask = challenge
    spoilt, strange = torch.where(mask, made, 7777.0), torch.where(mask, truth, -333.0)
    for score in (ssim_2023, ms_ssim_2025):
        assert score(spoilt, truth, mask) == score(made, truth, mask)
        assert score(made, strange, mask) == score(made, truth, mask)
        assert score(spoilt, strange, mask) == score(made, truth, mask)
    assert ssim_2023(made.clamp(*HU_2023), truth, mask) == ssim_2023(made, truth, mask)
    assert ms_ssim_2025(made.clamp(*HU_2025), truth, mask) == ms_ssim_2025(made, truth, mask)


def test_2025_depends_on_the_order_of_the_axes(large_challenge):
    """Halving looks back, never ahead; so orientation is a part of the convention."""
    made, truth, mask = large_challenge
    turned = ms_ssim_2025(made.flip(1), truth.flip(1), mask.flip(0))
    assert turned != pytest.approx(ms_ssim_2025(made, truth, mask), abs=1e-7)
    assert turned == pytest.approx(ms_ssim_2025(made, truth, mask), abs=1e-2)
    assert ssim_2023(made.flip(1), truth.flip(1), mask.flip(0)) == pytest.approx(ssim_2023(made, truth, mask))


def test_a_mask_at_the_faces_alone_leaves_nothing_to_measure(challenge):
    made, truth, mask = challenge
    mask = torch.zeros_like(mask)
    mask[:2] = True
    assert math.isnan(ssim_2023(made, truth, mask))
    mask[:] = False
    with pytest.raises(InputError, match="no voxel"):
        ms_ssim_2025(made, truth, mask)
