import pytest
import torch
from torch.nn import functional as F

from transmodal.nn.encoder import FeatureMap
from transmodal.nn.masked_unet import MaskedUNet
from transmodal.nn.masks import MaskSettings


def count(network):
    return sum(p.numel() for p in network.parameters())


def build(**arguments):
    torch.manual_seed(0)
    defaults = {"given": (6, 6, 6, 6), "width": 4, "masks": MaskSettings(2)}
    return MaskedUNet(1, 1, **{**defaults, **arguments})


def maps(batch=1, grid=4, side=32, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return [FeatureMap(torch.randn(batch, 6, grid, grid, generator=rng), side / grid) for _ in range(4)]


def plain_unet(network, x):
    """The U-Net without fusion and masks, from its weights, layer by layer."""

    def layers(block, y):
        for layer in block:
            if hasattr(layer, "kernel_size"):
                y = F.conv2d(y, layer.weight, None, layer.stride, layer.padding)
            elif hasattr(layer, "affine"):
                y = F.instance_norm(y, weight=layer.weight, bias=layer.bias)
            else:
                y = F.leaky_relu(y, 0.2)
        return y

    skips = []
    for block in network.encoder:
        x = layers(block, x)
        skips.append(x)
    y = skips.pop()
    for up, block in zip(network.up, network.decoder, strict=True):
        y = F.interpolate(y, scale_factor=2.0, mode="bilinear")
        y = F.conv2d(y, up.weight, up.bias, padding=1)
        y = layers(block, torch.cat([y, skips.pop()], dim=1))
    return torch.tanh(F.conv2d(y, network.head[0].weight, network.head[0].bias, padding=1))


def test_parameters_of_the_reference_design():
    """Millions, as counted for the specification: encoder 12.45, fusion 13.22, masks 4.12, decoder 10.18."""
    with torch.device("meta"):
        network = MaskedUNet(1, 1, given=(768,) * 4, masks=MaskSettings(refine="none"))
        neck = MaskedUNet(1, 1, given=(256,), masks=MaskSettings(refine="none"))
    assert round(count(network.encoder) / 1e6, 2) == 12.45
    assert round(count(network.fusion) / 1e6, 2) == 13.22
    assert round(count(network.masks) / 1e6, 2) == 4.12
    decoder = count(network.up) + count(network.decoder) + count(network.head)
    assert round(decoder / 1e6, 2) == 10.18
    assert round(count(network) / 1e6, 2) == 39.96
    assert round(count(neck) / 1e6, 2) == 39.24


SIZES = [(256, 256), (192, 256), (320, 320), (512, 512)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_shapes_of_the_stages(size):
    with torch.device("meta"):
        network = MaskedUNet(1, 1, given=(8,) * 4)
        given = [FeatureMap(torch.zeros(1, 8, 28, 28), max(size) / 28)] * 4
        made = network(torch.zeros(1, 1, *size), given)
    assert made.image.shape == (1, 1, *size)
    widths = (64, 128, 256, 512, 512)
    for stage, width in enumerate(widths):
        x = made.sites[f"stage{stage}"].inputs[0]
        assert x.shape == (1, width, size[0] // 2**stage, size[1] // 2**stage)


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="multiples of 16"):
        build()(torch.zeros(1, 1, 40, 32), maps())


@pytest.mark.parametrize("change", [{"fuse_stages": ()}, {"fuse": "none"}, {"given": ()}], ids=str)
def test_without_fusion_and_masks_it_is_the_plain_unet_bit_for_bit(change):
    network = build(masks=MaskSettings(0), **change)
    x = torch.randn(2, 1, 32, 48)
    made = network(x, maps(2)).image
    assert torch.equal(made, plain_unet(network, x))
    assert torch.equal(made, network(x, maps(2, seed=5)).image), "nothing is looked at"
    assert not list(network.fusion.parameters())


@pytest.mark.parametrize("mode", ["concat", "add", "gate"])
def test_fusion_that_starts_at_zero_is_the_plain_unet(mode):
    network = build(masks=MaskSettings(0), fuse=mode, zero_init=True)
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(network(x, maps(2)).image, plain_unet(network, x))


@pytest.mark.parametrize("stage", range(5))
def test_each_stage_alone_can_be_fused(stage):
    network = build(fuse_stages=(stage,))
    given = maps()
    for one in given:
        one.values.requires_grad_()
    network(torch.randn(1, 1, 32, 32), given).image.square().sum().backward()
    used = max(0, stage - 1)
    for number, one in enumerate(given):
        assert (one.values.grad is not None and one.values.grad.abs().max() > 0) == (number == used)


def test_features_of_another_sample_change_the_image_and_zeros_are_allowed():
    network, x = build(), torch.randn(2, 1, 32, 32)
    given = maps(2)
    made = network(x, given).image
    swapped = network(x, [FeatureMap(m.values.flip(0), m.stride) for m in given]).image
    assert (made - swapped).abs().max() > 1e-4
    empty = network(x, [FeatureMap(torch.zeros_like(m.values), m.stride) for m in given]).image
    assert torch.isfinite(empty).all()
    assert (made - empty).abs().max() > 1e-4


@pytest.mark.parametrize("dual", ["complement", "source", "site"])
@pytest.mark.parametrize("mask_stages", [(), (4,), (0, 2), (0, 1, 2, 3, 4)], ids=str)
def test_masks_stand_where_they_are_asked_for(dual, mask_stages):
    network = build(dual=dual, mask_stages=mask_stages, fuse_stages=(1, 2, 4))
    made = network(torch.randn(1, 1, 32, 32), maps())
    wanted = {f"stage{stage}" for stage in mask_stages}
    if dual == "source":
        wanted |= {f"given{stage}" for stage in mask_stages if stage in (1, 2, 4)}
    if dual == "site":
        wanted |= {"output"}
    assert set(made.sites) == wanted
    made.image.square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_two_sets_of_masks_mix_both_sources():
    """F = M^u E + M^s A."""
    network = build(dual="source", masks=MaskSettings(1, refine="none"), fuse_stages=(4,), mask_stages=(4,))
    x, given = torch.randn(1, 1, 32, 32), maps()
    made = network(x, given)
    own, brought = made.sites["stage4"], made.sites["given4"]
    mixed = own.masks[0] * own.inputs[0] + brought.masks[0] * brought.inputs[0]
    torch.testing.assert_close(own.output + brought.output, mixed)
    torch.testing.assert_close(brought.inputs[0], network.fusion["4"].bring(given[3], 16, (2, 2)))


def test_stages_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"fuse_stages = \[5\]: there are stages 0 to 4"):
        build(fuse_stages=(5,))
    with pytest.raises(ValueError, match="mask_stages"):
        build(stages=3, fuse_stages=(), mask_stages=(3,))
    with pytest.raises(ValueError, match="at least 2"):
        build(stages=1, fuse_stages=(), mask_stages=())
