"""Masks: features pass several learned masks, drawn in parallel and laid on one after another.

Section 2.5 of our reading of MRNet (https://arxiv.org/abs/2412.03039): that there are three parallel masks with
convolutions of their own, used in sequence, is published; the layers are ours.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from transmodal.nn.convnd import conv, norm

Refine = Literal["conv", "depthwise", "none"]
"""ρ, what follows each mask. With ``none`` the masks commute and are worth no more than their product."""


@dataclass(frozen=True)
class MaskSettings:
    """What a stack of masks is.

    Attributes:
        count: how many masks, K; 0 for none.
        refine: what follows each.
        per_channel: whether every channel has a mask of its own.
        bias: of the logits at the start; 2 lets 88 % pass each mask.
    """

    count: int = 3
    refine: Refine = "conv"
    per_channel: bool = False
    bias: float = 2.0

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"mask_count = {self.count}: give 0 or more")


class Masked(NamedTuple):
    """What masks did at one site.

    Attributes:
        output: X_K (B, C, X, Y).
        masks: M_1 … M_K (B, 1 or C, X, Y), in [0, 1].
        inputs: X_0 … X_{K-1}: what each mask was laid on.
    """

    output: Tensor
    masks: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]


class MaskStack(nn.Module):
    """M_k = σ(g_k(F)) from the same F; X_0 = F, X_k = ρ_k(X_{k-1} M_k).

    Args:
        channels: of F.
        settings: how many masks, and of what kind.

    Attributes:
        forced: numbers of masks that are replaced by 1, to see what they do; none in training.
    """

    def __init__(self, channels: int, settings: MaskSettings) -> None:
        super().__init__()
        self.forced: frozenset[int] = frozenset()
        hidden, out = max(16, channels // 4), channels if settings.per_channel else 1
        self.heads, self.refine = nn.ModuleList(), nn.ModuleList()
        for _ in range(settings.count):
            last = conv(2, hidden, out, 1)
            nn.init.constant_(last.get_parameter("bias"), settings.bias)
            self.heads.append(
                nn.Sequential(
                    conv(2, channels, hidden, 3, padding=1, bias=False),
                    norm(2, "instance", hidden, affine=True),
                    nn.ReLU(),
                    last,
                )
            )
            self.refine.append(_refinement(channels, settings.refine))

    def forward(self, features: Float[Tensor, "B C X Y"]) -> Masked:
        """The features that pass, and what passed where."""
        masks = [torch.sigmoid(head(features)) for head in self.heads]
        masks = [torch.ones_like(m) if k in self.forced else m for k, m in enumerate(masks)]
        x, inputs = features, []
        for mask, refine in zip(masks, self.refine, strict=True):
            inputs.append(x)
            x = refine(x * mask)
        return Masked(x, tuple(masks), tuple(inputs))


class _Residual(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(2, channels, channels, 3, padding=1, bias=False, groups=groups),
            norm(2, "instance", channels, affine=True),
            nn.LeakyReLU(0.2),
        )

    def forward(self, x: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B C X Y"]:
        y: Tensor = x + self.layers(x)
        return y


def _refinement(channels: int, refine: Refine) -> nn.Module:
    if refine == "none":
        return nn.Identity()
    return _Residual(channels, channels if refine == "depthwise" else 1)
