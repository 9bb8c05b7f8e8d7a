"""Depthwise convolution with filters of each sample, whose gradients cost no more than itself."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_CONV = {2: functional.conv2d, 3: functional.conv3d}


def filtered(
    x: Float[Tensor, "B C *N"], filters: Float[Tensor, "B C *K"], padding: int
) -> Float[Tensor, "B C *M"]:
    """Correlate every channel of every sample with its own filter, zeros around.

    The gradient of a correlation is the correlation with the flipped filter. torch computes it by another kernel,
    which on processors takes five times as long; here it is computed as what it is.

    Args:
        x: features.
        filters: of one odd width along every axis.
        padding: voxels of zeros on each side.
    """
    if not x.is_meta and torch.is_autocast_enabled(x.device.type):
        # Once, here: the backward pass runs outside of it and must meet one type.
        x = x.to(torch.get_autocast_dtype(x.device.type))
    filters = filters.to(x.dtype)
    if torch.compiler.is_compiling():
        return _correlate(x, filters, padding)
    result: Tensor = _Filtered.apply(x, filters, padding)
    return result


class _Filtered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(x, filters)
        ctx.padding = padding
        return _correlate(x, filters, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,) = gradients
        x, filters = ctx.saved_tensors
        of_x = of_filters = None
        if ctx.needs_input_grad[0]:
            flipped = filters.flip(*range(2, filters.ndim))
            of_x = filtered(gradient, flipped, filters.shape[-1] - 1 - ctx.padding)
        if ctx.needs_input_grad[1]:
            of_filters = _of_filters(gradient, x, filters, ctx.padding)
        return of_x, of_filters, None


def _correlate(x: Tensor, filters: Tensor, padding: int) -> Tensor:
    convolve = _CONV[x.ndim - 2]
    x, padding = _around(x, filters, padding)
    if _channels_last(x):
        # Samples as further groups would need a copy to the other layout, which costs more than the convolution.
        pairs = zip(x.split(1), filters, strict=True)
        return torch.cat([convolve(a, f[:, None], padding=padding, groups=len(f)) for a, f in pairs])
    flat = filters.reshape(-1, 1, *filters.shape[2:])
    y = convolve(_folded(x), flat, padding=padding, groups=len(flat))
    return y.view(*x.shape[:2], *y.shape[2:])


def _around(x: Tensor, filters: Tensor, padding: int) -> tuple[Tensor, int]:
    """Zeros laid around beyond half of the width, where fast kernels end; or, of gradients, edges cut off.

    Laid again for the gradients, so that features are not kept twice.
    """
    own = min(max(padding, 0), filters.shape[-1] // 2)
    more = padding - own
    return (functional.pad(x, [more] * (2 * (x.ndim - 2))) if more else x), own


def _of_filters(gradient: Tensor, x: Tensor, filters: Tensor, padding: int) -> Tensor:
    x, padding = _around(x, filters, padding)
    if _channels_last(x):
        samples = zip(gradient.split(1), x.split(1), filters, strict=True)
        return torch.stack([_filter_gradient(g, a, f[:, None], padding) for g, a, f in samples]).view_as(filters)
    flat = filters.reshape(-1, 1, *filters.shape[2:])
    return _filter_gradient(_folded(gradient), _folded(x), flat, padding).view_as(filters)


def _filter_gradient(gradient: Tensor, x: Tensor, filters: Tensor, padding: int) -> Tensor:
    axes = x.ndim - 2
    found = torch.ops.aten.convolution_backward(
        gradient, x, filters, None,
        [1] * axes, [padding] * axes, [1] * axes, False, [0] * axes, len(filters), [False, True, False],
    )  # fmt: skip
    result: Tensor = found[1]
    return result


def _folded(x: Tensor) -> Tensor:
    """Samples as further channels."""
    return x.reshape(1, -1, *x.shape[2:])


def _channels_last(x: Tensor) -> bool:
    layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    return x.is_contiguous(memory_format=layout) and not x.is_contiguous()
