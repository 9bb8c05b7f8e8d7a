"""MRNet: features of a frozen Segment Anything encoder in the skips of a U-Net, corrected by masks.

References:
    MRNet: Multifaceted Resilient Networks for Medical Image-to-Image Translation (2024).
    https://arxiv.org/abs/2412.03039

With x the source, y the target, Z an encoder's features, E_s those of stage s of the U-Net::

    F_s = fuse(E_s, Z)                                          resolution-aware fusion
    M_k = σ(g_k(F_s)),   X_0 = F_s,   X_k = ρ_k(X_{k-1} M_k)    three parallel masks, used in sequence
    ŷ   = decoder(X_K of every stage)
    L_G = λ_adv (D(x, ŷ) - 1)² + λ₁ ‖y - ŷ‖₁ + λ_fd L_fd + λ_ms L_ms,   L_D = ½ [(D(x, y) - 1)² + D(x, ŷ)²]

Only the abstract and summaries of the paper could be read, and no official code exists: no equation here is the
paper's own. docs/methods/mrnet.md says, line by line, what is published and what is our reading.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.losses.adversarial import Gan
from transmodal.losses.adversary import Adversary
from transmodal.losses.mask_terms import Discarding, feature_discarding, mask_readings, mask_sparsity
from transmodal.losses.pixel import body_l1
from transmodal.methods._method import Facts, Objectives, Players
from transmodal.nn.convnd import Output
from transmodal.nn.encoder import ConvPyramid, FeatureMap, PretrainedEncoder
from transmodal.nn.feature_cache import Precision
from transmodal.nn.fusion import Fuse
from transmodal.nn.masked_unet import Dual, MaskedUNet, Translation
from transmodal.nn.masks import MaskSettings, Refine
from transmodal.nn.patchgan import conditional_critic
from transmodal.nn.sam import Taps, sam

Encoding = Literal[
    "sam_vit_b", "sam_vit_l", "sam_vit_h", "medsam_vit_b", "sam_tiny", "sam2_hiera_tiny", "sam2_hiera_small",
    "sam2_hiera_base_plus", "sam2_hiera_large", "conv_pyramid", "none",
]  # fmt: skip


class MRNet(nn.Module):
    """Our reading of the paper; ``recipes/mrnet_paper.toml`` has its sizes.

    Args:
        task: what goes in and what comes out.
        width: channels of the U-Net at full size.
        stages: grids of the U-Net; sizes are multiples of ``2 ** (stages - 1)``.
        output: ``tanh`` for targets in [-1, 1], ``linear`` for z-scores.
        encoder: whose features are fused; ``sam_tiny`` has no published weights and is for tests,
            ``conv_pyramid`` learns with the rest, ``none`` leaves a plain U-Net with masks.
        encoder_size: edge of the images it is given, in voxels; 0 for its native size.
        encoder_taps: of a ViT: outputs of its four global blocks, or its neck.
        encoder_frozen: False lets it learn; its weights are then part of the Model.
        encoder_weights: path of its file; empty for the caches, ``random`` for random weights even where there is
            a file (with ``allow_random``): the control for what pretraining is worth.
        encoder_sha256: the digest that the file must have; empty for the published one, where there is one.
        encoder_cache: keep its features on disk in this precision while training; ``none`` computes them anew.
        allow_random: train with random weights of the encoder where there is no file; every output then says so.
        fuse_mode: how features enter a stage.
        fuse_stages: which stages they enter, 0 for full size.
        zero_init: whether fusion starts as nothing, and training from the U-Net.
        mask_count: K.
        mask_stages: stages whose features pass masks.
        mask_dual: the reading of "dual".
        mask_refine: ρ.
        mask_per_channel: whether each channel has a mask of its own.
        mask_bias: of the masks' logits at the start.
        l1_weight: λ₁.
        l1_body_weight: weight of voxels in the mask, where those outside count 1.
        gan_weight: λ_adv; 0 for no D.
        gan: the game.
        critic_width: channels of the first layer of D.
        critic_layers: strided layers of D.
        critic_weight: of D's objective.
        discarding_weight: λ_fd.
        discarding: the formula of L_fd.
        sparsity_weight: λ_ms.
        sparsity_rate: the share that masks should pass; None charges all that passes.
        mask_ramp: steps over which both mask terms rise to their weight.
    """

    facts: ClassVar[Facts] = Facts(
        summary="features of a frozen SAM encoder in the skips of a U-Net, corrected by masks",
        paper="https://arxiv.org/abs/2412.03039",
        spatial=(2,),
    )
    training_only: ClassVar[tuple[str, ...]] = ("critic",)

    def __init__(
        self,
        task: Task,
        *,
        width: int = 64,
        stages: int = 5,
        output: Output = "tanh",
        encoder: Encoding = "sam_vit_b",
        encoder_size: int = 512,
        encoder_taps: Taps = "blocks",
        encoder_frozen: bool = True,
        encoder_weights: str = "",
        encoder_sha256: str = "",
        encoder_cache: Precision | Literal["none"] = "none",
        allow_random: bool = False,
        fuse_mode: Fuse = "concat",
        fuse_stages: tuple[int, ...] = (1, 2, 3, 4),
        zero_init: bool = True,
        mask_count: int = 3,
        mask_stages: tuple[int, ...] = (0, 1, 2, 3, 4),
        mask_dual: Dual = "complement",
        mask_refine: Refine = "conv",
        mask_per_channel: bool = False,
        mask_bias: float = 2.0,
        l1_weight: float = 100.0,
        l1_body_weight: float = 1.0,
        gan_weight: float = 1.0,
        gan: Gan = "lsgan",
        critic_width: int = 64,
        critic_layers: int = 3,
        critic_weight: float = 0.5,
        discarding_weight: float = 1.0,
        discarding: Discarding = "energy",
        sparsity_weight: float = 0.1,
        sparsity_rate: float | None = None,
        mask_ramp: int = 500,
    ) -> None:
        super().__init__()
        if l1_body_weight < 1:
            raise ValueError(f"l1_body_weight = {l1_body_weight:g}: give 1 or more")
        if mask_ramp < 0:
            raise ValueError(f"mask_ramp = {mask_ramp}: give a number of steps, or 0 for none")
        if sparsity_rate is not None and not 0 < sparsity_rate < 1:
            raise ValueError(f"sparsity_rate = {sparsity_rate:g}: give a share between 0 and 1")
        fused = fuse_mode != "none" and encoder != "none" and bool(fuse_stages)
        self.encoder: PretrainedEncoder | ConvPyramid | None = None
        if fused and encoder == "conv_pyramid":
            self.encoder = ConvPyramid(task.in_channels, max(1, width // 2))
        elif fused:
            self.encoder = PretrainedEncoder(
                sam(encoder, encoder_taps),
                size=encoder_size,
                weights=encoder_weights,
                sha256=encoder_sha256,
                allow_random=allow_random,
                frozen=encoder_frozen,
                keep=None if encoder_cache == "none" else encoder_cache,
            )
        self.generator = MaskedUNet(
            task.in_channels,
            task.out_channels,
            given=() if self.encoder is None else self.encoder.channels,
            width=width,
            stages=stages,
            output=output,
            fuse=fuse_mode,
            fuse_stages=fuse_stages,
            zero_init=zero_init,
            masks=MaskSettings(mask_count, mask_refine, mask_per_channel, mask_bias),
            mask_stages=mask_stages,
            dual=mask_dual,
        )
        self.multiple = self.generator.multiple
        if self.encoder is not None:
            # What nobody looks at need not be computed, and could not learn.
            self.encoder.cut(1 + max(self.generator.taps.values()))
        if isinstance(self.encoder, ConvPyramid):
            self.multiple = max(self.multiple, 2 ** len(self.encoder.stages))
        self.critic = (
            conditional_critic(task, width=critic_width, layers=critic_layers, norm_kind="instance")
            if gan_weight
            else None
        )
        self.adversary = Adversary(self.critic, gan, critic_weight) if self.critic is not None else None
        self.l1_weight, self.l1_body_weight = l1_weight, l1_body_weight
        self.gan_weight = gan_weight
        self.discarding_weight, self.discarding = discarding_weight, discarding
        self.sparsity_weight, self.sparsity_rate, self.mask_ramp = sparsity_weight, sparsity_rate, mask_ramp
        self._seen: dict[str, tuple[Tensor, ...]] = {}

    def players(self) -> Players:
        """G, with its encoder if that learns, and D unless its weight is 0."""
        generator: dict[str, nn.Module] = {"generator": self.generator}
        if self.encoder is not None and any(p.requires_grad for p in self.encoder.parameters()):
            generator["encoder"] = self.encoder
        return {"generator": generator, **({"critic": {"critic": self.critic}} if self.critic else {})}

    def objectives(self, batch: Batch) -> Objectives:
        """One step on D, then one on G against the D that has just moved."""
        x, y = batch.source, batch.truth
        made = self.generate(x, self.features(x))
        fake = made.image
        self._seen = {site: tuple(m.detach() for m in masked.masks) for site, masked in made.sites.items()}
        terms = {}
        if self.l1_weight:
            terms["l1"] = self.l1_weight * body_l1(fake, y, batch.mask, self.l1_body_weight)
        terms |= self._mask_terms(made, y, batch.step)
        if self.adversary is not None:
            yield "critic", {"adversarial": self.adversary.critics_term(y, fake, x)}
            terms["adversarial"] = self.gan_weight * self.adversary.generators_term(fake, x)
        yield "generator", terms

    def _mask_terms(self, made: Translation, y: Float[Tensor, "B C X Y"], step: int) -> dict[str, Tensor]:
        """λ_fd L_fd and λ_ms L_ms, as far as they have risen."""
        sites, terms = list(made.sites.values()), dict[str, Tensor]()
        if not sites:
            return terms
        risen = min(1.0, (step + 1) / self.mask_ramp) if self.mask_ramp else 1.0
        if self.discarding_weight:
            faces = [(site.masks, site.inputs) for site in sites]
            charge = feature_discarding(faces, self.discarding, made.image - y)
            terms["discarding"] = risen * self.discarding_weight * charge
        if self.sparsity_weight:
            charge = mask_sparsity([site.masks for site in sites], self.sparsity_rate)
            terms["sparsity"] = risen * self.sparsity_weight * charge
        return terms

    def readings(self) -> dict[str, Tensor]:
        """Of each site: mean of the masks, shares that are nearly 0 and 1, and how alike the masks are."""
        read = {site: mask_readings(masks) for site, masks in self._seen.items()}
        return {f"{what}/{site}": value for site, values in read.items() for what, value in values.items()}

    def alarms(self, readings: Mapping[str, float]) -> list[str]:
        """Masks that have collapsed, are open everywhere, or say the same."""
        found = []
        for site, masks in self._seen.items():
            mean = readings[f"mean/{site}"]
            if mean < 0.02:
                found.append(f"the masks of {site} pass almost nothing; lower method.sparsity_weight")
            if mean > 0.98:
                found.append(f"the masks of {site} pass almost everything; raise method.sparsity_weight")
            if len(masks) > 1 and readings[f"effective/{site}"] < 1.2:
                found.append(f"the {len(masks)} masks of {site} are nearly the same; one would do")
        return found

    def features(self, x: Float[Tensor, "B C X Y"]) -> list[FeatureMap]:
        """Z: what the encoder sees in the source; nothing where there is none."""
        return [] if self.encoder is None else self.encoder(x)

    def generate(self, x: Float[Tensor, "B C X Y"], features: Sequence[FeatureMap]) -> Translation:
        """ŷ and the masks, for features of anybody: the encoder's, zeros, or another image's."""
        made: Translation = self.generator(x, features)
        return made

    def translate(self, batch: Batch) -> Float[Tensor, "B Cout *N"]:
        """ŷ."""
        return self.generate(batch.source, self.features(batch.source)).image
