import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from transmodal.losses.pixel import PIXEL, charbonnier, l1, l2

SHAPES = [(2, 1, 6, 5), (2, 3, 6, 5), (1, 2, 4, 5, 6)]


@pytest.mark.parametrize("shape", SHAPES)
def test_without_a_mask_they_equal_torch(shape):
    torch.manual_seed(0)
    p, t = torch.randn(shape), torch.randn(shape)
    torch.testing.assert_close(l1(p, t), F.l1_loss(p, t))
    torch.testing.assert_close(l2(p, t), F.mse_loss(p, t))
    expected = np.sqrt((p - t).double().numpy() ** 2 + 1e-6).mean()
    assert charbonnier(p, t).item() == pytest.approx(expected, rel=1e-6)


def test_charbonnier_between_its_limits():
    zero = torch.zeros(1, 1, 2, 2)
    assert charbonnier(zero, zero).item() == pytest.approx(1e-3)
    assert charbonnier(zero, zero + 3, epsilon=4.0).item() == pytest.approx(5.0)
    assert charbonnier(zero, zero + 100).item() == pytest.approx(100)
    p = zero.clone().requires_grad_()
    charbonnier(p, zero).backward()
    assert not p.grad.any(), "smooth at zero"
    assert math.isfinite(p.grad.sum().item())


@pytest.mark.parametrize("name", list(PIXEL))
@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_selects_voxels_of_every_channel(name, shape):
    torch.manual_seed(0)
    p, t = torch.randn(shape), torch.randn(shape)
    mask = torch.rand(shape[0], 1, *shape[2:]) < 0.3
    chosen = mask.expand(shape)
    expected = PIXEL[name](p[chosen].view(1, 1, 1, -1), t[chosen].view(1, 1, 1, -1))
    torch.testing.assert_close(PIXEL[name](p, t, mask), expected)
    everywhere = torch.ones_like(mask)
    torch.testing.assert_close(PIXEL[name](p, t, everywhere), PIXEL[name](p, t))


@pytest.mark.parametrize("name", list(PIXEL))
def test_what_lies_outside_the_mask_does_not_matter(name):
    torch.manual_seed(0)
    p, t = torch.randn(1, 1, 4, 4, requires_grad=True), torch.randn(1, 1, 4, 4)
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    mask[..., :2] = True
    before = PIXEL[name](p, t, mask)
    t[~mask] = float("nan")
    after = PIXEL[name](p, t, mask)
    assert torch.equal(before, after)
    after.backward()
    assert not p.grad[~mask].any()
    assert p.grad[mask].all()
    assert PIXEL[name](p, t, torch.zeros_like(mask)).item() == 0


@pytest.mark.parametrize("name", list(PIXEL))
def test_arithmetic_is_in_float32(name):
    """Ten thousand values of 1.01 in bfloat16 would not even sum to their number."""
    p = torch.full((1, 1, 100, 100), 1.0078125, dtype=torch.bfloat16)
    value = PIXEL[name](p, torch.zeros_like(p))
    assert value.dtype == torch.float32
    exact = {"l1": 1.0078125, "l2": 1.0078125**2, "charbonnier": math.hypot(1.0078125, 1e-3)}
    assert value.item() == pytest.approx(exact[name], rel=1e-6)
