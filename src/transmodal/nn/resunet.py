"""ResUNet: a U-Net of residual blocks, the backbone of AGI-Net.

References:
    Road Extraction by Deep Residual U-Net (Zhang et al., 2018). https://arxiv.org/abs/1711.10684

Widths, normalisation and sampling are our reading of what AGI-Net calls a ResUnet; its layers are not published.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from transmodal.nn.convnd import Norm, Output, activation, conv, norm


class ResidualBlock(nn.Module):
    """conv - norm - ReLU - conv - norm, plus the input (through 1 x 1 where channels differ), then ReLU."""

    def __init__(self, spatial: int, cin: int, cout: int, norm_kind: Norm) -> None:
        super().__init__()

        def layer(before: int) -> nn.Module:
            return conv(spatial, before, cout, 3, padding=1, bias=norm_kind == "none")

        self.first, self.second = layer(cin), layer(cout)
        self.first_norm, self.second_norm = (norm(spatial, norm_kind, cout, affine=True) for _ in range(2))
        self.shortcut = conv(spatial, cin, cout, 1, bias=False) if cin != cout else nn.Identity()

    def forward(self, x: Float[Tensor, "B Cin *N"]) -> Float[Tensor, "B Cout *N"]:
        """Both ways, added."""
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return functional.relu(y + self.shortcut(x))


class ResUNet(nn.Module):
    """A residual block per level on the way down and up, skips by concatenation.

    Args:
        cin: channels in.
        cout: channels out.
        spatial: number of spatial axes; each a multiple of ``2 ** depth``, and longer.
        depth: how often the grid is halved.
        width: channels at full size; doubled by each step down.
        norm_kind: normalisation; ``instance`` has a learnt scale and shift.
        output: the last layer.
        stem_groups: of the first layer: channels that come from a part of the input each.
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        *,
        spatial: int = 2,
        depth: int = 3,
        width: int = 64,
        norm_kind: Norm = "instance",
        output: Output = "tanh",
        stem_groups: int = 1,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"a U-Net of depth {depth} does not go down at all; give at least 1")
        if cin % stem_groups or width % stem_groups:
            raise ValueError(
                f"width = {width}: {stem_groups} sources cannot have equal shares of it in the first layer"
            )
        self.multiple = 2**depth
        widths = [width * 2**level for level in range(depth + 1)]
        steps = list(pairwise(widths))

        def block(before: int, after: int) -> nn.Module:
            return ResidualBlock(spatial, before, after, norm_kind)

        self.stem = conv(spatial, cin, width, 3, padding=1, groups=stem_groups)
        self.encoder = nn.ModuleList([block(w, w) for w in widths[:-1]])
        self.down = nn.ModuleList([conv(spatial, a, b, 2, stride=2) for a, b in steps])
        self.bottleneck = block(widths[-1], widths[-1])
        self.up = nn.ModuleList([double(spatial, b, a) for a, b in steps[::-1]])
        self.decoder = nn.ModuleList([block(2 * w, w) for w in widths[-2::-1]])
        self.head = nn.Sequential(conv(spatial, width, cout, 3, padding=1), activation(output))

    def forward(self, x: Float[Tensor, "B Cin *N"]) -> Float[Tensor, "B Cout *N"]:
        """Translate ``x``."""
        x = self.stem(x)
        skips = []
        for block, down in zip(self.encoder, self.down, strict=True):
            x = block(x)
            skips.append(x)
            x = down(x)
        x = self.bottleneck(x)
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat([skips.pop(), up(x)], dim=1))
        y: Tensor = self.head(x)
        return y


def double(spatial: int, cin: int, cout: int) -> nn.Module:
    """A transposed convolution of 2 voxels with a stride of 2: every voxel becomes 2 x 2, none overlap."""
    kind = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[spatial]
    return kind(cin, cout, 2, stride=2)
