"""SSIM and MS-SSIM from one pass are what each gives by itself; a filter in blocks is the filter at once."""

import math

import pytest
import torch

from transmodal.metrics.ms_ssim import ms_ssim, ssim_and_ms_ssim
from transmodal.metrics.ssim import ssim
from transmodal.nn import gaussian

SHAPES = [(1, 40, 37, 30), (3, 25, 30, 22), (1, 50, 60, 1), (1, 1, 50, 60), (1, 30, 12, 40), (1, 8, 9, 10),
          (1, 190, 200, 1)]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("filled", [None, 0.3, 0.99])
def test_together_is_one_by_one(shape: tuple[int, ...], filled: float | None) -> None:
    chance = torch.Generator().manual_seed(0)
    reference = torch.rand(shape, generator=chance)
    prediction = reference + 0.2 * torch.rand(shape, generator=chance)
    mask = None if filled is None else torch.rand(shape[1:], generator=chance) < filled
    if mask is not None and shape[1] > 8:
        mask[: shape[1] // 2] = False
    together = ssim_and_ms_ssim(prediction, reference, mask, data_range=1.0)
    apart = [metric(prediction, reference, mask, data_range=1.0) for metric in (ssim, ms_ssim)]
    assert together[0] == pytest.approx(apart[0], abs=1e-12)
    assert math.isnan(together[1]) if math.isnan(apart[1]) else together[1] == pytest.approx(apart[1], abs=1e-12)


@pytest.mark.parametrize("edges", ["symmetric", "replicate", "zeros", "valid"])
@pytest.mark.parametrize("shape", [(2, 1, 13, 150, 101), (1, 2, 12, 200, 11), (2, 1, 120)])
def test_blocks_change_nothing(shape: tuple[int, ...], edges: gaussian.Edges) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    by_blocks = gaussian.gaussian_filter(image, 11, 1.5, edges)
    # What needs a gradient goes the other way.
    at_once = gaussian.gaussian_filter(image.clone().requires_grad_(), 11, 1.5, edges).detach()
    torch.testing.assert_close(by_blocks, at_once, rtol=0, atol=1e-14)
