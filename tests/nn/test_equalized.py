import math

import pytest
import torch
from torch.nn import functional

from transmodal.nn.cooccurrence import PatchCooccurrence
from transmodal.nn.equalized import BiasedLeaky, Blur, EqualConv, EqualLinear, ResBlock, StyleCritic


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_weights_are_scaled_when_they_run():
    layer = EqualConv(3, 5, 3, padding=1, bias=True)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(layer(x), functional.conv2d(x, layer.weight / math.sqrt(27), layer.bias, padding=1))
    matrix = EqualLinear(6, 4)
    y = torch.randn(3, 6)
    torch.testing.assert_close(matrix(y), y @ matrix.weight.T / math.sqrt(6) + matrix.bias)


def test_the_activation_keeps_the_scale():
    y = BiasedLeaky(1)(torch.tensor([[-1.0], [1.0]]))
    torch.testing.assert_close(y, torch.tensor([[-0.2], [1.0]]) * math.sqrt(2))


def test_blur_keeps_constants_and_its_taps_are_binomial():
    ones = torch.ones(1, 2, 9, 9)
    torch.testing.assert_close(Blur(2, 1)(ones)[..., 2:-2, 2:-2], torch.ones(1, 2, 5, 5))
    point = torch.zeros(1, 1, 4, 4)
    point[..., 0, 0] = 1
    line = torch.tensor([1.0, 3, 3, 1]) / 8
    torch.testing.assert_close(Blur(3, 0)(point)[0, 0, :4, :4], line[:, None] * line)


@pytest.mark.parametrize("size", [(16, 16), (8, 24)])
def test_a_block_halves_exactly_and_keeps_the_variance(size):
    torch.manual_seed(0)
    y = ResBlock(16, 32)(torch.randn(8, 16, *size))
    assert y.shape == (8, 32, size[0] // 2, size[1] // 2)
    assert 0.1 < y.std() < 2
    assert ResBlock(16, 32, halve=False)(torch.randn(1, 16, *size)).shape == (1, 32, *size)


def test_published_counts():
    with torch.device("meta"):
        assert count(StyleCritic(1)) == 28_859_265
        patches = PatchCooccurrence(1)
    assert count(patches.features) == 11_932_896
    assert count(patches.head) == 12_589_057


def test_a_critic_takes_one_size_only():
    critic = StyleCritic(1, size=(32, 48), width=4)
    assert critic(torch.zeros(2, 1, 32, 48)).shape == (2, 1)
    with pytest.raises(ValueError, match="32×48"):
        critic(torch.zeros(2, 1, 48, 32))
    with pytest.raises(ValueError, match="8 or more"):
        StyleCritic(1, size=(4, 64))


def test_the_order_of_the_references_does_not_matter_but_they_do():
    torch.manual_seed(0)
    critic = PatchCooccurrence(1, size=16, width=4, hidden=16)
    reference, patches = torch.randn(2, 2, 5, 1, 16, 16)
    scores = critic(reference, patches)
    assert scores.shape == (2, 1, 5)
    torch.testing.assert_close(critic(reference[:, [4, 2, 0, 1, 3]], patches), scores)
    assert (critic(reference.flip(0), patches) - scores).abs().max() > 1e-3
    torch.testing.assert_close(critic(reference, patches.flip(1)), scores.flip(2))


@pytest.mark.parametrize("size", [0, 8, 48, 256])
def test_patches_have_a_size_that_can_be_halved(size):
    with pytest.raises(ValueError, match="16, 32, 64 or 128"):
        PatchCooccurrence(1, size=size)


def test_a_critic_of_a_strip_is_refused_when_it_is_built():
    with pytest.raises(ValueError, match=r"16×256 voxels halves the longer side 6 times.*at least 64"):
        StyleCritic(1, size=(16, 256))
