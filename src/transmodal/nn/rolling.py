"""Rolled convolution: a kernel whose channel groups are moved by fractions of a voxel, per sample.

References:
    Learning Modality-Aware Representations: Adaptive Group-wise Interaction Network for Multimodal MRI Synthesis
    (Song et al., 2025), group-wise rolling. https://arxiv.org/abs/2411.14684

With W_i the part of the kernel for channel group i, Δ_i its offset in voxels and λ_i its scale::

    W̃_i = λ_i R(Δ_i) W_i          R along every axis, by linear interpolation between whole voxels
    y    = Σ_i W̃_i ∗ x_i           groups of the input, or y_i = W̃_i ∗ x for groups of the output

Moving a kernel by +Δ reads the features at q + Δ: where a modality is displaced by +τ, Δ = +τ puts it right. What
"rolling" means is not published in a form that we could read; ``mode`` names the readings:

=========  =====================================================================================
shift      taps sit at t + Δ and the support grows: the same as moving the features, exactly
circular   taps that leave the window re-enter on the other side; no translation, but literal
zero       as shift, but cropped to the window: taps are lost
=========  =====================================================================================

The same number comes out of several computations (``path``), whose cost differs:

- ``kernel``: a kernel for each sample, one convolution with the samples as groups. All modes.
- ``recomputed``: the same, but the kernels are made again for the gradients instead of being kept: B·k²·Cin·Cout
  numbers less, for the time of one more forward pass. All modes.
- ``features``: the features are moved, then an ordinary convolution with the shared kernel. ``shift`` only; for
  groups of the output the result of the convolution is moved, which needs a stride of 1.
- ``planes``: the taps' planes are mixed, then one matrix product with the shared kernel. ``circular`` and
  ``zero``, groups of the input.
"""

import math
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from transmodal.nn.depthwise import filtered
from transmodal.nn.precision import full_precision

Mode = Literal["shift", "circular", "zero"]
Axis = Literal["in", "out"]
Path = Literal["auto", "kernel", "recomputed", "features", "planes"]

_CONV = {2: functional.conv2d, 3: functional.conv3d}


def rolled_conv(
    x: Float[Tensor, "B Cin *N"],
    weight: Float[Tensor, "Cout Cin *K"],
    offset: Float[Tensor, "B G S"],
    scale: Float[Tensor, "B G"],
    *,
    mode: Mode = "shift",
    axis: Axis = "in",
    stride: int = 1,
    padding: int = 1,
    reach: int = 1,
    path: Path = "auto",
) -> Float[Tensor, "B Cout *M"]:
    """Convolve with kernels that are rolled for each sample and group.

    Args:
        x: features, with S spatial axes.
        weight: the shared kernel.
        offset: Δ in voxels of ``x`` along each axis.
        scale: λ.
        mode: what rolling means.
        axis: whose channels are grouped, contiguously: those of ``x`` or those of the result.
        stride: of the convolution.
        padding: zeros around ``x``.
        reach: the largest |Δ| of ``shift`` and ``zero``, rounded up to whole voxels; larger ones are wrong.
        path: how it is computed; ``auto`` takes what is fastest of what is possible.

    Raises:
        ValueError: groups that do not divide the channels, or a path that cannot compute this.
    """
    groups = offset.shape[1]
    channels = weight.shape[1] if axis == "in" else weight.shape[0]
    if channels % groups:
        raise ValueError(f"{channels} channels cannot be split into {groups} groups of equal size")
    if path == "auto":
        path = choose(x, weight, mode=mode, axis=axis, stride=stride)
    if path not in possible(mode, axis, stride):
        raise ValueError(f"path {path!r} cannot roll with mode = {mode!r}, axis = {axis!r}, stride = {stride}")
    if path == "features":
        return _by_features(x, weight, offset, scale, axis, stride, padding, reach)
    if path == "planes":
        return _by_planes(x, weight, offset, scale, mode, stride, padding)
    given = (x, weight, offset, scale, mode, axis, stride, padding, reach)
    if path == "recomputed":
        return cast(Tensor, checkpoint(_by_kernel, *given, use_reentrant=False, preserve_rng_state=False))
    return _by_kernel(*given)


def possible(mode: Mode, axis: Axis, stride: int) -> list[Path]:
    """The paths that can compute a rolled convolution; those by kernels always can."""
    found: list[Path] = ["kernel", "recomputed"]
    if mode == "shift" and (axis == "in" or stride == 1):
        found.append("features")
    if mode != "shift" and axis == "in":
        found.append("planes")
    return found


def choose(
    x: Float[Tensor, "B Cin *N"], weight: Float[Tensor, "Cout Cin *K"], *, mode: Mode, axis: Axis, stride: int
) -> Path:
    """The fastest path, by what each has to do.

    Moving features costs 3^S products a voxel and channel, next to nothing beside the convolution, whereas a moved
    kernel has (k + 2)^S taps instead of k^S. Other modes keep k^S taps: a batch of one is then an ordinary
    convolution, and planes pay off where there are fewer voxels than kernels to make.
    """
    paths = possible(mode, axis, stride)
    if "features" in paths:
        return "features"
    if "planes" in paths and len(x) > 1 and math.prod(x.shape[2:]) < weight.shape[0]:
        return "planes"
    return "kernel"


def fractions(offset: Float[Tensor, "*any"], distance: Tensor) -> Tensor:
    """How much of a tap lands at each whole ``distance``: linear between the two voxels around ``offset``.

    The derivative with respect to the offset is that of the interval above it. The hat function
    max(0, 1 - |d - Δ|) has the same values, but torch gives it the derivative 0 at whole offsets: a router that
    starts at 0 would never learn.

    Args:
        offset: Δ.
        distance: whole numbers; both are broadcast.
    """
    below = offset.detach().floor()
    part = offset - below
    return torch.where(distance == below, 1 - part, 0.0) + torch.where(distance == below + 1, part, 0.0)


