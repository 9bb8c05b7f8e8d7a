import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transmodal.nn.resnet import ResNetGenerator


def test_parameters_equal_the_published_network():
    assert sum(p.numel() for p in ResNetGenerator(3, 3).parameters()) == 11_378_179, "11.378 M"
    assert sum(p.numel() for p in ResNetGenerator(3, 3, blocks=6).parameters()) == 11_378_179 - 3 * 1_180_160


def test_values_equal_the_published_chain_of_operations():
    torch.manual_seed(0)
    network = ResNetGenerator(2, 3, width=4, blocks=2)
    x = torch.randn(2, 2, 16, 20)
    layers = iter([m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))])

    def mirrored(y, width):
        layer = next(layers)
        return F.conv2d(F.pad(y, [width] * 4, mode="reflect"), layer.weight, layer.bias)

    y = F.relu(F.instance_norm(mirrored(x, 3)))
    for _ in range(2):
        layer = next(layers)
        y = F.relu(F.instance_norm(F.conv2d(y, layer.weight, layer.bias, 2, 1)))
    for _ in range(2):
        z = F.relu(F.instance_norm(mirrored(y, 1)))
        y = y + F.instance_norm(mirrored(z, 1))
    for _ in range(2):
        layer = next(layers)
        up = F.conv_transpose2d(y, layer.weight, layer.bias, 2, 1, 1)
        y = F.relu(F.instance_norm(up))
    torch.testing.assert_close(network(x), mirrored(y, 3).tanh())


@pytest.mark.parametrize("upsample", ["transpose", "resize"])
def test_a_volume_keeps_its_size(upsample):
    network = ResNetGenerator(1, 2, spatial=3, width=2, blocks=1, upsample=upsample, output="linear")
    assert network(torch.zeros(1, 1, 8, 12, 16)).shape == (1, 2, 8, 12, 16)


def test_axes_of_a_volume_are_treated_alike():
    torch.manual_seed(0)
    network = ResNetGenerator(1, 1, spatial=3, width=2, blocks=1)
    x = torch.randn(1, 1, 8, 12, 16)
    before = network(x)
    for parameter in network.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.permute(0, 1, 3, 4, 2).contiguous()
    turned = network(x.permute(0, 1, 3, 4, 2))
    torch.testing.assert_close(turned, before.permute(0, 1, 3, 4, 2), atol=1e-5, rtol=1e-5)
