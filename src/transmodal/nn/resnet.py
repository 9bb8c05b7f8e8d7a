"""The generator of CycleGAN: two steps down, residual blocks, two steps up.

References:
    Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks (Zhu et al., 2017),
    sections 4 and 7.2. https://arxiv.org/abs/1703.10593
    Perceptual Losses for Real-Time Style Transfer and Super-Resolution (Johnson et al., 2016), from which
    it takes the architecture. https://arxiv.org/abs/1603.08155
"""

from jaxtyping import Float
from torch import Tensor, nn

from transmodal.nn.convnd import Norm, Output, Upsample, activation, conv, needs_bias, norm, reflect, up_conv


class ResidualBlock(nn.Module):
    """Two convolutions 3 wide beside the identity; no activation after the sum.

    Args:
        spatial: number of spatial axes.
        channels: channels in and out.
        norm_kind: normalisation after each convolution.
    """

    def __init__(self, spatial: int, channels: int, norm_kind: Norm = "instance") -> None:
        super().__init__()
        bias = needs_bias(norm_kind)
        self.body = nn.Sequential(
            reflect(spatial, 1),
            conv(spatial, channels, channels, 3, bias=bias),
            norm(spatial, norm_kind, channels),
            nn.ReLU(),
            reflect(spatial, 1),
            conv(spatial, channels, channels, 3, bias=bias),
            norm(spatial, norm_kind, channels),
        )

    def forward(self, x: Float[Tensor, "B C *N"]) -> Float[Tensor, "B C *N"]:
        """``x`` and what the block adds to it."""
        return x + self.body(x)


class ResNetGenerator(nn.Module):
    """c7s1-64, d128, d256, 9 × R256, u128, u64, c7s1-3 in the paper's words.

    Args:
        cin: channels in.
        cout: channels out.
        spatial: number of spatial axes; each must be a multiple of 4 and at least 8 long.
        width: channels of the first layer; the blocks have four times as many.
        blocks: residual blocks: 9 for images of 256 voxels and more, 6 for 128.
        norm_kind: normalisation of all layers but the last.
        upsample: ``transpose`` as published, or ``resize``.
        output: ``tanh`` as published, or ``linear``.
    """

    multiple = 4

    def __init__(
        self,
        cin: int,
        cout: int,
        *,
        spatial: int = 2,
        width: int = 64,
        blocks: int = 9,
        norm_kind: Norm = "instance",
        upsample: Upsample = "transpose",
        output: Output = "tanh",
    ) -> None:
        super().__init__()
        bias = needs_bias(norm_kind)
        self.stem = nn.Sequential(
            reflect(spatial, 3),
            conv(spatial, cin, width, 7, bias=bias),
            norm(spatial, norm_kind, width),
            nn.ReLU(),
        )
        self.down = nn.Sequential()
        for before, after in ((width, 2 * width), (2 * width, 4 * width)):
            self.down.append(conv(spatial, before, after, 3, stride=2, padding=1, bias=bias))
            self.down.append(norm(spatial, norm_kind, after))
            self.down.append(nn.ReLU())
        self.blocks = nn.Sequential(*[ResidualBlock(spatial, 4 * width, norm_kind) for _ in range(blocks)])
        self.up = nn.Sequential()
        for before, after in ((4 * width, 2 * width), (2 * width, width)):
            self.up.append(up_conv(spatial, before, after, how=upsample, kernel=3, bias=bias))
            self.up.append(norm(spatial, norm_kind, after))
            self.up.append(nn.ReLU())
        self.head = nn.Sequential(reflect(spatial, 3), conv(spatial, width, cout, 7), activation(output))

    def forward(self, x: Float[Tensor, "B Cin *N"]) -> Float[Tensor, "B Cout *N"]:
        """Translate ``x``."""
        y: Tensor = self.head(self.up(self.blocks(self.down(self.stem(x)))))
        return y
