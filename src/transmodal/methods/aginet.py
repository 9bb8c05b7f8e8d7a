"""AGI-Net: convolutions whose channel groups attend to each other and are rolled, sample by sample.

References:
    Learning Modality-Aware Representations: Adaptive Group-wise Interaction Network for Multimodal MRI Synthesis
    (Song, Wu, Hu, Luo, Wei, Wang, Guo, Xu, Zhang, 2025). https://arxiv.org/abs/2411.14684

One layer, for the groups x_i of its features (section numbers of the paper could not be read)::

    A_i  = σ(conv[pool(x_i), pool(shuffle(x)_i)])              cross-group attention
    x̃_i  = x_i ⊙ A_i
    Δ, λ = router(x̃)                                           an offset and a scale for each sample and group
    y    = Σ_i λ_i roll(W_i, Δ_i) ∗ x̃_i                        group-wise rolling

Such layers replace the 3 x 3 convolutions of a ResUNet, whose inputs are all modalities as channels. How it is
trained is not published in a form that we could read; it is compared with pix2pix, so it plays that game here::

    L_G = softplus(-D(x, G(x))) + λ₁ ‖y - G(x)‖₁,      L_D = ½ [softplus(-D(x, y)) + softplus(D(x, G(x)))]

A missing source is a channel of zeros, which no image is. The networks can tell it apart; they
have to be shown such samples, by ``sampling.drop`` or by cases that lack a source.

docs/methods/aginet.md says, line by line, what is published and what is our reading.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.losses.adversarial import Gan
from transmodal.losses.adversary import Adversary
from transmodal.losses.pixel import l1
from transmodal.methods._method import Facts, Objectives, Players
from transmodal.nn import init
from transmodal.nn.cagr import Pool, Rolling, doubts, roll
from transmodal.nn.convnd import Norm, Output, Upsample
from transmodal.nn.patchgan import conditional_critic
from transmodal.nn.resnet import ResNetGenerator
from transmodal.nn.resunet import ResUNet
from transmodal.nn.rolling import Axis, Mode, Path
from transmodal.nn.unet import UNetGenerator

Backbone = Literal["resunet", "pix2pix", "resnet"]
Replace = Literal["all", "encoder", "decoder", "bottleneck", "none"]


class AGINet(nn.Module):
    """The paper's module in its ResUNet, or in the generator of another method.

    Args:
        task: what goes in and what comes out.
        backbone: whose convolutions are replaced: ``resunet`` as in the paper; the U-Net of ``pix2pix`` or the
            ResNet of CycleGAN, as a plug-in.
        width: channels at full size.
        depth: how often a U-Net halves the grid; 8 for pix2pix's own. The ResNet has no such number.
        norm: normalisation of G.
        upsample: of the U-Net of ``pix2pix``: ``transpose`` as published, whose decoders stay as they are because
            a transposed convolution is not rolled, or ``resize``, whose decoders are rolled as well.
        output: ``tanh`` for targets in [-1, 1], ``linear`` for z-scores.
        modality_stem: whether each source has channels of its own after the first layer of the resunet.
        replace: which convolutions: those of the residual blocks on the way down, up, at the bottom, or all;
            of the other backbones all but the first and the last layer. ``none`` leaves the plain backbone.
        groups: n, of channels.
        attention: whether there is cross-group attention.
        rolling: whether kernels are rolled.
        roll_mode: what rolling means: ``shift`` moves features, ``circular`` is the literal word.
        group_axis: whether input or output channels of a kernel are grouped.
        max_offset: bound of |Δ| in voxels of the layer's input.
        attention_pool: what the attention averages over: channels (``spatial``) or space (``channel``).
        attention_kernel: width of its convolution of places; 0 for 5 in slices and 3 in volumes.
        shuffled: whether a group's attention sees the others.
        scaled: whether λ is learnt; else it is 1.
        max_scale: bound of λ, which starts at half of it.
        router_dropout: of the router's features, in training.
        path: how rolled convolutions are computed.
        l1_weight: λ₁.
        gan_weight: of the adversarial term; 0 for no D.
        gan: the game.
        critic_width: channels of the first layer of D.
        critic_layers: strided layers of D.
        critic_weight: of D's objective.
    """

    facts: ClassVar[Facts] = Facts(
        summary="groups of features attend to each other and are rolled against each other",
        paper="https://arxiv.org/abs/2411.14684",
        handles_missing=True,
    )
    training_only: ClassVar[tuple[str, ...]] = ("critic",)

    def __init__(
        self,
        task: Task,
        *,
        backbone: Backbone = "resunet",
        width: int = 64,
        depth: int = 3,
        norm: Norm = "instance",
        upsample: Upsample = "transpose",
        output: Output = "tanh",
        modality_stem: bool = False,
        replace: Replace = "all",
        groups: int = 4,
        attention: bool = True,
        rolling: bool = True,
        roll_mode: Mode = "shift",
        group_axis: Axis = "in",
        max_offset: float = 1.0,
        attention_pool: Pool = "spatial",
        attention_kernel: int = 0,
        shuffled: bool = True,
        scaled: bool = True,
        max_scale: float = 1.0,
        router_dropout: float = 0.2,
        path: Path = "auto",
        l1_weight: float = 100.0,
        gan_weight: float = 1.0,
        gan: Gan = "vanilla",
        critic_width: int = 64,
        critic_layers: int = 3,
        critic_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.l1_weight, self.gan_weight = l1_weight, gan_weight
        how = Rolling(
            groups=groups, attention=attention, rolling=rolling, mode=roll_mode, axis=group_axis,
            max_offset=max_offset, pool=attention_pool, kernel=attention_kernel or {2: 5, 3: 3}[task.spatial],
            shuffled=shuffled, scaled=scaled, max_scale=max_scale,
            dropout=router_dropout, path=path,
        )  # fmt: skip
        if backbone != "resunet" and replace not in ("all", "none"):
            raise ValueError(f"replace = {replace!r}: only the resunet has such a part; give 'all' or 'none'")
        parts = len(task.sources) if modality_stem else 1
        self.generator = _network(
            task, backbone, depth, upsample, parts, width=width, norm_kind=norm, output=output
        )
        self.replaced = tuple(roll(self.generator, how, _which(self.generator, replace)))
        self.doubts = doubts(self.generator, how, norm)
        self.critic = (
            conditional_critic(task, width=critic_width, layers=critic_layers, norm_kind=norm)
            if gan_weight
            else None
        )
        self.adversary = Adversary(self.critic, gan, critic_weight) if self.critic is not None else None
        self.multiple = self.generator.multiple
        if backbone == "resunet" and norm == "instance" and task.size and max(task.size) <= self.multiple:
            size = " x ".join(map(str, task.size))
            raise ValueError(
                f"depth = {depth}: a sample of {size} ends as one voxel, which instance norm cannot normalise; "
                "give longer samples or a smaller depth"
            )

    def players(self) -> Players:
        """G and, unless its weight is 0, D."""
        players: dict[str, dict[str, nn.Module]] = {"generator": {"generator": self.generator}}
        return players if self.critic is None else {**players, "critic": {"critic": self.critic}}

    def objectives(self, batch: Batch) -> Objectives:
        """One step on D, then one on G against the D that has just moved."""
        x, y = batch.source, batch.truth
        fake = self.generator(x)
        terms = {"l1": self.l1_weight * l1(fake, y)}
        if self.adversary is not None:
            yield "critic", {"adversarial": self.adversary.critics_term(y, fake, x)}
            terms["adversarial"] = self.gan_weight * self.adversary.generators_term(fake, x)
        yield "generator", terms

    def readings(self) -> dict[str, Tensor]:
        """Nothing that moves."""
        return {}

    def alarms(self, readings: Mapping[str, float]) -> list[str]:
        """Which layers cannot have the groups that were asked for."""
        return self.doubts

    def translate(self, batch: Batch) -> Float[Tensor, "B Cout *N"]:
        """G(x)."""
        fake: Tensor = self.generator(batch.source)
        return fake


def _network(
    task: Task, backbone: Backbone, depth: int, upsample: Upsample, parts: int, **common: Any
) -> ResUNet | UNetGenerator | ResNetGenerator:
    ends, common = (task.in_channels, task.out_channels), {"spatial": task.spatial, **common}
    if backbone == "resunet":
        return ResUNet(*ends, depth=depth, stem_groups=parts, **common)
    if backbone == "pix2pix":
        return init.normal(UNetGenerator(*ends, depth=depth, upsample=upsample, **common))
    return init.normal(ResNetGenerator(*ends, **common))


def _which(network: nn.Module, replace: Replace) -> Callable[[str, nn.Module], bool]:
    """(name, convolution) → whether it is replaced."""
    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    convolutions = [name for name, module in network.named_modules() if isinstance(module, kinds)]
    ends = {convolutions[0], convolutions[-1]}

    def chosen(name: str, layer: nn.Module) -> bool:
        if replace == "none" or name in ends or name.endswith("shortcut"):
            return False
        if not isinstance(network, ResUNet):
            return True
        wanted = ("encoder", "bottleneck", "decoder") if replace == "all" else (replace,)
        return name.partition(".")[0] in wanted

    return chosen
