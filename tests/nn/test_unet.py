import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transmodal.nn.unet import Dropout, UNet, UNetGenerator


def test_parameters_equal_the_published_network():
    assert sum(p.numel() for p in UNetGenerator(3, 3).parameters()) == 54_413_955, "54.414 M"


def norms(network):
    return [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]


def published(x, downs, ups, level=0):
    """The network as its authors draw it: every level wraps the next and puts its input beside the result."""
    innermost, outermost = level == len(downs) - 1, level == 0
    y = x if outermost else F.leaky_relu(x, 0.2)
    y = F.conv2d(y, downs[level].weight, downs[level].bias, 2, 1)
    if not outermost and not innermost:
        y = F.batch_norm(y, None, None, training=True)
    if not innermost:
        y = published(y, downs, ups, level + 1)
    up = ups[level]
    y = F.conv_transpose2d(F.relu(y), up.weight, up.bias, 2, 1)
    if outermost:
        return y.tanh()
    return torch.cat([x, F.batch_norm(y, None, None, training=True)], dim=1)


@pytest.mark.parametrize("depth", [2, 5])
def test_values_equal_the_published_recursion(depth):
    torch.manual_seed(0)
    network = UNetGenerator(2, 3, depth=depth, width=4, dropout=0.0)
    x = torch.randn(2, 2, 32, 64)
    downs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    ups = [m for m in network.modules() if isinstance(m, nn.ConvTranspose2d)][::-1]
    torch.testing.assert_close(network(x), published(x, downs, ups))


def test_norms_and_dropout_are_where_the_paper_puts_them():
    network = UNetGenerator(3, 3)
    assert [len(norms(encoder)) for encoder in network.encoders] == [0, 1, 1, 1, 1, 1, 1, 0]
    assert [len(norms(decoder)) for decoder in network.decoders] == [1] * 7
    drops = [sum(isinstance(m, Dropout) for m in decoder.modules()) for decoder in network.decoders]
    assert drops == [1, 1, 1, 0, 0, 0, 0]
    widths = [encoder[1].out_channels for encoder in list(network.encoders)[1:]]
    assert widths == [128, 256, 512, 512, 512, 512, 512]


def test_dropout_halves_the_values_and_keeps_their_mean():
    torch.manual_seed(0)
    ones = torch.ones(1, 1, 100, 100)
    dropped = Dropout(0.5)(ones)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    torch.testing.assert_close(Dropout(0.5).eval()(ones), ones)
    assert Dropout(0.5, always=True).eval()(ones).std() > 0.9


@pytest.mark.parametrize("network", [UNetGenerator, UNet])
def test_axes_of_a_volume_are_treated_alike(network):
    torch.manual_seed(0)
    unet = network(1, 1, spatial=3, width=2, depth=2).eval()
    x = torch.randn(1, 1, 8, 12, 16)
    before = unet(x)
    for parameter in unet.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.permute(0, 1, 3, 4, 2).contiguous()
    turned = unet(x.permute(0, 1, 3, 4, 2))
    torch.testing.assert_close(turned, before.permute(0, 1, 3, 4, 2), atol=1e-5, rtol=1e-5)


def test_resizing_generator_keeps_the_size():
    network = UNetGenerator(1, 2, depth=3, width=2, norm_kind="instance", upsample="resize", output="linear")
    assert network(torch.zeros(1, 1, 16, 24)).shape == (1, 2, 16, 24)
    assert network.multiple == 8


def test_regression_unet_sees_how_bright_a_scan_is():
    """Plain instance normalisation would make both outputs equal."""
    torch.manual_seed(0)
    unet = UNet(1, 1, width=4, depth=2)
    x = torch.randn(1, 1, 32, 32)
    inner = (0, 0, slice(12, 20), slice(12, 20))
    assert (unet(x + 1.0)[inner] - unet(x)[inner]).abs().mean() > 0.01


def test_regression_unet_reaches_far():
    torch.manual_seed(0)
    unet = UNet(1, 1, width=4, depth=3)
    x = torch.randn(1, 1, 64, 64, requires_grad=True)
    unet(x)[0, 0, 32, 32].backward()
    columns = x.grad[0, 0].abs().gt(1e-12).any(dim=0).nonzero()
    assert int(columns.max() - columns.min()) == 63


@pytest.mark.parametrize(("network", "depth"), [(UNetGenerator, 1), (UNet, 0)])
def test_a_unet_needs_a_way_down(network, depth):
    with pytest.raises(ValueError, match=f"depth {depth}"):
        network(1, 1, depth=depth)
