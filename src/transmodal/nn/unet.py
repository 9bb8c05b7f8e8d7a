"""Two U-Nets: the generator of pix2pix as published, and a plain one for regression."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from transmodal.nn.convnd import Norm, Output, Upsample, activation, conv, needs_bias, norm, up_conv


class Dropout(nn.Module):
    """Dropout that can stay on in use, where it is a generator's only source of noise.

    Args:
        p: the probability that a value is set to 0; the others are scaled by 1 / (1 - p).
        always: whether it also drops in ``eval`` mode.
    """

    def __init__(self, p: float, always: bool = False) -> None:
        super().__init__()
        self.p = p
        self.always = always

    def forward(self, x: Float[Tensor, "B C *N"]) -> Float[Tensor, "B C *N"]:
        """``x`` with values dropped, or as it is."""
        return functional.dropout(x, self.p, training=self.training or self.always)


class UNetGenerator(nn.Module):
    """The U-Net of pix2pix: every encoder halves the grid, every decoder doubles it and sees its mirror.

    In the paper's words, for depth 8: C64-C128-C256-C512-C512-C512-C512-C512 down and
    CD512-CD512-CD512-C512-C256-C128-C64 up, with kernels 4 wide and strides of 2, then a last decoder to the
    target's channels. There is no normalisation in the first encoder, nor in the innermost, where it would
    set a single voxel to zero (erratum of the paper).

    References:
        Image-to-Image Translation with Conditional Adversarial Networks (Isola et al., 2017), section 6.1.1.
        https://arxiv.org/abs/1611.07004

    Args:
        cin: channels in.
        cout: channels out.
        spatial: number of spatial axes; each must be a multiple of ``2 ** depth``.
        depth: number of encoders, at least 2. 8 takes 256 voxels to 1.
        width: channels of the first encoder; doubled by each further one up to eight times.
        norm_kind: normalisation, see above for where.
        dropout: probability of dropping a value after each of the three innermost decoders.
        always_drop: whether dropout stays on in ``eval`` mode.
        upsample: ``transpose`` as published, or ``resize``.
        output: ``tanh`` as published, or ``linear``.
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        *,
        spatial: int = 2,
        depth: int = 8,
        width: int = 64,
        norm_kind: Norm = "batch",
        dropout: float = 0.5,
        always_drop: bool = False,
        upsample: Upsample = "transpose",
        output: Output = "tanh",
    ) -> None:
        super().__init__()
        if depth < 2:
            raise ValueError(f"a U-Net of depth {depth} has no skip connection; give at least 2")
        self.multiple = 2**depth
        bias = needs_bias(norm_kind)
        widths = [width * min(2**i, 8) for i in range(depth)]

        self.encoders = nn.ModuleList([conv(spatial, cin, width, 4, stride=2, padding=1, bias=bias)])
        for i in range(1, depth):
            encoder = nn.Sequential(
                nn.LeakyReLU(0.2),
                conv(spatial, widths[i - 1], widths[i], 4, stride=2, padding=1, bias=bias),
            )
            if i < depth - 1:
                encoder.append(norm(spatial, norm_kind, widths[i]))
            self.encoders.append(encoder)

        self.decoders = nn.ModuleList()
        for i in reversed(range(1, depth)):
            before = widths[i] if i == depth - 1 else 2 * widths[i]
            decoder = nn.Sequential(
                nn.ReLU(),
                up_conv(spatial, before, widths[i - 1], how=upsample, bias=bias),
                norm(spatial, norm_kind, widths[i - 1]),
            )
            if i >= depth - 3:
                decoder.append(Dropout(dropout, always_drop))
            self.decoders.append(decoder)
        self.head = nn.Sequential(nn.ReLU(), up_conv(spatial, 2 * width, cout, how=upsample), activation(output))

    def forward(self, x: Float[Tensor, "B Cin *N"]) -> Float[Tensor, "B Cout *N"]:
        """Translate ``x``."""
        skips = []
        for encoder in self.encoders:
            x = encoder(x)
            skips.append(x)
        x = skips.pop()
        for decoder in self.decoders:
            x = torch.cat([skips.pop(), decoder(x)], dim=1)
        y: Tensor = self.head(x)
        return y


class Block(nn.Module):
    """Two convolutions 3 wide beside a shortcut.

    Instance normalisation removes the mean of every channel, hence how bright a scan is. The shortcut is
    not normalised and carries that past the block.

    Args:
        spatial: number of spatial axes.
        cin: channels in.
        cout: channels out.
        stride: 2 halves the grid.
    """

    def __init__(self, spatial: int, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(spatial, cin, cout, 3, stride=stride, padding=1, bias=False),
            norm(spatial, "instance", cout, affine=True),
            nn.LeakyReLU(0.1),
            conv(spatial, cout, cout, 3, padding=1, bias=False),
            norm(spatial, "instance", cout, affine=True),
        )
        self.shortcut = conv(spatial, cin, cout, stride, stride=stride)
        self.activation = nn.LeakyReLU(0.1)

    def forward(self, x: Float[Tensor, "B Cin *N"]) -> Float[Tensor, "B Cout *M"]:
        """The activated sum of both ways."""
        y: Tensor = self.activation(self.shortcut(x) + self.body(x))
        return y


class UNet(nn.Module):
    """A plain residual U-Net for regression: no noise, no bottleneck of one voxel, no checkerboard.

    Not a published network. Follows Ronneberger et al. 2015 (https://arxiv.org/abs/1505.04597) with the
    residual blocks, strided convolutions and instance normalisation that are common for 3D scans today, and
    upsamples by repeating voxels.

    Args:
        cin: channels in.
        cout: channels out.
        spatial: number of spatial axes; each must be a multiple of ``2 ** depth``, and longer than that.
        depth: how often the grid is halved.
        width: channels at full size; doubled by each step down up to sixteen times.
        output: ``linear``, or ``tanh`` for targets in [-1, 1].
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        *,
        spatial: int = 2,
        depth: int = 4,
        width: int = 32,
        output: Output = "linear",
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"a U-Net of depth {depth} does not go down at all; give at least 1")
        self.multiple = 2**depth
        widths = [width * min(2**i, 16) for i in range(depth + 1)]
        steps = list(pairwise(widths))
        self.stem = Block(spatial, cin, width)
        self.down = nn.ModuleList([Block(spatial, before, after, stride=2) for before, after in steps])
        self.up = nn.ModuleList([up_conv(spatial, after, before, how="resize") for before, after in steps[::-1]])
        self.merge = nn.ModuleList([Block(spatial, 2 * before, before) for before, _ in steps[::-1]])
        self.head = nn.Sequential(conv(spatial, width, cout, 1), activation(output))

    def forward(self, x: Float[Tensor, "B Cin *N"]) -> Float[Tensor, "B Cout *N"]:
        """Translate ``x``."""
        x = self.stem(x)
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1))
        y: Tensor = self.head(x)
        return y
