"""MaskedUNet: the generator of MRNet. A U-Net whose skips carry the features of an encoder and pass masks.

Section 2 of our reading of MRNet (https://arxiv.org/abs/2412.03039), after pix2pix and ResViT: the order of parts
is published; widths and layers are ours.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from transmodal.nn.convnd import Output, activation, conv, norm
from transmodal.nn.encoder import FeatureMap, tap_of
from transmodal.nn.fusion import Fuse, Fusion
from transmodal.nn.masks import Masked, MaskSettings, MaskStack

Dual = Literal["complement", "source", "site"]
"""What "dual" in dual-mask means.

``complement``: each mask has two faces, what passes and what it discards. ``source``: one set of masks for the
features of the U-Net and one for those of the encoder. ``site``: masks on the skips and on the last features.
"""


class Translation(NamedTuple):
    """What the generator makes.

    Attributes:
        image: ŷ.
        sites: site → what its masks did.
    """

    image: Tensor
    sites: dict[str, Masked]


class MaskedUNet(nn.Module):
    """Encoder, fusion, masks, light decoder.

    Args:
        cin: channels in.
        cout: channels out.
        given: channels of the encoder's maps; empty for no encoder.
        width: channels at full size; twice as many by each step down, up to eight times.
        stages: grids, of which each is half the one before.
        output: the last layer.
        fuse: how the encoder's features enter.
        fuse_stages: at which stages, 0 for full size.
        zero_init: whether fusion starts as nothing.
        masks: what a stack of masks is.
        mask_stages: stages whose features pass masks.
        dual: the reading of "dual".
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        *,
        given: Sequence[int] = (),
        width: int = 64,
        stages: int = 5,
        output: Output = "tanh",
        fuse: Fuse = "concat",
        fuse_stages: Sequence[int] = (1, 2, 3, 4),
        zero_init: bool = False,
        masks: MaskSettings | None = None,
        mask_stages: Sequence[int] = (0, 1, 2, 3, 4),
        dual: Dual = "complement",
    ) -> None:
        super().__init__()
        masks = masks or MaskSettings()
        for key, chosen in (("fuse_stages", fuse_stages), ("mask_stages", mask_stages)):
            if not set(chosen) <= set(range(stages)):
                raise ValueError(f"{key} = {list(chosen)}: there are stages 0 to {stages - 1}")
        if width < 1:
            raise ValueError(f"width = {width}: give 1 or more")
        if stages < 2:
            raise ValueError(f"stages = {stages}: a U-Net has at least 2")
        self.multiple = 2 ** (stages - 1)
        widths = [width * min(2**stage, 8) for stage in range(stages)]
        fused = tuple(fuse_stages) if given and fuse != "none" else ()
        self.taps = {stage: tap_of(stage, given, stages - 1) for stage in fused}
        mask_stages = mask_stages if masks.count else ()

        self.encoder = nn.ModuleList([nn.Sequential(*_layer(cin, width, 3), *_layer(width, width, 3))])
        for before, after in pairwise(widths):
            self.encoder.append(nn.Sequential(*_layer(before, after, 4, stride=2), *_layer(after, after, 3)))
        self.fusion = nn.ModuleDict(
            {
                str(stage): Fusion(
                    widths[stage],
                    given[tap],
                    # Two sets of masks are the mixture: the encoder's features are only brought there.
                    mode="add" if dual == "source" else fuse,
                    zero_init=zero_init,
                )
                for stage, tap in self.taps.items()
            }
        )
        self.masks = nn.ModuleDict({f"stage{stage}": MaskStack(widths[stage], masks) for stage in mask_stages})
        if dual == "source":
            both = [stage for stage in mask_stages if stage in self.taps]
            self.masks.update({f"given{stage}": MaskStack(widths[stage], masks) for stage in both})
        if dual == "site" and masks.count:
            self.masks["output"] = MaskStack(width, masks)
        self.dual = dual
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        for before, after in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.up.append(conv(2, before, after, 3, padding=1))
            self.decoder.append(nn.Sequential(*_layer(2 * after, after, 3)))
        self.head = nn.Sequential(conv(2, width, cout, 3, padding=1), activation(output))

    def forward(self, x: Float[Tensor, "B C X Y"], given: Sequence[FeatureMap] = ()) -> Translation:
        """ŷ and what the masks did. ``given`` are the encoder's maps; what is not fused is not looked at.

        Raises:
            ValueError: a size that cannot be halved so often.
        """
        if any(n % self.multiple for n in x.shape[2:]):
            raise ValueError(f"sizes must be multiples of {self.multiple}, not {list(x.shape[2:])}")
        sites: dict[str, Masked] = {}
        skips = []
        for stage, block in enumerate(self.encoder):
            x = block(x)
            skips.append(self._correct(stage, x, given, sites))
        y = skips.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            y = up(functional.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False))
            y = block(torch.cat([y, skips.pop()], dim=1))
        y = self._mask("output", y, sites)
        return Translation(self.head(y), sites)

    def _correct(
        self, stage: int, own: Tensor, given: Sequence[FeatureMap], sites: dict[str, Masked]
    ) -> Float[Tensor, "B C X Y"]:
        """The skip of a stage: fused, and then masked."""
        tap = self.taps.get(stage)
        if tap is None:
            return self._mask(f"stage{stage}", own, sites)
        fusion = self.fusion[str(stage)]
        if self.dual != "source":
            return self._mask(f"stage{stage}", fusion(own, given[tap], 2**stage), sites)
        assert isinstance(fusion, Fusion)
        brought = fusion.bring(given[tap], 2**stage, (own.shape[2], own.shape[3]))
        return self._mask(f"stage{stage}", own, sites) + self._mask(f"given{stage}", brought, sites)

    def _mask(self, site: str, features: Tensor, sites: dict[str, Masked]) -> Float[Tensor, "B C X Y"]:
        if site not in self.masks:
            return features
        masked: Masked = self.masks[site](features)
        sites[site] = masked
        return masked.output


def _layer(cin: int, cout: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    layer = conv(2, cin, cout, kernel, stride=stride, padding=1, bias=False)
    return [layer, norm(2, "instance", cout, affine=True), nn.LeakyReLU(0.2)]
