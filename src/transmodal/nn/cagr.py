"""Cross-group attention and group-wise rolling: a convolution that moves groups of features against each other.

References:
    Learning Modality-Aware Representations: Adaptive Group-wise Interaction Network for Multimodal MRI Synthesis
    (Song et al., 2025). https://arxiv.org/abs/2411.14684
    Its routing function follows ARC (Pu et al., 2023, https://arxiv.org/abs/2303.07820) and GRA (Wang et al.,
    2024, https://arxiv.org/abs/2403.11127), which rotate where this rolls.

Parameters beside the kernel, for C channels, n groups and S axes: the router has 3^S C + 2 C + n (C + 1) + S n C,
the attention n (2 k^S + 1) for ``spatial`` and 2 C² / n + C for ``channel``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from transmodal.nn.convnd import Norm, conv
from transmodal.nn.precision import full_precision
from transmodal.nn.rolling import Axis, Mode, Path, possible, rolled_conv, shuffle

Pool = Literal["spatial", "channel"]


@dataclass(frozen=True)
class Rolling:
    """How convolutions are replaced; what the paper leaves open is named here.

    Attributes:
        groups: n. A layer whose channels it does not divide takes the largest common divisor.
        attention: whether features are attended to before they are convolved.
        rolling: whether kernels are rolled.
        mode: what rolling means.
        axis: whose channels are grouped when a kernel is rolled.
        max_offset: bound of |Δ|, in voxels of the layer's input.
        pool: what the attention averages over: ``channel`` averages space and weighs channels, ``spatial``
            averages channels and weighs places.
        kernel: width of the attention's convolution of places.
        shuffled: whether the attention of a group sees the others.
        scaled: whether λ is learnt; else it is 1.
        max_scale: bound of λ, which starts at half of it.
        dropout: of the router's features, in training.
        path: how rolled convolutions are computed.
    """

    groups: int = 4
    attention: bool = True
    rolling: bool = True
    mode: Mode = "shift"
    axis: Axis = "in"
    max_offset: float = 1.0
    pool: Pool = "spatial"
    kernel: int = 5
    shuffled: bool = True
    scaled: bool = True
    max_scale: float = 1.0
    dropout: float = 0.2
    path: Path = "auto"

    def __post_init__(self) -> None:
        if self.groups < 1 or not self.max_offset > 0 or not self.max_scale > 0 or self.kernel % 2 == 0:
            raise ValueError(
                f"groups = {self.groups}, max_offset = {self.max_offset}, max_scale = {self.max_scale}, "
                f"attention_kernel = {self.kernel}: at least 1, above 0, above 0, and odd"
            )
        if self.path != "auto" and self.path not in possible(self.mode, self.axis, 1):
            raise ValueError(
                f"path = {self.path!r} cannot roll with roll_mode = {self.mode!r}, group_axis = {self.axis!r}"
            )


class CrossGroupAttention(nn.Module):
    """x_i ⊙ σ(conv[pool(x_i), pool(shuffle(x)_i)]) for each group i.

    Args:
        spatial: number of spatial axes.
        channels: in and out.
        groups: of channels, contiguous.
        pool: see :class:`Rolling`.
        kernel: of the convolution of places.
        shuffled: False shows each group itself twice.
    """

    def __init__(
        self,
        spatial: int,
        channels: int,
        groups: int,
        *,
        pool: Pool = "spatial",
        kernel: int = 5,
        shuffled: bool = True,
    ) -> None:
        super().__init__()
        self.groups, self.pool, self.shuffled = groups, pool, shuffled
        if pool == "spatial":
            self.conv = conv(spatial, 2 * groups, groups, kernel, padding=kernel // 2, groups=groups)
        else:
            self.conv = conv(spatial, 2 * channels, channels, 1, groups=groups)
        nn.init.trunc_normal_(_weight(self.conv), std=0.02)
        nn.init.zeros_(_bias(self.conv))

    def forward(self, x: Float[Tensor, "B C *N"]) -> Float[Tensor, "B C *N"]:
        """Attended features."""
        return x * self.map(x)

    def map(self, x: Float[Tensor, "B C *N"]) -> Float[Tensor, "B C *M"]:
        """A in (0, 1): equal over the channels of a group for ``spatial``, over space for ``channel``."""
        own = self._pooled(x)
        others = self._pooled(shuffle(x, self.groups)) if self.shuffled else own
        # (B, G, 2 values, places …): each group's own beside the shuffled one.
        pairs = torch.stack([own, others], dim=2).flatten(2, 3).flatten(1, 2)
        weights = torch.sigmoid(self.conv(pairs))
        return weights.repeat_interleave(x.shape[1] // weights.shape[1], dim=1)

    def _pooled(self, x: Tensor) -> Tensor:
        groups = x.unflatten(1, (self.groups, -1))
        if self.pool == "spatial":
            return groups.mean(dim=2, keepdim=True)
        return groups.mean(dim=tuple(range(3, groups.ndim)), keepdim=True)


class Router(nn.Module):
    """Features → an offset and a scale for each sample and group. In float32, whatever the precision around it.

    Args:
        spatial: number of spatial axes.
        channels: of the features.
        groups: how many offsets and scales.
        max_offset: |Δ| stays below it.
        dropout: of the pooled features.
        scaled: whether λ is learnt, from about half of ``max_scale``; else it is 1.
        max_scale: λ stays below it.
    """

    def __init__(
        self,
        spatial: int,
        channels: int,
        groups: int,
        *,
        max_offset: float,
        dropout: float,
        scaled: bool,
        max_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.groups, self.spatial, self.max_offset, self.max_scale = groups, spatial, max_offset, max_scale
        self.depthwise = conv(spatial, channels, channels, 3, padding=1, bias=False, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        self.offset = nn.Linear(channels, groups * spatial, bias=False)
        self.scale = nn.Linear(channels, groups) if scaled else None
        # Not zero: see transmodal.nn.rolling.fractions.
        for layer in (self.depthwise, self.offset, self.scale):
            if layer is not None:
                nn.init.trunc_normal_(_weight(layer), std=0.02)

    def forward(self, x: Float[Tensor, "B C *N"]) -> tuple[Float[Tensor, "B G S"], Float[Tensor, "B G"]]:
        """Δ in voxels, and λ."""
        with full_precision(x):
            features = functional.relu(self.norm(self.depthwise(x.float()).movedim(1, -1)))
            pooled = features.flatten(1, -2).mean(dim=1)
            moved = self.offset(self.dropout(pooled)).unflatten(1, (self.groups, -1))
            offset = self.max_offset * functional.softsign(moved)
            if self.scale is None:
                return offset, offset.new_ones(offset.shape[:2])
            return offset, self.max_scale * torch.sigmoid(self.scale(self.dropout(pooled)))


class RolledConv(nn.Module):
    """What stands in the place of a convolution: attention, router, rolled convolution.

    Args:
        spatial: number of spatial axes.
        cin: channels in.
        cout: channels out.
        kernel: its width.
        rolling: how.
        stride: as in a convolution.
        padding: with zeros.
        bias: whether there is one; the paper's ancestors have none.
    """

    def __init__(
        self,
        spatial: int,
        cin: int,
        cout: int,
        kernel: int,
        rolling: Rolling,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.rolling, self.stride, self.padding = rolling, stride, padding
        rolled = cin if rolling.axis == "in" else cout
        groups = math.gcd(rolled, rolling.groups)
        self.attention = (
            CrossGroupAttention(
                spatial, cin, math.gcd(cin, rolling.groups),
                pool=rolling.pool, kernel=rolling.kernel, shuffled=rolling.shuffled,
            )
            if rolling.attention
            else nn.Identity()
        )  # fmt: skip
        self.router = (
            Router(
                spatial, cin, groups,
                max_offset=rolling.max_offset, dropout=rolling.dropout, scaled=rolling.scaled,
                max_scale=rolling.max_scale,
            )
            if rolling.rolling
            else None
        )  # fmt: skip
        self.weight = nn.Parameter(torch.empty(cout, cin, *[kernel] * spatial))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(cout)) if bias else None

    def forward(self, x: Float[Tensor, "B Cin *N"]) -> Float[Tensor, "B Cout *M"]:
        """Attend, route, roll, convolve."""
        x = self.attention(x)
        spatial = self.weight.ndim - 2
        if self.router is None:
            plain = {2: functional.conv2d, 3: functional.conv3d}[spatial]
            return plain(x, self.weight, self.bias, self.stride, self.padding)
        offset, scale = self.router(x)
        how = self.rolling
        y = rolled_conv(
            x, self.weight, offset, scale,
            mode=how.mode, axis=how.axis, stride=self.stride, padding=self.padding,
            reach=math.ceil(how.max_offset), path=how.path,
        )  # fmt: skip
        return y if self.bias is None else y + self.bias.view(-1, *[1] * spatial)


def roll(network: nn.Module, rolling: Rolling, which: Callable[[str, nn.Module], bool]) -> list[str]:
    """Put rolled convolutions in the place of ordinary ones, with their weights; in place.

    Args:
        network: any network of the package.
        rolling: how.
        which: (name, convolution) → whether it is replaced. Grouped and dilated ones, and padding that is not with
            zeros, are left alone.

    Returns:
        Names of what was replaced.
    """
    found = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d) and _is_plain(module) and which(name, module)
    ]
    for name, module in found:
        layer = RolledConv(
            len(module.kernel_size), module.in_channels, module.out_channels, module.kernel_size[0], rolling,
            stride=module.stride[0], padding=int(module.padding[0]), bias=module.bias is not None,
        )  # fmt: skip
        with torch.no_grad():
            layer.weight.copy_(module.weight)
            if layer.bias is not None and module.bias is not None:
                layer.bias.copy_(module.bias)
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, layer)
    return [name for name, _ in found]


def doubts(network: nn.Module, rolling: Rolling, norm: Norm) -> list[str]:
    """What the rolled layers of a network cannot do with the groups that were asked for, in sentences.

    Args:
        network: after :func:`roll`.
        rolling: how.
        norm: what follows the layers.
    """
    found = []
    layers = [module for module in network.modules() if isinstance(module, RolledConv)]
    widths = [layer.weight.shape[1 if rolling.axis == "in" else 0] for layer in layers]
    if fewer := sorted({(n, math.gcd(n, rolling.groups)) for n in widths if n % rolling.groups}):
        said = ", ".join(f"{own} of {channels}" for channels, own in fewer)
        found.append(f"groups = {rolling.groups} does not divide the channels of some layers; they have: {said}")
    attended = {(layer.weight.shape[1], math.gcd(layer.weight.shape[1], rolling.groups)) for layer in layers}
    few = sorted((channels, own) for channels, own in attended if channels // own < own)
    if few and rolling.attention and rolling.shuffled:
        said = ", ".join(f"{channels // own} of {own} in layers of {channels}" for channels, own in few)
        found.append(f"too few channels for the shuffle to show every group to every other: groups seen: {said}")
    if layers and rolling.rolling and rolling.scaled and rolling.axis == "out" and norm == "instance":
        found.append(
            "instance normalisation cancels the scale of output groups; take group_axis = 'in', or 'batch'"
        )
    return found


def _is_plain(layer: nn.Conv2d | nn.Conv3d) -> bool:
    sizes = (layer.kernel_size, layer.stride, layer.padding)
    return (
        layer.groups == 1
        and set(layer.dilation) == {1}
        and layer.padding_mode == "zeros"
        and all(not isinstance(size, str) and len(set(size)) == 1 for size in sizes)
    )


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def _bias(layer: nn.Module) -> Tensor:
    bias = layer.bias
    assert isinstance(bias, Tensor)
    return bias
