"""The encoder and the decoder of Macro2Micro, built of octave convolutions. Two spatial axes.

References:
    Macro2Micro (Kim et al., 2024), whose layers follow AesFA (Kwon et al., AAAI 2024) without style.
    https://arxiv.org/abs/2412.11277, https://arxiv.org/abs/2312.05928

Branches exchange only in convolutions that are not depthwise. Nothing is transposed and nothing skips from encoder
to decoder.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from transmodal.nn.convnd import Borders, Norm, conv, norm
from transmodal.nn.octave import Octave, OctaveConv, both, branch_conv, enlarge, split


class Answer(NamedTuple):
    """What the decoder gives; a branch without channels gives None.

    Attributes:
        image: ŷ.
        high: ŷ_H, from the branch at full size.
        low: ŷ_L, from the branch at half size.
    """

    image: Tensor
    high: Tensor | None
    low: Tensor | None


class Activated(nn.Module):
    """An octave layer, a normalisation of each branch, and LeakyReLU.

    Args:
        layer: gives ``channels`` in two branches.
        channels: of both together.
        alpha: the low branch's share.
        norm_kind: normalisation.
        slope: of LeakyReLU for negative values; 1 for no activation.
    """

    def __init__(self, layer: nn.Module, channels: int, alpha: float, norm_kind: Norm, slope: float) -> None:
        super().__init__()
        self.layer, self.slope = layer, slope
        self.high_norm, self.low_norm = (norm(2, norm_kind, count) for count in split(channels, alpha))

    def forward(self, x: Octave) -> Octave:
        """Both branches."""
        high, low = self.layer(x)
        return Octave(
            None if high is None else leaky_relu(self.high_norm(high), self.slope),
            None if low is None else leaky_relu(self.low_norm(low), self.slope),
        )


class OctaveEncoder(nn.Module):
    """E: an image → features at a quarter (high) and an eighth (low) of its size.

    Args:
        cin: channels in.
        width: channels of the first layer, an even number; 2 and 4 times as many further on.
        alpha: the low branch's share.
        norm_kind: normalisation after every octave layer.
        borders: what the first layer sees outside the image.
        mix: 3 x 3 convolutions that exchange, at the end of each stage.
        slope: of LeakyReLU.
    """

    def __init__(
        self, cin: int, width: int, alpha: float, norm_kind: Norm, borders: Borders, mix: bool, slope: float = 0.2
    ) -> None:
        super().__init__()
        wide, widest = 2 * width, 4 * width

        def activated(layer: nn.Module, channels: int) -> Activated:
            return Activated(layer, channels, alpha, norm_kind, slope)

        def mixed(channels: int) -> list[Activated]:
            layer = OctaveConv(2, channels, channels, 3, alpha_in=alpha, alpha_out=alpha)
            return [activated(layer, channels)] if mix else []

        self.stem = conv(2, cin, width, 7, padding=3, borders=borders)
        self.layers = nn.Sequential(
            activated(OctaveConv(2, width, width, 3, stride=2, alpha_in=0.0, alpha_out=alpha), width),
            activated(OctaveConv(2, width, wide, 1, alpha_in=alpha, alpha_out=alpha), wide),
            *mixed(wide),
            activated(branch_conv(2, wide, 3, stride=2, alpha=alpha, depthwise=True), wide),
            activated(OctaveConv(2, wide, widest, 1, alpha_in=alpha, alpha_out=alpha), widest),
            *mixed(widest),
        )

    def forward(self, x: Float[Tensor, "B Cin X Y"]) -> Octave:
        """Features of both branches."""
        features: Octave = self.layers(Octave(self.stem(x), None))
        return features


class OctaveDecoder(nn.Module):
    """G: features of both branches → the image, and what each branch adds to it.

    Args:
        cout: channels out.
        width: channels of the last octave layer; it begins with 4 times as many.
        alpha: the low branch's share.
        norm_kind: normalisation after every octave layer but the last.
        slope: of LeakyReLU after the same; 1 for none.
    """

    def __init__(self, cout: int, width: int, alpha: float, norm_kind: Norm, slope: float) -> None:
        super().__init__()

        def stage(cin: int, cout: int) -> nn.Sequential:
            return nn.Sequential(
                Activated(branch_conv(2, cin, 3, alpha=alpha, depthwise=True), cin, alpha, norm_kind, slope),
                Activated(
                    OctaveConv(2, cin, cout, 1, alpha_in=alpha, alpha_out=alpha), cout, alpha, norm_kind, slope
                ),
            )

        def smooth(channels: int) -> nn.Module:
            return branch_conv(2, channels, 3, alpha=alpha, bias=True)

        self.stages = nn.ModuleList([stage(4 * width, 2 * width), stage(2 * width, width)])
        self.smooth = nn.ModuleList([smooth(2 * width), smooth(width)])
        self.last = Activated(
            branch_conv(2, width, 3, alpha=alpha, depthwise=True), width, alpha, norm_kind, slope
        )
        self.merge = OctaveConv(2, width, width // 2, 1, alpha_in=alpha, alpha_out=0.0)
        self.head = conv(2, width // 2, cout, 1)

    def forward(self, features: Octave) -> Answer:
        """The image and its two parts: image = high + low - bias of the head."""
        x = features
        for stage, smooth in zip(self.stages, self.smooth, strict=True):
            # Enlarge first, then convolve: after layers wider than 1 × 1 that keeps the checkerboard away.
            x = smooth(both(stage(x), enlarge))
        (high, low), _ = self.merge.parts(self.last(x))
        if high is None or low is None:
            image = self.head(low if high is None else high)
            return Answer(image, None, None)
        return Answer(self.head(high + low), self.head(high), self.head(low))
