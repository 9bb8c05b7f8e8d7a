"""Attention, router, and the layer that stands in the place of a convolution."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from transmodal.nn.cagr import CrossGroupAttention, RolledConv, Rolling, Router, roll
from transmodal.nn.resunet import ResUNet
from transmodal.nn.rolling import shuffle

SIZE = {2: (10, 9), 3: (6, 5, 7)}


def count(module):
    return sum(p.numel() for p in module.parameters())


def features(spatial=2, channels=16, batch=2, seed=0):
    return torch.randn(batch, channels, *SIZE[spatial], generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("spatial", [2, 3])
@pytest.mark.parametrize("pool", ["spatial", "channel"])
def test_attention_lies_between_0_and_1_and_starts_at_one_half(spatial, pool):
    torch.manual_seed(0)
    attention = CrossGroupAttention(spatial, 16, 4, pool=pool, kernel=3)
    x = features(spatial)
    weights = attention.map(x)
    assert 0 < weights.min() < weights.max() < 1
    assert attention(x).shape == x.shape
    groups = weights.unflatten(1, (4, 4))
    if pool == "spatial":
        assert torch.equal(groups, groups[:, :, :1].expand_as(groups)), "one map for a group"
        assert weights.shape == x.shape
    else:
        assert weights.shape == (2, 16, *[1] * spatial), "one number for a channel"
    nn.init.zeros_(attention.conv.weight)
    torch.testing.assert_close(attention(x), x / 2)


@pytest.mark.parametrize("pool", ["spatial", "channel"])
def test_a_group_sees_the_others_through_the_shuffle_alone(pool):
    torch.manual_seed(0)
    x = features().requires_grad_()
    for shuffled in (True, False):
        attention = CrossGroupAttention(2, 16, 4, pool=pool, shuffled=shuffled)
        (gradient,) = torch.autograd.grad(attention.map(x)[:, :4].sum(), x)
        assert ((gradient[:, 4:8] != 0).any()) == shuffled
        assert (gradient[:, :4] != 0).any()


def test_a_shuffled_group_of_constant_groups_is_their_mean():
    x = torch.arange(4.0).repeat_interleave(4).view(1, 16, 1, 1).expand(1, 16, 3, 3)
    mixed = shuffle(x, 4).unflatten(1, (4, 4)).mean(dim=2)
    torch.testing.assert_close(mixed, torch.full_like(mixed, 1.5))


def test_channels_of_a_group_may_change_places_for_its_own_mean_but_not_for_the_shuffled_one():
    torch.manual_seed(0)
    attention = CrossGroupAttention(2, 16, 4)
    x = features()
    other = x.clone()
    other[:, :4] = x[:, [1, 2, 3, 0]]
    torch.testing.assert_close(attention._pooled(x), attention._pooled(other))
    assert not torch.allclose(attention.map(x), attention.map(other))


@pytest.mark.parametrize("spatial", [2, 3])
@pytest.mark.parametrize("scaled", [True, False])
def test_offsets_and_scales_stay_in_their_bounds(spatial, scaled):
    torch.manual_seed(0)
    router = Router(spatial, 16, 4, max_offset=1.5, dropout=0.2, scaled=scaled).eval()
    nn.init.normal_(router.offset.weight, std=1e4)
    offset, scale = router(1e6 * features(spatial))
    assert offset.shape == (2, 4, spatial)
    assert scale.shape == (2, 4)
    assert 1 < offset.abs().max() <= 1.5
    assert ((scale > 0) & (scale <= 1)).all()
    assert scaled or (scale == 1).all()


def test_the_router_is_in_float32_under_mixed_precision():
    torch.manual_seed(0)
    router = Router(2, 16, 4, max_offset=1.0, dropout=0.0, scaled=True)
    exact = router(features())
    with torch.autocast("cpu", torch.bfloat16):
        offset, scale = router(features())
    assert offset.dtype == scale.dtype == torch.float32
    assert torch.equal(offset, exact[0])


@pytest.mark.parametrize("spatial", [2, 3])
@pytest.mark.parametrize("pool", ["spatial", "channel"])
def test_published_parameter_counts(spatial, pool):
    channels, groups, kernel = 64, 4, 5 if spatial == 2 else 3
    layer = RolledConv(spatial, channels, 32, 3, Rolling(groups=groups, pool=pool, kernel=kernel))
    attention = groups * (2 * kernel**spatial + 1) if pool == "spatial" else 2 * channels**2 // groups + channels
    router = 3**spatial * channels + 2 * channels + groups * (channels + 1) + spatial * groups * channels
    assert count(layer.attention) == attention
    assert count(layer.router) == router
    assert count(layer) == attention + router + channels * 32 * 3**spatial
    if spatial == 2:
        assert router == 1476
        assert pool != "spatial" or attention == 204


SETTINGS = {
    "default": Rolling(),
    "circular": Rolling(mode="circular"),
    "zero": Rolling(mode="zero"),
    "groups of the output": Rolling(axis="out"),
    "attention of channels": Rolling(pool="channel"),
    "rolling alone": Rolling(attention=False),
    "attention alone": Rolling(rolling=False),
    "scale fixed": Rolling(scaled=False),
    "no shuffle": Rolling(shuffled=False),
    "two groups": Rolling(groups=2),
    "groups that do not divide": Rolling(groups=5),
    "far": Rolling(max_offset=2.5),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(("stride", "padding", "kernel"), [(1, 1, 3), (2, 1, 3), (2, 1, 4), (1, 0, 3)])
def test_it_has_the_shape_of_a_convolution_and_learns_in_every_part(name, stride, padding, kernel):
    torch.manual_seed(0)
    layer = RolledConv(2, 16, 8, kernel, SETTINGS[name], stride=stride, padding=padding)
    x = features()
    y = layer(x)
    assert y.shape == functional.conv2d(x, layer.weight, stride=stride, padding=padding).shape
    (y * torch.randn_like(y)).sum().backward()
    for part, parameter in layer.named_parameters():
        assert parameter.grad is not None, part
        assert torch.isfinite(parameter.grad).all(), part
        assert (parameter.grad != 0).any(), part


def test_an_offset_moves_after_one_step():
    torch.manual_seed(0)
    layer = RolledConv(2, 16, 8, 3, Rolling(dropout=0.0), padding=1)
    x = features()
    before, _ = layer.router(layer.attention(x))
    optimiser = torch.optim.Adam(layer.parameters(), 1e-3)
    layer(x).square().mean().backward()
    optimiser.step()
    after, _ = layer.router(layer.attention(x))
    assert (after - before).abs().max() > 1e-4


def test_use_is_deterministic_and_training_is_not():
    torch.manual_seed(0)
    layer = RolledConv(2, 16, 8, 3, Rolling(), padding=1)
    x = features(batch=3)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    whole = layer(x)
    assert torch.equal(layer(x), whole)
    torch.testing.assert_close(torch.cat([layer(x[i : i + 1]) for i in range(3)]), whole)


def test_it_moves_with_the_image():
    """A frozen router, away from the borders: a shifted input gives a shifted output."""
    torch.manual_seed(0)
    layer = RolledConv(2, 16, 8, 3, Rolling(), padding=1).eval()
    fixed = layer.router(features(batch=1))
    layer.router.forward = lambda x: fixed
    x = torch.randn(1, 16, 24, 24)
    moved = layer(x.roll((3, -2), (2, 3)))
    torch.testing.assert_close(
        moved[..., 8:-8, 8:-8], layer(x).roll((3, -2), (2, 3))[..., 8:-8, 8:-8], atol=1e-5, rtol=0
    )


def test_instance_norm_cancels_the_scale_of_output_groups():
    torch.manual_seed(0)
    layer = RolledConv(2, 16, 8, 3, Rolling(axis="out", attention=False), padding=1).eval()
    norm = nn.InstanceNorm2d(8, eps=0.0)
    x = features()
    offset, scale = layer.router(x)
    plain = norm(layer(x))
    layer.router.forward = lambda _: (offset, 0.3 * scale)
    torch.testing.assert_close(norm(layer(x)), plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_is_close(dtype):
    torch.manual_seed(0)
    for settings in (Rolling(), Rolling(mode="circular"), Rolling(path="kernel")):
        layer = RolledConv(2, 16, 8, 3, settings, padding=1).eval()
        x = features()
        exact = layer(x)
        with torch.autocast("cpu", dtype):
            rough = layer(x)
        assert (rough.float() - exact).norm() < 2e-2 * exact.norm()


GRAPHS = """
import torch
from transmodal.nn.cagr import RolledConv, Rolling
for settings in (Rolling(), Rolling(mode="circular")):
    layer = RolledConv(2, 16, 8, 3, settings, padding=1).eval()
    explained = torch._dynamo.explain(layer)(torch.randn(2, 16, 10, 9))
    print(explained.graph_count, explained.graph_break_count)
