"""Layers by number of spatial axes: the same text builds a network for slices (2) and for patches (3).

Each function returns one ``nn.Module``; channels come as *in*, *out*, and options by keyword.
"""

from typing import Literal

import torch
from torch import nn

Norm = Literal["batch", "instance", "none"]
"""Normalisation after a convolution. ``instance`` behaves alike in training and in use, whatever the batch."""

Upsample = Literal["transpose", "resize"]
"""How a decoder doubles the grid: a transposed convolution, or nearest neighbours and a convolution."""

Output = Literal["tanh", "linear"]
"""The last layer of a generator: ``tanh`` for targets in [-1, 1], ``linear`` for z-scores."""

Borders = Literal["zeros", "reflect", "replicate"]
"""What a convolution sees outside the image. In images whose background is -1, zeros are a grey frame."""

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE_NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_REFLECT = {2: nn.ReflectionPad2d, 3: nn.ReflectionPad3d}


def conv(
    spatial: int,
    cin: int,
    cout: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int = 0,
    bias: bool = True,
    groups: int = 1,
    borders: Borders = "zeros",
) -> nn.Module:
    """A convolution over ``spatial`` axes, whose padding continues the image as ``borders`` says."""
    return _CONV[spatial](
        cin, cout, kernel, stride=stride, padding=padding, bias=bias, groups=groups, padding_mode=borders
    )


def up_conv(spatial: int, cin: int, cout: int, *, how: Upsample, kernel: int = 4, bias: bool = True) -> nn.Module:
    """A convolution that exactly doubles every spatial axis.

    Args:
        spatial: number of spatial axes.
        cin: channels in.
        cout: channels out.
        how: ``transpose`` as GAN papers do, with a stride of 2 and ``kernel``, 3 or 4; ``resize`` repeats
            every voxel and convolves 3 wide, which cannot leave a checkerboard (Odena et al. 2016,
            https://distill.pub/2016/deconv-checkerboard).
        kernel: width of the transposed kernel.
        bias: whether there is one.
    """
    if how == "resize":
        wide = nn.Upsample(scale_factor=2, mode="nearest")
        return nn.Sequential(wide, conv(spatial, cin, cout, 3, padding=1, bias=bias))
    odd = kernel % 2
    return _TRANSPOSED[spatial](cin, cout, kernel, stride=2, padding=1, output_padding=odd, bias=bias)


def norm(spatial: int, kind: Norm, channels: int, *, affine: bool = False) -> nn.Module:
    """A normalisation over ``spatial`` axes.

    Args:
        spatial: number of spatial axes.
        kind: ``batch`` always has a learnt scale and shift and keeps running averages for use.
        channels: channels in and out.
        affine: whether ``instance`` has a learnt scale and shift as well; the GAN papers have none.
    """
    if kind == "batch":
        return _BATCH_NORM[spatial](channels)
    if kind == "instance":
        return _INSTANCE_NORM[spatial](channels, affine=affine)
    return nn.Identity()


def reflect(spatial: int, width: int) -> nn.Module:
    """Mirror ``width`` voxels over every border; an axis must be longer than that."""
    return _REFLECT[spatial](width)


def needs_bias(kind: Norm) -> bool:
    """Whether the convolution before this normalisation has a bias: not where the norm adds its own."""
    return kind != "batch"


def activation(output: Output) -> nn.Module:
    """The last layer of a generator."""
    return nn.Tanh() if output == "tanh" else nn.Identity()


def use_channels_last(network: nn.Module) -> None:
    """Lay out the weights of 2D convolutions channels last, in place: faster, the same to rounding."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
