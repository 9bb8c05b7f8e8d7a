"""Filters of each sample: values and gradients against torch's own grouped convolution."""

import pytest
import torch
from torch.nn import functional

from transmodal.nn.depthwise import filtered

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def plain(x: torch.Tensor, filters: torch.Tensor, padding: int) -> torch.Tensor:
    """One grouped convolution, differentiated by torch."""
    convolve = {4: functional.conv2d, 5: functional.conv3d}[x.ndim]
    channels = x.shape[0] * x.shape[1]
    flat = filters.reshape(channels, 1, *filters.shape[2:])
    y = convolve(x.reshape(1, channels, *x.shape[2:]), flat, padding=padding, groups=channels)
    return y.view(*x.shape[:2], *y.shape[2:])


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("padding", range(4))
@pytest.mark.parametrize(("size", "width"), [((7, 10), 3), ((9, 8), 5), ((5, 6, 7), 3)])
def test_values_and_gradients_equal_those_of_torch(
    size: tuple[int, ...], width: int, padding: int, last: bool
) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, *size, dtype=torch.double)
    x = x.contiguous(memory_format=LAYOUTS[x.ndim]) if last else x
    filters = torch.randn(3, 4, *[width] * len(size), dtype=torch.double)
    ours = [t.detach().clone().requires_grad_() for t in (x, filters)]
    theirs = [t.detach().clone().requires_grad_() for t in (x, filters)]
    y, reference = filtered(*ours, padding), plain(*theirs, padding)
    torch.testing.assert_close(y, reference, rtol=0, atol=1e-12)
    weight = torch.randn_like(reference)
    for one, other in zip(
        torch.autograd.grad((y * weight).sum(), ours),
        torch.autograd.grad((reference * weight).sum(), theirs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_gradients_can_be_differentiated(last: bool) -> None:
    x = torch.randn(2, 2, 4, 5, dtype=torch.double)
    x = (x.contiguous(memory_format=torch.channels_last) if last else x).requires_grad_()
    filters = torch.randn(2, 2, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda a, b: filtered(a, b, 2), (x, filters))


def test_the_layout_is_kept() -> None:
    x = torch.randn(2, 4, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = filtered(x, torch.randn(2, 4, 3, 3), 1)
    y.sum().backward()
    assert x.grad is not None
    for tensor in (y, x.grad):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
def test_float32_features_under_mixed_precision(last: bool) -> None:
    """The backward pass runs outside of autocast, as in the training loop."""
    torch.manual_seed(0)
    x = torch.randn(2, 4, 9, 8)
    x = (x.contiguous(memory_format=torch.channels_last) if last else x).requires_grad_()
    filters = torch.randn(2, 4, 3, 3, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = filtered(x, filters, 2)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    grads = x.grad, filters.grad
    x.grad = filters.grad = None
    plain(x, filters, 2).square().sum().backward()
    for one, other in zip(grads, (x.grad, filters.grad), strict=True):
        assert one is not None
        assert other is not None
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()
