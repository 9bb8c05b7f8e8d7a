import itertools

import pytest
import torch
from torch.nn import functional as F

from transmodal.nn.encoder import FeatureMap
from transmodal.nn.fusion import Fusion, align


def fusion(mode="concat", channels=6, given=5, **more):
    torch.manual_seed(0)
    return Fusion(channels, given, mode=mode, **more)


@pytest.mark.parametrize(("grid", "size"), [(8, 64), (8, 16), (16, 16), (16, 8), (32, 8), (12, 64), (28, 16)])
def test_an_impulse_stays_where_it_is(grid, size):
    """Token (i, j) lies at ((i + ½) H/g - ½, (j + ½) H/g - ½), whether the map is enlarged, kept or averaged."""
    for i, j in ((grid // 3, grid // 2), (grid - 2, 1)):
        impulse = torch.zeros(1, 1, grid, grid)
        impulse[0, 0, i, j] = 1
        made = align(impulse, size / grid, (size, size))[0, 0]
        assert made.shape == (size, size)
        places = torch.arange(size).float()
        centre = [(made.sum(dim=1 - axis) * places).sum() / made.sum() for axis in (0, 1)]
        wanted = [(k + 0.5) * size / grid - 0.5 for k in (i, j)]
        for found, expected in zip(centre, wanted, strict=True):
            assert abs(found - expected) <= 0.5
        peak = divmod(int(made.argmax()), size)
        assert all(abs(p - w) <= 0.5 + 1e-4 for p, w in zip(peak, wanted, strict=True))


def test_a_wide_map_is_cut_and_not_stretched():
    values = torch.rand(1, 3, 6, 6)
    whole = F.interpolate(values, scale_factor=16.0, mode="bilinear", align_corners=False)
    assert torch.equal(align(values, 16.0, (80, 96)), whole[..., :80, :])


def test_the_step_is_a_projection_one_scale_a_grid_and_a_convolution():
    layer, given = fusion(), torch.randn(2, 5, 4, 4)
    projected = F.conv2d(given, layer.project.weight, layer.project.bias)
    flat = projected.flatten(1)
    flat = (flat - flat.mean(1, keepdim=True)) / (flat.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    wide = F.interpolate(flat.view_as(projected), (8, 8), mode="bilinear", align_corners=False)
    expected = F.conv2d(wide, layer.settle.weight, layer.settle.bias, padding=1)
    torch.testing.assert_close(layer.bring(FeatureMap(given, 4.0), 2, (8, 8)), expected, rtol=1e-4, atol=1e-5)


def test_the_mixtures_are_as_written():
    own, given = torch.randn(2, 6, 8, 8), FeatureMap(torch.randn(2, 5, 4, 4), 4.0)
    for mode in ("concat", "add", "gate", "film"):
        layer = fusion(mode)
        brought = layer.bring(given, 2, (8, 8))
        both = torch.cat([own, brought], dim=1)
        if mode == "add":
            expected = own + brought
        elif mode == "gate":
            gate = torch.sigmoid(F.conv2d(both, layer.mix[0].weight, layer.mix[0].bias))
            expected = own + gate * brought
        elif mode == "film":
            scale, shift = F.conv2d(brought, layer.mix[0].weight, layer.mix[0].bias).split(6, dim=1)
            expected = (1 + scale) * F.instance_norm(own) + shift
        else:
            inner = F.leaky_relu(F.instance_norm(F.conv2d(both, layer.mix[0].weight)), 0.2)
            expected = own + F.conv2d(inner, layer.mix[3].weight, layer.mix[3].bias, padding=1)
        torch.testing.assert_close(layer(own, given, 2), expected)


@pytest.mark.parametrize("mode", ["concat", "add", "gate"])
def test_what_starts_at_zero_adds_nothing_and_learns(mode):
    own, given = torch.randn(2, 6, 8, 8), FeatureMap(torch.randn(2, 5, 4, 4), 4.0)
    layer = fusion(mode, zero_init=True)
    made = layer(own, given, 2)
    assert torch.equal(made, own)
    made.square().sum().backward()
    assert any((p.grad != 0).any() for p in layer.parameters())


def test_film_starts_from_normalised_skips():
    own, given = torch.randn(2, 6, 8, 8), FeatureMap(torch.randn(2, 5, 4, 4), 4.0)
    assert torch.equal(fusion("film", zero_init=True)(own, given, 2), F.instance_norm(own))


def test_every_way_gives_every_parameter_a_gradient():
    for mode, grid in itertools.product(("concat", "add", "gate", "film"), (2, 8, 16)):
        layer = fusion(mode)
        given = FeatureMap(torch.randn(2, 5, grid, grid), 16 / grid)
        layer(torch.randn(2, 6, 8, 8), given, 2).square().sum().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())
