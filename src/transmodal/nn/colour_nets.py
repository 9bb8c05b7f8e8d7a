"""The encoder and the decoders of the colouriser, built of gates on channels. Two spatial axes.

References:
    Structurally Consistent MRI Colorization using Cross-modal Fusion Learning (Mathur et al., 2025).
    https://arxiv.org/abs/2412.10452
    Squeeze-and-Excitation Networks (Hu et al., 2018), equations 2 to 4. https://arxiv.org/abs/1709.01507
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from transmodal.nn.convnd import Upsample, conv, norm, reflect, up_conv
from transmodal.nn.resnet import ResidualBlock

Bottleneck = Literal["gate", "gate+conv", "conv", "none"]
"""What a block adds to its input: the gated input, two convolutions, both, or there is no block at all."""


class MultiscaleEncoder(nn.Module):
    """Two steps down, to which features of the image at half and at a quarter of its size are added.

    The two small images are convolved without normalisation and side by side have the channels of the large one.
    At half size a voxel is the mean of 2 × 2, at a quarter the mean of the middle 2 × 2 of 4 × 4: bilinear
    shrinking without a filter against aliasing.

    Args:
        cin: channels in.
        width: channels of the first layer, even; there are four times as many in the end.
        multiscale: whether there are the two small images.
    """

    multiple = 4

    def __init__(self, cin: int, width: int = 128, multiscale: bool = True) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(f"width = {width}: the branches begin with half of it; give an even number")
        self.stem = nn.Sequential(reflect(2, 3), conv(2, cin, width, 7), norm(2, "instance", width), nn.ReLU())
        self.down = nn.Sequential()
        for before, after in ((width, 2 * width), (2 * width, 4 * width)):
            self.down.append(conv(2, before, after, 3, stride=2, padding=1))
            self.down.append(norm(2, "instance", after))
            self.down.append(nn.ReLU())
        self.at_half = _branch(cin, width, stride=2) if multiscale else None
        self.at_quarter = _branch(cin, width, stride=1) if multiscale else None

    def forward(self, image: Float[Tensor, "B Cin X Y"]) -> Float[Tensor, "B C X4 Y4"]:
        """Features of a quarter of the size; ValueError for a size that is not a multiple of 4, or below 8."""
        if any(n % self.multiple or n < 8 for n in image.shape[2:]):
            raise ValueError(
                f"images are halved twice: {list(image.shape[2:])} are not multiples of 4 from 8 on; pad them"
            )
        features: Tensor = self.down(self.stem(image))
        if self.at_half is None or self.at_quarter is None:
            return features
        half = self.at_half(functional.avg_pool2d(image, 2))
        quarter = self.at_quarter(functional.avg_pool2d(image[..., 1:, 1:], 2, stride=4))
        return features + torch.cat([half, quarter], dim=1)


def _branch(cin: int, width: int, stride: int) -> nn.Sequential:
    """Three convolutions; the last one has the stride."""
    return nn.Sequential(
        conv(2, cin, width // 2, 3, padding=1),
        nn.ReLU(),
        conv(2, width // 2, width, 3, padding=1),
        nn.ReLU(),
        conv(2, width, 2 * width, 3, stride=stride, padding=1),
        nn.ReLU(),
    )


class ChannelGate(nn.Module):
    """Squeeze and excitation: every channel is multiplied by a number in (0, 1) that depends on all their means.

    Args:
        channels: in and out.
        reduction: how many times fewer numbers there are in between.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        if reduction < 1 or channels % reduction:
            raise ValueError(f"{channels} channels cannot be squeezed {reduction} times; give a divisor")
        hidden = channels // reduction
        self.gate = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, u: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B C X Y"]:
        """The gated channels."""
        gated: Tensor = u * self.gate(u.mean(dim=(2, 3)))[..., None, None]
        return gated


class CompressionBlock(nn.Module):
    """Feature compression and activation: the shortcut of a block has a gate, u + gate(u); it may convolve, too.

    Args:
        channels: in and out.
        kind: what is added to u.
        reduction: of the gate.
    """

    def __init__(self, channels: int, kind: Bottleneck = "gate", reduction: int = 16) -> None:
        super().__init__()
        self.gate = ChannelGate(channels, reduction) if kind in ("gate", "gate+conv") else None
        self.convolve = ResidualBlock(2, channels).body if kind in ("conv", "gate+conv") else None

    def forward(self, u: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B C X Y"]:
        """``u`` and what the block adds to it."""
        y = u if self.gate is None else u + self.gate(u)
        return y if self.convolve is None else y + self.convolve(u)


class ColourDecoder(nn.Module):
    """Blocks at a quarter of the size, two steps up, and an image in [0, 1].

    Args:
        cout: channels out.
        width: as in the encoder.
        blocks: how many.
        bottleneck: what they do.
        reduction: of their gates.
        upsample: ``transpose`` as published, or ``resize``, which leaves no checkerboard.
    """

    def __init__(
        self,
        cout: int,
        width: int = 128,
        blocks: int = 9,
        bottleneck: Bottleneck = "gate",
        reduction: int = 16,
        upsample: Upsample = "transpose",
    ) -> None:
        super().__init__()
        count = 0 if bottleneck == "none" else blocks
        self.blocks = nn.Sequential(*[CompressionBlock(4 * width, bottleneck, reduction) for _ in range(count)])
        self.up = nn.Sequential()
        for before, after in ((4 * width, 2 * width), (2 * width, width)):
            self.up.append(up_conv(2, before, after, how=upsample, kernel=3))
            # Nine gates in a row make the features many times larger; this takes it off again.
            self.up.append(norm(2, "instance", after))
            self.up.append(nn.ReLU())
        self.head = nn.Sequential(reflect(2, 3), conv(2, width, cout, 7), nn.Sigmoid())

    def forward(self, features: Float[Tensor, "B C X4 Y4"]) -> Float[Tensor, "B Cout X Y"]:
        """The image of these features."""
        image: Tensor = self.head(self.up(self.blocks(features)))
        return image
