"""The critic of StyleGAN2: residual blocks whose weights are scaled while they run.

References:
    Progressive Growing of GANs (Karras et al., 2018), section 4.1: weights are drawn from N(0, 1) and divided by
    √fan-in at run time, so that Adam moves all layers alike. https://arxiv.org/abs/1710.10196
    Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2020), section 4.1 and figure 7: the
    residual critic. https://arxiv.org/abs/1912.04958
    Making Convolutional Networks Shift-Invariant Again (Zhang, 2019): blur before a stride.
    https://arxiv.org/abs/1904.11486

Two spatial axes only.
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class EqualConv(nn.Module):
    """A convolution with weights N(0, 1) divided by √fan-in at run time.

    Args:
        cin: channels in.
        cout: channels out.
        kernel: its width.
        stride: of the convolution.
        padding: with zeros, on every side.
        bias: whether there is one.
    """

    def __init__(
        self, cin: int, cout: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cout, cin, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(cout)) if bias else None
        self.scale = 1 / math.sqrt(cin * kernel**2)
        self.stride, self.padding = stride, padding

    def forward(self, x: Float[Tensor, "B Cin X Y"]) -> Float[Tensor, "B Cout U V"]:
        """Convolve."""
        return functional.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)


class EqualLinear(nn.Module):
    """A matrix with weights N(0, 1) divided by √fan-in at run time, and a bias.

    Args:
        cin: numbers in.
        cout: numbers out.
        activate: whether :class:`BiasedLeaky` follows, which then holds the bias.
    """

    def __init__(self, cin: int, cout: int, *, activate: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cout, cin))
        self.scale = 1 / math.sqrt(cin)
        self.bias = None if activate else nn.Parameter(torch.zeros(cout))
        self.activation = BiasedLeaky(cout) if activate else nn.Identity()

    def forward(self, x: Float[Tensor, "B Cin"]) -> Float[Tensor, "B Cout"]:
        """Multiply."""
        y: Tensor = self.activation(functional.linear(x, self.weight * self.scale, self.bias))
        return y


class BiasedLeaky(nn.Module):
    """Add a learnt bias, then LeakyReLU(0.2) times √2, which keeps the variance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "B C *N"]) -> Float[Tensor, "B C *N"]:
        """Bias and activate."""
        return functional.leaky_relu(x + self.bias.view(-1, *[1] * (x.ndim - 2)), 0.2) * math.sqrt(2)


class Blur(nn.Module):
    """Smooth with [1, 3, 3, 1] / 8 along both axes, with zeros outside.

    Args:
        before: voxels of padding at the lower faces.
        after: at the upper faces.
    """

    taps: Tensor

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("taps", torch.outer(line, line)[None, None], persistent=False)
        self.padding = (before, after, before, after)

    def forward(self, x: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B C U V"]:
        """Smooth every channel."""
        taps = self.taps.to(x.dtype).expand(x.shape[1], 1, 4, 4)
        return functional.conv2d(functional.pad(x, self.padding), taps, groups=x.shape[1])


def layer(cin: int, cout: int, kernel: int, *, halve: bool = False) -> nn.Sequential:
    """A convolution and its activation; with ``halve`` it blurs and takes every second voxel."""
    activation = BiasedLeaky(cout)
    if not halve:
        return nn.Sequential(EqualConv(cin, cout, kernel, padding=kernel // 2), activation)
    return nn.Sequential(_blur_for(kernel), EqualConv(cin, cout, kernel, stride=2), activation)


def _blur_for(kernel: int) -> Blur:
    """The blur that lets a convolution of this width with a stride of 2 halve the grid exactly."""
    padding = 2 + kernel - 1
    return Blur((padding + 1) // 2, padding // 2)


class ResBlock(nn.Module):
    """(two convolutions + one of a voxel) / √2.

    Args:
        cin: channels in.
        cout: channels out.
        halve: whether the grid becomes half as large.
    """

    def __init__(self, cin: int, cout: int, *, halve: bool = True) -> None:
        super().__init__()
        self.main = nn.Sequential(layer(cin, cin, 3), layer(cin, cout, 3, halve=halve))
        self.skip: nn.Module = EqualConv(cin, cout, 1)
        if halve:
            self.skip = nn.Sequential(_blur_for(1), EqualConv(cin, cout, 1, stride=2))

    def forward(self, x: Float[Tensor, "B Cin X Y"]) -> Float[Tensor, "B Cout U V"]:
        """Both ways, added."""
        y: Tensor = (self.main(x) + self.skip(x)) / math.sqrt(2)
        return y


class StyleCritic(nn.Module):
    """One score for a whole image.

    Args:
        cin: channels in.
        size: voxels of the image along its two axes. The last layer is a matrix, so the size is fixed.
        width: channels at full size; doubled by each block up to four times.
    """

    def __init__(self, cin: int, *, size: tuple[int, int] = (256, 256), width: int = 128) -> None:
        super().__init__()
        if min(size) < 8:
            raise ValueError(
                f"a critic of images of {size[0]}×{size[1]} voxels has nothing to halve; give 8 or more"
            )
        blocks = max(1, round(math.log2(max(size) / 4)))
        if min(size) < 2**blocks:
            raise ValueError(
                f"a critic of images of {size[0]}×{size[1]} voxels halves the longer side {blocks} times, which "
                f"leaves nothing of the shorter one; give at least {2**blocks}"
            )
        self.size = size
        widths = [width * min(2**i, 4) for i in range(blocks + 1)]
        left = [n // 2**blocks for n in size]
        self.features = nn.Sequential(layer(cin, width, 1))
        for before, after in pairwise(widths):
            self.features.append(ResBlock(before, after))
        last = widths[-1]
        self.features.append(layer(last, last, 3))
        self.head = nn.Sequential(
            nn.Flatten(), EqualLinear(last * left[0] * left[1], last, activate=True), EqualLinear(last, 1)
        )

    def forward(self, x: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B 1"]:
        """The score: large where an image looks real.

        Raises:
            ValueError: an image of another size.
        """
        if tuple(x.shape[2:]) != self.size:
            arrived, wanted = ("×".join(map(str, s)) for s in (x.shape[2:], self.size))
            raise ValueError(f"the critic was built for images of {wanted} voxels, {arrived} arrived")
        score: Tensor = self.head(self.features(x))
        return score
