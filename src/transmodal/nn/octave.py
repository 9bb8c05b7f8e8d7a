"""Octave convolution: features at full size beside features at half size, which talk to each other.

References:
    Drop an Octave: Reducing Spatial Redundancy in Convolutional Neural Networks with Octave Convolution
    (Chen et al., 2019). https://arxiv.org/abs/1904.05049

Equations (their section 3.2, f a convolution)::

    Y_H = f(X_H; W_HH) + f(up(X_L); W_LH)
    Y_L = f(X_L; W_LL) + f(pool(X_H); W_HL)

Chen et al. write up(f(X_L; W_LH)): here, as in Macro2Micro (https://arxiv.org/abs/2412.11277), the low branch is
enlarged before it is convolved, so that the convolution smooths the steps of the repeated voxels. For kernels of
one voxel both are the same.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from transmodal.nn.convnd import conv

_POOL = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


class Octave(NamedTuple):
    """Features at two sizes; a branch without channels is None.

    Attributes:
        high: at full size, (B, C_H, ...).
        low: at half that size along every axis, (B, C_L, ...).
    """

    high: Tensor | None
    low: Tensor | None


def split(channels: int, alpha: float) -> tuple[int, int]:
    """Channels of the high and of the low branch: ⌊C(1 - α)⌋ and the rest.

    Raises:
        ValueError: α lies outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha = {alpha}: the low branch has a share of the channels between 0 and 1")
    high = int(channels * (1 - alpha))
    return high, channels - high


def enlarge(x: Float[Tensor, "B C *N"]) -> Float[Tensor, "B C *M"]:
    """Twice as large along every axis: every voxel is repeated."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def reduce(x: Float[Tensor, "B C *N"]) -> Float[Tensor, "B C *M"]:
    """Half as large along every axis: the mean of 2 x 2 (x 2) voxels."""
    return _POOL[x.ndim - 2](x, 2)


class OctaveConv(nn.Module):
    """The four paths of the equations above, mirrored at the borders, without bias.

    α = 0 on both sides is a plain convolution, α = 1 one at half size. α = 0 on the way in splits an image into
    two branches; α = 0 on the way out merges them.

    Args:
        spatial: number of spatial axes.
        cin: channels in, of both branches together.
        cout: channels out, of both branches together.
        kernel: its width, an odd number.
        stride: of every path; both branches shrink alike.
        alpha_in: the low branch's share of ``cin``.
        alpha_out: the low branch's share of ``cout``.
    """

    def __init__(
        self,
        spatial: int,
        cin: int,
        cout: int,
        kernel: int,
        *,
        stride: int = 1,
        alpha_in: float = 0.5,
        alpha_out: float = 0.5,
    ) -> None:
        super().__init__()
        high_in, low_in = split(cin, alpha_in)
        high_out, low_out = split(cout, alpha_out)

        def path(before: int, after: int) -> nn.Module | None:
            if not before or not after:
                return None
            padding = kernel // 2
            return conv(
                spatial, before, after, kernel, stride=stride, padding=padding, bias=False, borders="reflect"
            )

        self.high_to_high = path(high_in, high_out)
        self.low_to_high = path(low_in, high_out)
        self.high_to_low = path(high_in, low_out)
        self.low_to_low = path(low_in, low_out)

    def forward(self, x: Octave) -> Octave:
        """Both branches, after they have exchanged."""
        high, low = self.parts(x)
        return Octave(_sum(*high), _sum(*low))

    def parts(self, x: Octave) -> tuple[tuple[Tensor | None, Tensor | None], tuple[Tensor | None, Tensor | None]]:
        """What came from the high and from the low branch, for the high and for the low branch."""
        high, low = x
        to_high = (
            self.high_to_high(high) if self.high_to_high is not None else None,
            self.low_to_high(enlarge(low)) if self.low_to_high is not None and low is not None else None,
        )
        to_low = (
            self.high_to_low(reduce(high)) if self.high_to_low is not None and high is not None else None,
            self.low_to_low(low) if self.low_to_low is not None else None,
        )
        return to_high, to_low


class Branches(nn.Module):
    """A layer for each branch, without exchange.

    Args:
        high: for the high branch; None where it has no channels.
        low: for the low branch.
    """

    def __init__(self, high: nn.Module | None, low: nn.Module | None) -> None:
        super().__init__()
        self.high = high
        self.low = low

    def forward(self, x: Octave) -> Octave:
        """Each branch by itself."""
        return Octave(
            self.high(x.high) if self.high is not None else None,
            self.low(x.low) if self.low is not None else None,
        )


def branch_conv(
    spatial: int,
    channels: int,
    kernel: int,
    *,
    stride: int = 1,
    alpha: float = 0.5,
    depthwise: bool = False,
    bias: bool = False,
) -> Branches:
    """A convolution in each branch, mirrored at the borders, that keeps the number of channels.

    Args:
        spatial: number of spatial axes.
        channels: of both branches together.
        kernel: its width, an odd number.
        stride: of both.
        alpha: the low branch's share.
        depthwise: whether every channel is convolved alone.
        bias: whether there is one.
    """

    def layer(count: int) -> nn.Module | None:
        if not count:
            return None
        groups = count if depthwise else 1
        return conv(
            spatial, count, count, kernel,
            stride=stride, padding=kernel // 2, bias=bias, groups=groups, borders="reflect",
        )  # fmt: skip

    high, low = split(channels, alpha)
    return Branches(layer(high), layer(low))


def both(x: Octave, function: Callable[[Tensor], Tensor]) -> Octave:
    """The same function of each branch that exists."""
    return Octave(
        None if x.high is None else function(x.high),
        None if x.low is None else function(x.low),
    )


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
