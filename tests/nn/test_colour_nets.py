"""The layers of the colouriser, against what is known of them."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from transmodal.nn.colour_nets import ChannelGate, ColourDecoder, CompressionBlock, MultiscaleEncoder
from transmodal.nn.patchgan import PatchGAN


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def zeroed(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()


def test_without_its_branches_the_encoder_is_its_main_path():
    encoder = MultiscaleEncoder(1, 8)
    image = torch.rand(2, 1, 32, 24)
    alone = encoder.down(encoder.stem(image))
    assert alone.shape == (2, 32, 8, 6)
    assert not torch.allclose(encoder(image), alone)
    zeroed(encoder.at_half)
    zeroed(encoder.at_quarter)
    assert torch.equal(encoder(image), alone)


@pytest.mark.parametrize(("branch", "changed"), [("at_half", range(16)), ("at_quarter", range(16, 32))])
def test_each_branch_feeds_its_half_of_the_channels(branch, changed):
    encoder = MultiscaleEncoder(1, 8)
    image = torch.rand(2, 1, 32, 32)
    before = encoder(image)
    with torch.no_grad():
        getattr(encoder, branch)[-2].bias += 1
    moved = (encoder(image) - before).abs().amax(dim=(0, 2, 3)) > 0
    assert moved.nonzero().flatten().tolist() == list(changed)


def test_small_images_are_bilinear_without_a_filter():
    seen = {}
    encoder = MultiscaleEncoder(3, 8)
    for name in ("at_half", "at_quarter"):
        getattr(encoder, name).register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]}))
    image = torch.rand(2, 3, 24, 40)
    encoder(image)
    for name, scale in (("at_half", 0.5), ("at_quarter", 0.25)):
        small = functional.interpolate(image, scale_factor=scale, mode="bilinear", align_corners=False)
        assert torch.allclose(seen[name], small, atol=1e-6)
    assert seen["at_half"][0, 0, 1, 2].item() == pytest.approx(image[0, 0, 2:4, 4:6].mean().item(), abs=1e-6)
    assert seen["at_quarter"][0, 0, 1, 2].item() == pytest.approx(image[0, 0, 5:7, 9:11].mean().item(), abs=1e-6)


def test_the_gate_closes_and_opens():
    block, u = CompressionBlock(512), torch.randn(2, 512, 4, 4)
    last = block.gate.gate[2]
    assert block.gate.gate[0].weight.shape == (32, 512)
    with torch.no_grad():
        last.weight.zero_()
        for bias, factor in ((0.0, 1.5), (-1e3, 1.0), (1e3, 2.0)):
            last.bias.fill_(bias)
            assert torch.allclose(block(u), factor * u)


def test_the_gate_is_that_of_the_paper():
    gate, u = ChannelGate(32, 8), torch.randn(2, 32, 5, 7)
    squeeze, _, excite, _ = gate.gate
    z = u.mean(dim=(2, 3))
    a = torch.sigmoid(torch.relu(z @ squeeze.weight.T + squeeze.bias) @ excite.weight.T + excite.bias)
    assert torch.allclose(gate(u), a[:, :, None, None] * u, atol=1e-6)
    with pytest.raises(ValueError, match="squeezed 7 times"):
        ChannelGate(32, 7)


def test_blocks_may_convolve_as_well():
    u = torch.randn(2, 32, 8, 8)
    both = CompressionBlock(32, "gate+conv", 8)
    assert torch.allclose(both(u), u + both.gate(u) + both.convolve(u), atol=1e-6)
    alone = CompressionBlock(32, "conv", 8)
    assert torch.allclose(alone(u), u + alone.convolve(u), atol=1e-6)
    assert len(ColourDecoder(3, 8, bottleneck="none").blocks) == 0


def test_the_narrow_critic_looks_at_70_voxels():
    critic = PatchGAN(1, norm_kind="none", widest=2)
    assert [layer.out_channels for layer in critic.layers if isinstance(layer, nn.Conv2d)] == [
        64,
        128,
        128,
        128,
        1,
    ]
    image = torch.rand(1, 1, 256, 256, requires_grad=True)
    scores = critic(image)
    assert scores.shape == (1, 1, 30, 30)
    scores[0, 0, 15, 15].backward()
    rows, columns = (image.grad[0, 0].abs().sum(dim=d).nonzero().flatten() for d in (1, 0))
    assert (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1) == (70, 70)
    assert critic.receptive_field == 70
