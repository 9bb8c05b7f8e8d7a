import pytest
import torch
from torch.nn import functional

from transmodal.nn.octave import Octave, OctaveConv, branch_conv, enlarge, reduce, split


def pair(spatial, channels=8, alpha=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    high, low = split(channels, alpha)
    size = (12, 8, 16)[:spatial]
    return Octave(
        torch.randn(2, high, *size, generator=generator) if high else None,
        torch.randn(2, low, *(n // 2 for n in size), generator=generator) if low else None,
    )


@pytest.mark.parametrize(("alpha", "parts"), [(0.0, (7, 0)), (0.25, (5, 2)), (0.5, (3, 4)), (1.0, (0, 7))])
def test_the_high_branch_gets_the_floor(alpha, parts):
    assert split(7, alpha) == parts


def test_alpha_is_a_share():
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(4, 1.5)


@pytest.mark.parametrize("spatial", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_alpha_0_and_1_are_plain_convolutions(spatial, stride):
    convolve = {2: functional.conv2d, 3: functional.conv3d}[spatial]
    for alpha, branch in ((0.0, "high"), (1.0, "low")):
        x = pair(spatial, alpha=alpha)
        layer = OctaveConv(spatial, 8, 6, 3, stride=stride, alpha_in=alpha, alpha_out=alpha)
        y = layer(x)
        assert getattr(y, "low" if branch == "high" else "high") is None
        padded = functional.pad(getattr(x, branch), (1,) * 2 * spatial, mode="reflect")
        weight = getattr(layer, f"{branch}_to_{branch}").weight
        torch.testing.assert_close(getattr(y, branch), convolve(padded, weight, stride=stride), atol=1e-6, rtol=0)


@pytest.mark.parametrize("spatial", [2, 3])
def test_the_four_paths_exchange(spatial):
    layer = OctaveConv(spatial, 8, 8, 3)
    x = pair(spatial)
    other_low, other_high = x._replace(low=x.low + 1), x._replace(high=x.high * 2)
    assert not torch.equal(layer(x).high, layer(other_low).high)
    assert not torch.equal(layer(x).low, layer(other_high).low)
    torch.nn.init.zeros_(layer.low_to_high.weight)
    assert torch.equal(layer(x).high, layer(other_low).high)
    assert not torch.equal(layer(x).low, layer(other_high).low)
    torch.nn.init.zeros_(layer.high_to_low.weight)
    assert torch.equal(layer(x).low, layer(other_high).low)


def test_branches_do_not_exchange():
    layer = branch_conv(2, 8, 3, depthwise=True)
    assert [p.shape for p in layer.parameters()] == [(4, 1, 3, 3)] * 2
    x = pair(2)
    assert torch.equal(layer(x).high, layer(x._replace(low=x.low + 1)).high)
    assert torch.equal(layer(x).low, layer(x._replace(high=x.high + 1)).low)


@pytest.mark.parametrize("spatial", [2, 3])
def test_low_is_enlarged_before_and_high_reduced_before_the_convolution(spatial):
    x = pair(spatial)
    for kernel in (1, 3):
        layer = OctaveConv(spatial, 8, 8, kernel)
        (_, from_low), (from_high, _) = layer.parts(x)
        torch.testing.assert_close(from_low, layer.low_to_high(enlarge(x.low)))
        torch.testing.assert_close(from_high, layer.high_to_low(reduce(x.high)))
        late = enlarge(layer.low_to_high(x.low))
        # Kernels of one voxel commute with repeating voxels, wider ones do not.
        assert torch.allclose(from_low, late, atol=1e-6) == (kernel == 1)


@pytest.mark.parametrize("spatial", [2, 3])
def test_a_constant_stays_constant_up_to_the_borders(spatial):
    layer = OctaveConv(spatial, 2, 4, 3)
    size = (8,) * spatial
    y = layer(Octave(torch.full((1, 1, *size), 0.7), torch.full((1, 1, *(4,) * spatial), -0.3)))
    for branch in y:
        values = branch.flatten(2)
        torch.testing.assert_close(values, values[..., :1].expand_as(values))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("alpha", [0.25, 0.5])
def test_splitting_and_merging_keep_the_grid(stride, alpha):
    image = torch.randn(1, 3, 16, 24)
    first = OctaveConv(2, 3, 8, 3, stride=stride, alpha_in=0.0, alpha_out=alpha)(Octave(image, None))
    assert first.high.shape[2:] == (16 // stride, 24 // stride)
    assert first.low.shape[2:] == (8 // stride, 12 // stride)
    last = OctaveConv(2, 8, 2, 1, alpha_in=alpha, alpha_out=0.0)(first)
    assert last.high.shape == (1, 2, 16 // stride, 24 // stride)
    assert last.low is None