def _matrix(offset: Float[Tensor, "B G"], width: int, mode: Mode, reach: int) -> Float[Tensor, "B G K1 K"]:
    """R(Δ) along one axis: from ``width`` taps to ``width``, or to ``width + 2 reach`` for ``shift``."""
    grown = reach if mode == "shift" else 0
    out = torch.arange(width + 2 * grown, device=offset.device) - grown
    distance = out[:, None] - torch.arange(width, device=offset.device)
    offset = offset[..., None, None]
    if mode != "circular":
        return fractions(offset, distance)
    # Distances and offsets that differ by the window's width are the same.
    below = offset.detach().floor()
    part = offset - below
    here, next_ = (distance - below) % width == 0, (distance - below - 1) % width == 0
    return torch.where(here, 1 - part, 0.0) + torch.where(next_, part, 0.0)


def _by_kernel(
    x: Tensor, weight: Tensor, offset: Tensor, scale: Tensor, mode: Mode, axis: Axis, stride: int, padding: int,
    reach: int,
) -> Tensor:  # fmt: skip
    batch, groups, spatial = offset.shape
    cout, cin = weight.shape[:2]
    matrices = [_matrix(offset[..., a], weight.shape[2 + a], mode, reach) for a in range(spatial)]
    # (G, Cout, Cin / G, taps) or (G, Cout / G, Cin, taps): each group beside the others.
    parts = weight.unflatten(1, (groups, -1)).movedim(1, 0) if axis == "in" else weight.unflatten(0, (groups, -1))
    rolled = parts[None].expand(batch, *parts.shape) * scale.view(batch, groups, *[1] * (parts.ndim - 1))
    for a, matrix in enumerate(matrices):
        rolled = _along(rolled, matrix, 4 + a)
    kernels = rolled.movedim(1, 2).flatten(2, 3) if axis == "in" else rolled.flatten(1, 2)
    grown = reach if mode == "shift" else 0
    y = _CONV[spatial](
        x.reshape(1, batch * cin, *x.shape[2:]),
        kernels.reshape(batch * cout, cin, *kernels.shape[3:]).to(x.dtype),
        stride=stride,
        padding=padding + grown,
        groups=batch,
    )
    return y.view(batch, cout, *y.shape[2:])


def _along(values: Tensor, matrix: Float[Tensor, "B G K1 K"], place: int) -> Tensor:
    """The matrix of each sample and group applied along one axis of (B, G, …), in the precision of the matrix."""
    moved = values.movedim(place, -1)
    with full_precision(values):
        flat = moved.flatten(2, -2).to(matrix.dtype) @ matrix.transpose(-1, -2)
    return flat.unflatten(2, moved.shape[2:-1]).movedim(-1, place)


def _by_features(
    x: Tensor, weight: Tensor, offset: Tensor, scale: Tensor, axis: Axis, stride: int, padding: int, reach: int
) -> Tensor:
    convolve = _CONV[offset.shape[2]]
    if axis == "in":
        return convolve(_moved(x, offset, scale, reach, padding + reach), weight, stride=stride)
    return _moved(convolve(x, weight, padding=padding + reach), offset, scale, reach, 0)


def _moved(
    x: Float[Tensor, "B C *N"], offset: Tensor, scale: Tensor, reach: int, padding: int
) -> Float[Tensor, "B C *M"]:
    """λ x(q + Δ) for each sample and group, zeros outside; ``padding - reach`` voxels longer on every side."""
    channels, *size = x.shape[1:]
    distance = torch.arange(-reach, reach + 1, device=x.device)
    taps = scale[..., None]
    for a in range(offset.shape[2]):
        along = fractions(offset[..., a, None], distance)
        taps = (taps[..., None] * along[:, :, None]).flatten(2) if a else taps * along
    filters = taps.unflatten(2, [2 * reach + 1] * len(size)).repeat_interleave(channels // offset.shape[1], dim=1)
    return filtered(x, filters, padding)


def _by_planes(
    x: Tensor, weight: Tensor, offset: Tensor, scale: Tensor, mode: Mode, stride: int, padding: int
) -> Tensor:
    batch, groups, spatial = offset.shape
    taps = weight.shape[2:]
    padded = functional.pad(x, [padding] * (2 * spatial))
    for a, width in enumerate(taps):
        padded = padded.unfold(2 + a, width, stride)
    # (B, G, C / G, places …, taps …)
    planes = padded.unflatten(1, (groups, -1))
    for a in range(spatial):
        matrix = _matrix(offset[..., a], taps[a], mode, 0).transpose(-1, -2)
        planes = _along(planes, matrix, 3 + spatial + a)
    planes = planes.flatten(1, 2) * scale.repeat_interleave(planes.shape[2], dim=1).view(
        batch, -1, *[1] * (2 * spatial)
    )
    axes = [1, *range(2 + spatial, 2 + 2 * spatial)]
    y = torch.tensordot(planes.to(x.dtype), weight.to(x.dtype), dims=(axes, [1, *range(2, 2 + spatial)]))
    return cast(Tensor, y.movedim(-1, 1))


def shuffle(x: Float[Tensor, "B C *N"], groups: int) -> Float[Tensor, "B C *N"]:
    """Deal the channels of every group to all groups, as in ShuffleNet: (n, c) → (c, n).

    From ShuffleNet (Zhang et al., 2018), section 3.1. https://arxiv.org/abs/1707.01083
    """
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
