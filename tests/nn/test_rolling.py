"""Rolled convolution: its paths agree, and each does what it says. In float64."""

import itertools

import pytest
import torch
from torch.nn import functional

from transmodal.nn.rolling import _matrix, choose, fractions, possible, rolled_conv, shuffle

CONV = {2: functional.conv2d, 3: functional.conv3d}
CASES = [
    pytest.param(spatial, mode, axis, path, id=f"{spatial}D-{mode}-{axis}-{path}")
    for spatial in (2, 3)
    for mode in ("shift", "circular", "zero")
    for axis in ("in", "out")
    for path in possible(mode, axis, 1)
]
AT_STRIDE_2 = [case for case in CASES if case.values[3] in possible(*case.values[1:3], 2)]


def numbers(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made(spatial, kernel=3, batch=3, groups=2, cin=4, cout=6):
    x = numbers(batch, cin, *(9, 8, 7)[:spatial], seed=1)
    weight = numbers(cout, cin, *[kernel] * spatial, seed=2)
    offset = torch.rand(batch, groups, spatial, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    scale = torch.rand(batch, groups, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return x, weight, 1.8 * offset - 0.9, scale


def still(spatial, **changes):
    x, weight, offset, scale = made(spatial, **changes)
    return x, weight, torch.zeros_like(offset), torch.ones_like(scale)


@pytest.mark.parametrize(("spatial", "mode", "axis", "path"), CASES)
def test_without_a_roll_it_is_the_convolution(spatial, mode, axis, path):
    x, weight, offset, scale = still(spatial)
    y = rolled_conv(x, weight, offset, scale, mode=mode, axis=axis, path=path)
    torch.testing.assert_close(y, CONV[spatial](x, weight, padding=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("spatial", "mode", "axis", "path"), AT_STRIDE_2)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (4, 2)])
def test_every_path_gives_the_same_numbers(spatial, mode, axis, path, kernel, stride):
    """At odd and even sizes, up to the border."""
    x, weight, offset, scale = made(spatial, kernel)
    given = {"mode": mode, "axis": axis, "stride": stride, "padding": kernel // 2}
    expected = rolled_conv(x, weight, offset, scale, path="kernel", **given)
    torch.testing.assert_close(
        rolled_conv(x, weight, offset, scale, path=path, **given), expected, rtol=0, atol=1e-10
    )
    assert expected.shape == CONV[spatial](x, weight, stride=stride, padding=kernel // 2).shape


def reference(x, weight, offset, scale, stride=1):
    """``shift`` of groups of the input, sample by sample: grid_sample on the image extended by the padding."""
    results = []
    for sample, moves, factors in zip(x, offset, scale, strict=True):
        wide = functional.pad(sample, (3, 3, 3, 3))
        size = torch.tensor(wide.shape[1:])
        parts = []
        for part, move, factor in zip(wide.chunk(len(moves)), moves, factors, strict=True):
            lines = [
                torch.arange(n, dtype=torch.float64) + float(d) for n, d in zip(size.tolist(), move, strict=True)
            ]
            place = [2 * line / (n - 1) - 1 for line, n in zip(lines, size.tolist(), strict=True)]
            grid = torch.stack(torch.meshgrid(*place, indexing="ij"), dim=-1).flip(-1)
            parts.append(factor * functional.grid_sample(part[None], grid[None], align_corners=True)[0])
        moved = torch.cat(parts)[:, 2:-2, 2:-2]
        results.append(functional.conv2d(moved, weight, stride=stride))
    return torch.stack(results)


@pytest.mark.parametrize("stride", [1, 2])
def test_shift_equals_moving_the_features_with_grid_sample(stride):
    x, weight, offset, scale = made(2)
    for path in ("kernel", "features"):
        y = rolled_conv(x, weight, offset, scale, stride=stride, path=path)
        torch.testing.assert_close(y, reference(x, weight, offset, scale, stride), rtol=0, atol=1e-10)


@pytest.mark.parametrize("move", [(-1, 0), (1, 1), (0, -1)])
def test_whole_circular_rolls_are_torch_rolls_and_have_a_period(move):
    x, weight, _, scale = still(2, groups=1)
    offset = torch.tensor(move, dtype=torch.float64).expand(3, 1, 2)
    y = rolled_conv(x, weight, offset, scale, mode="circular")
    torch.testing.assert_close(y, functional.conv2d(x, weight.roll(move, (2, 3)), padding=1), rtol=0, atol=1e-10)
    again = rolled_conv(x, weight, offset + 3, scale, mode="circular")
    torch.testing.assert_close(again, y, rtol=0, atol=1e-10)


@pytest.mark.parametrize("path", ["kernel", "features"])
def test_an_offset_of_tau_undoes_a_displacement_of_tau(path):
    """A bright voxel of one group, displaced by (1, -1), and Δ = (1, -1) give the answer without displacement."""
    x, weight, offset, scale = still(2, batch=1)
    x = torch.zeros_like(x)
    x[0, :, 4, 4] = 1
    expected = functional.conv2d(x, weight, padding=1)
    displaced = x.clone()
    displaced[0, 2:] = x[0, 2:].roll((1, -1), (1, 2))
    offset[0, 1] = torch.tensor([1.0, -1.0])
    torch.testing.assert_close(
        rolled_conv(displaced, weight, offset, scale, path=path), expected, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(("spatial", "mode", "axis", "path"), CASES)
def test_between_whole_offsets_it_is_linear(spatial, mode, axis, path):
    x, weight, offset, scale = still(spatial)

    def at(*move):
        there = torch.tensor(move, dtype=torch.float64).expand_as(offset)
        return rolled_conv(x, weight, there, scale, mode=mode, axis=axis, path=path)

    rest = (0.0,) * (spatial - 2)
    corners = [at(a, b, *rest) for a in (0.0, 1.0) for b in (0.0, 1.0)]
    torch.testing.assert_close(at(0.5, 0.0, *rest), (corners[0] + corners[2]) / 2, rtol=0, atol=1e-10)
    torch.testing.assert_close(at(0.5, 0.5, *rest), sum(corners) / 4, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("spatial", "mode", "axis", "path"), CASES)
def test_scales_are_linear_and_zero_removes_a_group(spatial, mode, axis, path):
    x, weight, offset, scale = made(spatial)

    def at(factors):
        return rolled_conv(x, weight, offset, factors, mode=mode, axis=axis, path=path)

    torch.testing.assert_close(at(2 * scale), 2 * at(scale), rtol=0, atol=1e-10)
    first = scale * torch.tensor([1.0, 0.0])
    without = x.clone()
    if axis == "in":
        without[:, 2:] = 0
        expected = rolled_conv(without, weight, offset, scale, mode=mode, axis=axis, path=path)
    else:
        expected = at(scale).clone()
        expected[:, 3:] = 0
    torch.testing.assert_close(at(first), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("spatial", "mode", "axis", "path"), CASES)
def test_samples_and_groups_do_not_meddle(spatial, mode, axis, path):
    x, weight, offset, scale = made(spatial)
    given = {"mode": mode, "axis": axis, "path": path}
    y = rolled_conv(x, weight, offset, scale, **given)
    order = [2, 0, 1]
    permuted = rolled_conv(x[order], weight, offset[order], scale[order], **given)
    torch.testing.assert_close(permuted, y[order], rtol=0, atol=1e-12)
    single = [rolled_conv(*(v[i : i + 1] if v is not weight else v for v in (x, weight, offset, scale)), **given)
              for i in range(3)]  # fmt: skip
    torch.testing.assert_close(torch.cat(single), y, rtol=0, atol=1e-10)

    other = offset.clone()
    other[:, 1] *= -0.5
    x = x.clone().requires_grad_()
    change = rolled_conv(x, weight, other, scale, **given) - rolled_conv(x, weight, offset, scale, **given)
    if axis == "out":
        assert change[:, :3].abs().max() < 1e-12
    else:
        (gradient,) = torch.autograd.grad(change.square().sum(), x)
        assert gradient[:, :2].abs().max() < 1e-10
        assert gradient[:, 2:].abs().max() > 1e-3


@pytest.mark.parametrize(("spatial", "mode", "axis", "path"), [c for c in CASES if c.values[0] == 2])
def test_gradients_are_those_of_finite_differences(spatial, mode, axis, path):
    x, weight, offset, scale = made(spatial, batch=2, cin=2, cout=2)
    given = [v[..., :5, :4].contiguous() if v is x else v for v in (x, weight, offset, scale)]
    given = [v.clone().requires_grad_() for v in given]
    assert torch.autograd.gradcheck(
        lambda *v: rolled_conv(*v, mode=mode, axis=axis, path=path), given, eps=1e-6, atol=1e-5
    )


def test_the_trap_at_whole_offsets_and_how_it_is_avoided():
    """The hat function has the same values, and no gradient at 0: a router that starts there never learns."""
    distance = torch.arange(-1.0, 2.0)
    for form, alive in (
        (lambda d: functional.relu(1 - (distance - d).abs()), False),
        (lambda d: fractions(d, distance), True),
    ):
        offset = torch.zeros(1, requires_grad=True)
        values = form(offset)
        assert values.tolist() == [0.0, 1.0, 0.0]
        (gradient,) = torch.autograd.grad((values * torch.tensor([1.0, 2.0, 5.0])).sum(), offset)
        assert (gradient.item() != 0) == alive


@pytest.mark.parametrize(("mode", "kept"), [("shift", True), ("circular", True), ("zero", False)])
def test_the_sum_of_a_kernel(mode, kept):
    matrix = _matrix(torch.tensor([[0.7]], dtype=torch.float64), 3, mode, 1)
    taps = torch.tensor([1.0, -2.0, 4.0], dtype=torch.float64)
    assert bool(torch.isclose((matrix[0, 0] @ taps).sum(), taps.sum())) == kept


def test_paths_that_are_impossible_and_groups_that_do_not_divide_are_refused():
    x, weight, offset, scale = made(2)
    with pytest.raises(ValueError, match="'planes' cannot roll"):
        rolled_conv(x, weight, offset, scale, mode="shift", path="planes")
    with pytest.raises(ValueError, match="'features' cannot roll"):
        rolled_conv(x, weight, offset, scale, axis="out", stride=2, path="features")
    with pytest.raises(ValueError, match="4 channels cannot be split into 3"):
        rolled_conv(x, weight, offset.new_zeros(3, 3, 2), scale.new_ones(3, 3))


def test_the_choice_is_always_possible():
    for mode, axis, stride, size, batch in itertools.product(
        ("shift", "circular", "zero"), ("in", "out"), (1, 2), (4, 64), (1, 4)
    ):
        x, weight = torch.zeros(batch, 8, size, size), torch.zeros(8, 8, 3, 3)
        assert choose(x, weight, mode=mode, axis=axis, stride=stride) in possible(mode, axis, stride)


@pytest.mark.parametrize("seed", [5, 15, 25])
def test_planted_shifts_are_found_by_shift_and_not_by_circular(seed):
    """Only offsets are learnt, from near 0; the second input was displaced by (1, -1)."""
    found = {}
    for mode in ("shift", "circular"):
        coarse = numbers(4, 2, 8, 8, seed=seed)
        smooth = functional.interpolate(coarse, (32, 32), mode="bicubic", align_corners=True)
        weight = numbers(3, 2, 3, 3, seed=seed + 1)
        target = functional.conv2d(smooth, weight, padding=1)[..., 4:-4, 4:-4]
        x = smooth.clone()
        x[:, 1] = smooth[:, 1].roll((1, -1), (1, 2))
        offset = torch.full((1, 2, 2), 0.01, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([offset], 0.05)
        for step in range(400):
            optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / 400)
            scale = torch.ones(4, 2, dtype=torch.float64)
            y = rolled_conv(x, weight, offset.expand(4, 2, 2), scale, mode=mode, reach=2, path="kernel")
            loss = (y[..., 4:-4, 4:-4] - target).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found[mode] = (offset.detach()[0], loss.item())
    torch.testing.assert_close(
        found["shift"][0], torch.tensor([[0.0, 0.0], [1.0, -1.0]], dtype=torch.float64), rtol=0, atol=0.02
    )
    assert found["shift"][1] < 1e-3
    unmoved = (functional.conv2d(x, weight, padding=1)[..., 4:-4, 4:-4] - target).square().mean().item()
    assert 0.5 * unmoved < found["circular"][1] < unmoved


@pytest.mark.parametrize("axis", ["in", "out"])
@pytest.mark.parametrize("spatial", [2, 3])
def test_features_and_kernels_agree_beyond_one_voxel(spatial, axis):
    x, weight, offset, scale = made(spatial)
    offset = 1.95 * offset / offset.abs().max()
    assert offset.abs().max() > 1
    one, two = (
        rolled_conv(x, weight, offset, scale, axis=axis, reach=2, path=path) for path in ("features", "kernel")
    )
    torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


def test_features_at_rest_are_an_ordinary_convolution_bit_for_bit():
    x, weight, offset, scale = (v.float() for v in made(2))
    y = rolled_conv(x, weight, offset * 0, torch.ones_like(scale), path="features")
    assert torch.equal(y, functional.conv2d(x, weight, padding=1))


@pytest.mark.parametrize(("mode", "path"), [("shift", "kernel"), ("shift", "features"), ("zero", "planes")])
def test_the_answer_has_the_precision_of_the_features(mode, path):
    x, weight, offset, scale = (v.float() for v in made(2))
    y = rolled_conv(x.bfloat16(), weight.bfloat16(), offset, scale, mode=mode, path=path)
    assert y.dtype == torch.bfloat16
    exact = rolled_conv(x, weight, offset, scale, mode=mode, path=path)
    assert (y.float() - exact).abs().max() < 0.03 * exact.abs().max()


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (12, 3), (32, 8)])
def test_shuffle_is_a_permutation_that_its_transpose_undoes(channels, groups):
    x = torch.arange(float(channels)).view(1, -1, 1, 1)
    mixed = shuffle(x, groups)
    assert sorted(mixed.flatten().tolist()) == x.flatten().tolist()
    assert torch.equal(shuffle(mixed, channels // groups), x)
    if channels % groups**2 == 0:
        origin = mixed.view(groups, -1) // (channels // groups)
        for dealt in origin:
            assert [int((dealt == group).sum()) for group in range(groups)] == [channels // groups**2] * groups


def kept_for_gradients(leaves, **how):
    """Numbers in the storages that a rolled convolution keeps for its gradients besides ``x``, and its result."""
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        # The tensor too, so that its place is not given to another.
        saved[storage.data_ptr()] = (tensor, storage.nbytes() // tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = rolled_conv(*leaves, **how)
    saved.pop(leaves[0].untyped_storage().data_ptr(), None)
    return sum(count for _, count in saved.values()), y


@pytest.mark.parametrize("axis", ["in", "out"])
def test_features_are_kept_at_most_once_more(axis):
    """Besides the features themselves, which a plain convolution keeps too: what was moved, by half."""
    _, weight, offset, scale = made(2, 3, 4, cin=32, cout=32)
    x = numbers(4, 32, 40, 40, seed=1)
    leaves = [t.requires_grad_() for t in (x, weight, offset, scale)]
    kept, _ = kept_for_gradients(leaves, mode="shift", axis=axis, path="features")
    assert x.numel() < kept <= 1.5 * x.numel()


@pytest.mark.parametrize("axis", ["in", "out"])
def test_what_is_kept_for_the_gradients(axis):
    """At most three times the kernels of the batch, by half; none of them when they are made again."""
    batch, channels, kernel = 8, 32, 3
    x, weight, offset, scale = made(2, kernel, batch, cin=channels, cout=channels)
    kernels = batch * kernel**2 * channels**2
    kept, gradients = {}, {}
    for path in ("kernel", "recomputed"):
        leaves = [t.clone().requires_grad_() for t in (x, weight, offset, scale)]
        kept[path], y = kept_for_gradients(leaves, mode="circular", axis=axis, path=path)
        y.square().sum().backward()
        gradients[path] = [leaf.grad for leaf in leaves]
    for one, other in zip(*gradients.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    assert kernels < kept["kernel"] <= 1.5 * 3 * kernels
    assert kept["recomputed"] < kernels
