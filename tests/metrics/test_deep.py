"""LPIPS by hand; FID with scipy's matrix root, KID against torchmetrics, and known answers."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.kid import poly_mmd

from transmodal.metrics.deep import fid, kid, lpips


def sets(n=40, m=50, d=6, shift=0.5):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((n, d), generator=generator, dtype=torch.float64)
    return x @ torch.diag(torch.arange(1.0, d + 1).double()), torch.randn(
        (m, d), generator=generator
    ).double() + shift


def test_lpips_by_hand():
    # One place, two channels: directions (1, 0) and (0.6, 0.8): 0.16 + 0.64. The other layer: opposite, 4.
    x = [torch.tensor([3.0, 0.0]).view(1, 2, 1, 1), torch.tensor([[1.0, 2.0]]).view(1, 1, 2, 1)]
    y = [torch.tensor([3.0, 4.0]).view(1, 2, 1, 1), torch.tensor([[-5.0, 7.0]]).view(1, 1, 2, 1)]
    assert lpips(x, y).item() == pytest.approx(0.8 + 4 / 2)
    assert lpips(x, x).item() == 0.0


def test_fid_by_its_definition_and_kid_by_torchmetrics():
    x, y = sets()
    first, second = (np.cov(v.numpy(), rowvar=False) for v in (x, y))
    gap = ((x.mean(dim=0) - y.mean(dim=0)) ** 2).sum().item()
    expected = gap + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert fid(x, y) == pytest.approx(expected, rel=1e-9)
    y = y[:40]  # its formula takes sets of one size
    assert kid(x, y) == pytest.approx(poly_mmd(x, y).item(), rel=1e-9)


def test_known_answers():
    x, _ = sets()
    assert fid(x, x + 3.0) == pytest.approx(6 * 9, rel=1e-6), "a shift alone is its squared length"
    assert fid(x, x) == pytest.approx(0, abs=1e-5)
    assert math.isnan(fid(x[:6], x))
    assert math.isnan(kid(x[:1], x))
    rng = torch.Generator().manual_seed(1)
    draws = [kid(*torch.randn((2, 12, 4), generator=rng).double()) for _ in range(400)]
    # Unbiased: the mean over pairs of equal sets is 0 within three standard errors.
    assert abs(np.mean(draws)) < 3 * np.std(draws) / 20