"""

BATCHES = """
import torch
from torch._dynamo.testing import CompileCounter
from transmodal.nn.cagr import RolledConv, Rolling
for settings in (Rolling(), Rolling(path="kernel")):
    torch._dynamo.reset()
    counter = CompileCounter()
    layer = torch.compile(RolledConv(2, 16, 8, 3, settings, padding=1).eval(), backend=counter, fullgraph=True)
    for batch in (2, 3, 5, 7, 3):
        layer(torch.randn(batch, 16, 10, 9))
    print(counter.frame_count)
"""


def test_one_graph_for_each_path_under_compile():
    """In a process of its own: the shape checks of the tests cannot be traced."""
    done = subprocess.run([sys.executable, "-c", GRAPHS], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["1", "0", "1", "0"], done.stderr


def test_graphs_for_several_sizes_of_batches():
    """At most two when features move, and one for each size by kernels."""
    done = subprocess.run([sys.executable, "-c", BATCHES], capture_output=True, text=True, timeout=300)
    features, kernels = map(int, done.stdout.split())
    assert features <= 2, done.stderr
    assert kernels <= 4, done.stderr


def test_replacing_keeps_weights_shapes_and_everything_else():
    torch.manual_seed(0)
    network = ResUNet(2, 1, depth=2, width=8)
    plain = copy.deepcopy(network)
    names = roll(
        network, Rolling(), lambda name, layer: name.startswith("encoder") and not name.endswith("shortcut")
    )
    assert names == [f"encoder.{i}.{part}" for i in (0, 1) for part in ("first", "second")]
    for name in names:
        assert torch.equal(network.get_submodule(name).weight, plain.get_submodule(name).weight)
    x = torch.randn(2, 2, 16, 12)
    assert network(x).shape == plain(x).shape
    assert roll(plain, Rolling(), lambda name, layer: False) == []


def test_a_replaced_layer_that_does_not_roll_is_the_convolution_it_replaced():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 4, stride=2, padding=1))
    plain = copy.deepcopy(network)
    roll(network, Rolling(attention=False, rolling=False), lambda name, layer: True)
    x = torch.randn(1, 4, 12, 12)
    torch.testing.assert_close(network(x), plain(x))


def test_what_cannot_be_rolled_is_left_alone():
    odd = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    )
    assert roll(odd, Rolling(), lambda name, layer: True) == []


@pytest.mark.parametrize("wrong", [{"groups": 0}, {"max_offset": 0.0}, {"max_scale": 0.0}, {"kernel": 4}])
def test_settings_make_sense(wrong):
    with pytest.raises(ValueError, match="at least 1, above 0, above 0, and odd"):
        Rolling(**wrong)


def test_resunet_has_the_counted_size_and_keeps_the_grid():
    with torch.device("meta"):
        network = ResUNet(2, 1)
    kernels = sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
    assert kernels == pytest.approx(10.1e6, rel=0.01)
    small = ResUNet(2, 1, depth=2, width=4, spatial=3)
    assert small(torch.zeros(1, 2, 8, 4, 12)).shape == (1, 1, 8, 4, 12)
    assert small.multiple == 4
    with pytest.raises(ValueError, match="at least 1"):
        ResUNet(1, 1, depth=0)
    assert torch.isfinite(small(torch.randn(1, 2, 8, 8, 8))).all()
