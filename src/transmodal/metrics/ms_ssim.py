"""MS-SSIM: structural similarity over up to five scales."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from transmodal.losses.structural import combine_scales, halve, scales_that_fit, ssim_parts
from transmodal.metrics.metric import Metric
from transmodal.metrics.region import check, slabs
from transmodal.metrics.ssim import ssim, ssim_slabs

_RADIUS = 5
"""Voxels that the default window of 11 reaches to each side."""


@torch.no_grad()
def ms_ssim(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> float:
    """MS-SSIM (Wang et al. 2003): Π cs^w over the scales, l·cs at the coarsest, in [0, 1].

    Each scale halves the volume by 2x average pooling (an odd last layer is dropped). Windows of 11 voxels lie
    inside the volume, so the outermost 5 voxels of each scale are no window's middle. In a mask, the mean of a
    scale weighs each window by the share of its middle voxel that lies in the mask. Channels are scored by
    themselves and averaged. A negative mean counts as 0.

    A volume too small for five scales gets as many as fit, their weights divided by their sum;
    :func:`scale_count` says how many, and that number is part of the convention: values of different numbers
    of scales must not be compared. Where not even one fits, the value is undefined (NaN).

    Args:
        prediction: in physical units.
        reference: in the same unit.
        mask: True where a voxel counts; None for all, which rewards an easy background.
        data_range: R, the width of the physical range.

    Raises:
        InputError: shapes differ, or the mask is empty.
        RecipeError: a range that is not above 0.
    """
    check(prediction, reference, mask, data_range)
    shares = _shares(reference.shape[1:], mask)
    if not shares:
        return float("nan")
    size = _long_axes(reference.shape[1:])
    x, y = prediction.reshape(1, -1, *size), reference.reshape(1, -1, *size)
    first = _mean(x, y, shares[0], data_range, last=len(shares) == 1)
    return _combined(first, x, y, shares, data_range)


@torch.no_grad()
def ssim_and_ms_ssim(
    prediction: Float[Tensor, "C X Y Z"],
    reference: Float[Tensor, "C X Y Z"],
    mask: Bool[Tensor, "X Y Z"] | None = None,
    *,
    data_range: float,
) -> tuple[float, float]:
    """:func:`~.ssim.ssim` and :func:`ms_ssim`, whose finest scale is filtered once for both.

    Raises:
        InputError: shapes differ, or the mask is empty.
        RecipeError: a range that is not above 0.
    """
    check(prediction, reference, mask, data_range)
    shares = _shares(reference.shape[1:], mask)
    if not shares:
        return ssim(prediction, reference, mask, data_range=data_range), float("nan")
    inside = torch.ones_like(reference[0], dtype=torch.bool) if mask is None else mask
    whole = _middles(reference.shape[1:])
    single, products, structures = len(shares) == 1, 0.0, torch.zeros(len(reference), dtype=torch.float64)
    for windows, where in ssim_slabs(prediction, reference, mask, data_range):
        luminance, structure = windows
        product, counted = luminance * structure, inside[where]
        products += float((product if mask is None else product[:, counted]).sum())
        middle = counted & whole[where]
        structures += (product if single else structure)[:, middle].sum(dim=-1)
    size = _long_axes(reference.shape[1:])
    x, y = prediction.reshape(1, -1, *size), reference.reshape(1, -1, *size)
    first = structures / int((inside & whole).sum())
    return products / (int(inside.sum()) * len(reference)), _combined(first, x, y, shares, data_range)


def _combined(first: Tensor, x: Tensor, y: Tensor, shares: Sequence[Tensor | None], data_range: float) -> float:
    """The product over scales, when the mean of the finest one is known."""
    means = [first]
    for scale, share in enumerate(shares[1:], start=1):
        x, y = halve(x.double()), halve(y.double())
        means.append(_mean(x, y, share, data_range, last=scale == len(shares) - 1))
    return float(combine_scales(torch.stack(means)).mean())


def _middles(size: Sequence[int]) -> Bool[Tensor, "X Y Z"]:
    """Voxels whose window lies inside the volume."""
    found = torch.zeros(tuple(size), dtype=torch.bool)
    found[tuple(slice(_RADIUS, n - _RADIUS) if n > 1 else slice(None) for n in size)] = True
    return found


def scale_count(size: Sequence[int], mask: Bool[Tensor, "X Y Z"] | None = None) -> int:
    """How many scales :func:`ms_ssim` uses for a volume of this size: 0 to 5.

    A scale fits while every axis keeps 11 voxels and some window's middle lies in the mask.
    """
    return len(_shares(size, mask))


def _long_axes(size: Sequence[int]) -> list[int]:
    return [n for n in size if n > 1] or [1]


def _shares(size: Sequence[int], mask: Tensor | None) -> list[Tensor | None]:
    """For each scale, how much of each window's middle voxel lies in the mask; None for all of it."""
    long = _long_axes(size)
    scales = scales_that_fit(long)
    if mask is None:
        return [None] * scales
    inside = (slice(_RADIUS, -_RADIUS),) * len(long)
    share, shares = mask.reshape(1, 1, *long).double(), []
    for scale in range(scales):
        share = halve(share) if scale > 0 else share
        middle = share[0, 0][inside]
        if not bool(middle.any()):
            break
        shares.append(middle)
    return list(shares)


def _mean(x: Tensor, y: Tensor, share: Tensor | None, data_range: float, *, last: bool) -> Tensor:
    """Mean of one scale for each channel, slab by slab along the first axis, where windows count."""
    if share is not None:
        near = [slice(int(i.min()), int(i.max()) + 1) for i in torch.nonzero(share, as_tuple=True)]
        share = share[*near]
        around = [slice(side.start, side.stop + 2 * _RADIUS) for side in near]
        x, y = x[:, :, *around], y[:, :, *around]
    total = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    windows = x.shape[2] - 2 * _RADIUS
    layer = x[0, 0, 0].numel()
    for start, stop in slabs(windows, layer):
        slab = slice(start, stop + 2 * _RADIUS)
        luminance, structure = ssim_parts(
            x[:, :, slab].double(), y[:, :, slab].double(), data_range=data_range, padding="valid"
        )
        values = (luminance * structure if last else structure)[0]
        total += (values if share is None else values * share[start:stop]).flatten(1).sum(-1)
    if share is not None:
        return total / share.sum()
    count = 1
    for length in x.shape[2:]:
        count *= length - 2 * _RADIUS
    return total / count


def _scales_in_words(reference: Tensor, mask: Tensor | None) -> str:
    return f"scales={scale_count(reference.shape[1:], mask)}"


MS_SSIM = Metric(
    "MS-SSIM",
    ms_ssim,
    unit="1",
    higher_is_better=True,
    best=1.0,
    needs_range=True,
    summary="structural similarity over up to five scales",
    sees_outside=True,
    detail=_scales_in_words,
)
