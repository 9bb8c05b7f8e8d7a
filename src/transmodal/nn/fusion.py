"""Fusion: features of an encoder enter one stage of a U-Net, at that stage's resolution.

Section 2.3 of our reading of MRNet (https://arxiv.org/abs/2412.03039); the formulas are ours, the paper's could
not be read. Resampling keeps centres in place: token i of a map with stride s lies at (i + ½) s - ½.
"""

from typing import Literal, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from transmodal.nn.convnd import conv, norm
from transmodal.nn.encoder import FeatureMap

Fuse = Literal["concat", "add", "gate", "film", "none"]
"""How features A enter those of a stage, E; Φ and γ, β are convolutions.

``concat``: E + Φ[E, A]. ``add``: E + A. ``gate``: E + σ(γ[E, A]) A. ``film``: (1 + γ(A)) IN(E) + β(A).
``none``: E.
"""


def align(values: Float[Tensor, "B C X Y"], ratio: float, size: tuple[int, int]) -> Float[Tensor, "B C H W"]:
    """A map on a stage's grid.

    Args:
        values: the map.
        ratio: voxels of the stage for each of the map: above 1 it is enlarged bilinearly, below 1 averaged.
        size: of the stage; what the resampled map has more is cut off at the far ends.
    """
    grid = (round(values.shape[2] * ratio), round(values.shape[3] * ratio))
    if grid[0] > values.shape[2]:
        values = functional.interpolate(values, grid, mode="bilinear", align_corners=False)
    elif grid[0] < values.shape[2]:
        values = functional.adaptive_avg_pool2d(values, grid)
    return values[..., : size[0], : size[1]]


class Fusion(nn.Module):
    """A 1 x 1 projection, one scale for all channels, the stage's grid, a 3 x 3 convolution, and the mixture.

    Args:
        channels: of the stage.
        given: of the encoder's map.
        mode: how both are mixed.
        zero_init: whether the last convolution starts at zero. Training then starts from the plain U-Net (with
            ``film`` from one whose skips are normalised).
    """

    def __init__(self, channels: int, given: int, *, mode: Fuse = "concat", zero_init: bool = False) -> None:
        super().__init__()
        self.mode = mode
        self.project = conv(2, given, channels, 1)
        # SAM's channels have very uneven scales: one mean and one deviation for all of an image's.
        self.norm = nn.GroupNorm(1, channels)
        last = self.settle = conv(2, channels, channels, 3, padding=1)
        if mode == "concat":
            last = conv(2, channels, channels, 3, padding=1)
            self.mix = nn.Sequential(
                conv(2, 2 * channels, channels, 1, bias=False),
                norm(2, "instance", channels, affine=True),
                nn.LeakyReLU(0.2),
                last,
            )
        elif mode == "gate":
            self.mix = nn.Sequential(conv(2, 2 * channels, channels, 1), nn.Sigmoid())
        elif mode == "film":
            last = conv(2, channels, 2 * channels, 1)
            self.mix = nn.Sequential(last)
            self.plain = norm(2, "instance", channels)
        if zero_init:
            nn.init.zeros_(last.get_parameter("weight"))
            nn.init.zeros_(last.get_parameter("bias"))

    def bring(self, given: FeatureMap, step: int, size: tuple[int, int]) -> Float[Tensor, "B C H W"]:
        """A: the encoder's map on the grid of a stage that has a voxel for ``step`` of the image."""
        projected = self.norm(self.project(given.values))
        brought: Tensor = self.settle(align(projected, given.stride / step, size))
        return brought

    def forward(self, own: Float[Tensor, "B C H W"], given: FeatureMap, step: int) -> Float[Tensor, "B C H W"]:
        """F: the stage's features with those of the encoder in them."""
        brought = self.bring(given, step, (own.shape[2], own.shape[3]))
        if self.mode == "add":
            return own + brought
        if self.mode == "film":
            scale, shift = self.mix(brought).chunk(2, dim=1)
            return (1 + scale) * self.plain(own) + shift
        first, *rest = self.mix
        mixed = _beside(cast(nn.Conv2d, first), own, brought)
        for layer in rest:
            mixed = layer(mixed)
        return own + mixed * brought if self.mode == "gate" else own + mixed


def _beside(
    pointwise: nn.Conv2d, own: Float[Tensor, "B C H W"], brought: Float[Tensor, "B C H W"]
) -> Float[Tensor, "B D H W"]:
    """A 1 x 1 convolution of both, one after the other: laying them side by side takes longer than convolving."""
    of_own, of_brought = pointwise.weight.split(own.shape[1], dim=1)
    return functional.conv2d(own, of_own, pointwise.bias) + functional.conv2d(brought, of_brought)
