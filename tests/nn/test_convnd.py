import pytest
import torch
from torch import nn

from transmodal.nn import convnd


@pytest.mark.parametrize("spatial", [2, 3])
@pytest.mark.parametrize(("how", "kernel"), [("transpose", 3), ("transpose", 4), ("resize", 4)])
def test_up_conv_exactly_doubles_every_axis(spatial, how, kernel):
    x = torch.randn(1, 3, *(5, 6, 7)[:spatial])
    y = convnd.up_conv(spatial, 3, 2, how=how, kernel=kernel)(x)
    assert y.shape == (1, 2, *(10, 12, 14)[:spatial])


@pytest.mark.parametrize("spatial", [2, 3])
def test_only_resizing_keeps_a_constant_image_constant(spatial):
    torch.manual_seed(0)
    flat = torch.ones(1, 4, *[6] * spatial)
    inner = (slice(None), slice(None), *[slice(2, -2)] * spatial)
    resized = convnd.up_conv(spatial, 4, 1, how="resize")(flat)[inner]
    transposed = convnd.up_conv(spatial, 4, 1, how="transpose", kernel=3)(flat)[inner]
    assert resized.std() < 1e-6
    assert transposed.std() > 1e-2, "a checkerboard"


def test_transposed_convolution_of_four_is_the_adjoint_of_the_strided_one():
    torch.manual_seed(0)
    down = convnd.conv(2, 3, 5, 4, stride=2, padding=1, bias=False)
    up = convnd.up_conv(2, 5, 3, how="transpose", bias=False)
    up.weight.data = down.weight.data
    x, y = torch.randn(1, 3, 8, 8), torch.randn(1, 5, 4, 4)
    torch.testing.assert_close((down(x) * y).sum(), (x * up(y)).sum())


@pytest.mark.parametrize("spatial", [2, 3])
def test_instance_norm_is_each_sample_on_its_own_and_alike_in_use(spatial):
    torch.manual_seed(0)
    x = 3 + 5 * torch.randn(2, 4, *[6] * spatial)
    layer = convnd.norm(spatial, "instance", 4)
    axes = tuple(range(2, 2 + spatial))
    expected = (x - x.mean(axes, keepdim=True)) / (x.var(axes, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)
    assert sum(p.numel() for p in layer.parameters()) == 0
    assert sum(p.numel() for p in convnd.norm(spatial, "instance", 4, affine=True).parameters()) == 8


def test_no_norm_passes_values_through_and_only_batch_norm_replaces_the_bias():
    x = torch.randn(1, 2, 3, 3)
    assert convnd.norm(2, "none", 2)(x) is x
    assert [convnd.needs_bias(kind) for kind in ("batch", "instance", "none")] == [False, True, True]


@pytest.mark.parametrize("spatial", [2, 3])
def test_reflection_mirrors_without_repeating_the_border(spatial):
    ramp = torch.arange(4.0).expand(1, 1, *[4] * spatial)
    line = convnd.reflect(spatial, 2)(ramp)[(0, 0, *[0] * (spatial - 1))]
    assert line.tolist() == [2, 1, 0, 1, 2, 3, 2, 1]


def test_output_activations():
    x = torch.tensor([-2.0, 0.5])
    torch.testing.assert_close(convnd.activation("tanh")(x), torch.tensor([-0.9640276, 0.4621172]))
    assert convnd.activation("linear")(x) is x
    assert isinstance(convnd.activation("tanh"), nn.Tanh)
