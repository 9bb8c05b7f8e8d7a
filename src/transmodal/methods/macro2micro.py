"""Macro2Micro: two octave branches for macro- and microstructure, and a critic that looks at patches of brain.

References:
    Macro2Micro: A Rapid and Precise Cross-modal Magnetic Resonance Imaging Synthesis using Multi-scale
    Structural Brain Similarity (Kim, Kwon, Kwon, et al., 2024). https://arxiv.org/abs/2412.11277

With y the target, (ŷ, ŷ_H, ŷ_L) = G(E(x)) the output and those of its branches, g a Gaussian, V a frozen VGG-19,
c random crops in the brain, and softplus(-s) = -log σ(s)::

    L_pixel  = λ ‖y - ŷ‖₁ + λ_L ‖g∗y - ŷ_L‖₁ + λ_H ‖(y - g∗y) - ŷ_H‖₁
    L_percep = λ_V Σ_k ‖V_k(y) - V_k(ŷ)‖²
    L_gan    = λ_D softplus(-D(ŷ)),      L_patch = λ_P softplus(-P(c(y), c(ŷ)))
    L_E,G    = L_pixel + L_percep + L_gan + L_patch
    L_D      = softplus(-D(y)) + softplus(D(ŷ))               + lazy R1
    L_P      = softplus(-P(c(y), c'(y))) + softplus(P(c(y), c(ŷ)))  + lazy R1

No equation of the paper could be read; these follow its abstract, digests of it, and the authors' public code
of 2023, which lacks the brain region and cuts the gradients of both critics. docs/methods/macro2micro.md says,
line by line, what is published and what is our reading.
"""

from contextlib import nullcontext
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.errors import RecipeError
from transmodal.losses.adversarial import r1_penalty
from transmodal.losses.frequency import frequency_targets
from transmodal.losses.perceptual import perceptual
from transmodal.losses.pixel import l1
from transmodal.methods._method import Facts, Objectives, Players
from transmodal.nn.convnd import Borders, Norm
from transmodal.nn.cooccurrence import PatchCooccurrence
from transmodal.nn.crops import Crops, Region, find_region
from transmodal.nn.equalized import StyleCritic
from transmodal.nn.features import VGG19, Input, Variant
from transmodal.nn.gaussian import Edges
from transmodal.nn.octave_nets import Answer, OctaveDecoder, OctaveEncoder
from transmodal.nn.precision import full_precision


class Macro2Micro(nn.Module):
    """The published widths with activations in the decoder, brain-focused patches and R1: ``m2m-paper``.

    Args:
        task: what goes in and what comes out.
        width: channels of the first layer; E has 2 and 4 times as many further on.
        alpha: the low branch's share of all channels, 0 for one branch at full size.
        decoder_slope: of LeakyReLU in G; 1 for none, as in the code of 2023, where G is linear.
        mix: 3 x 3 convolutions that exchange, at the end of each stage of E (``m2m-wide``).
        norm: normalisation after every octave layer.
        stem_borders: what the first layer sees outside the image.
        pixel_weight: λ.
        low_weight: λ_L; without effect where there is one branch.
        high_weight: λ_H; without effect where there is one branch.
        blur_edges: what the Gaussian of both sees outside the image.
        perceptual_weight: λ_V; 0 needs no VGG-19.
        vgg: whose weights of VGG-19.
        vgg_taps: its layers V_k.
        vgg_input: what it gets of an image.
        vgg_weights: path of its file; empty for the cache of ``transmodal download``.
        allow_random: train with a random VGG-19 where there is no file; every output then says so.
        gan_weight: λ_D; 0 for no D.
        patch_weight: λ_P; 0 for no P.
        fake_weight: of softplus(D(ŷ)).
        critic_size: voxels of the images D is built for. None for those of the task, or the published 256 x 256
            where it does not say.
        critic_width: channels of the first layer of D.
        patch_width: channels of the first layer of P.
        patch_hidden: numbers in the head of P.
        patch_size: voxels along the edges of a patch, after resampling.
        patches: how many of an image.
        patch_scale: edges of a patch, as fractions of the region's.
        region: where patches are drawn: in the box around all brains of the batch, or anywhere.
        region_threshold: what counts as brain, beside the mask: a share of the target's window, as in FA > 0.05.
        region_margin: voxels around the box.
        guard: the share of a patch that must be brain; 0 for none.
        r1_weight: γ of D.
        patch_r1_weight: γ of P.
        r1_every: steps between two penalties, which are that many times as heavy; 0 for none.
    """

    facts: ClassVar[Facts] = Facts(
        summary="octave convolutions, and critics of the image and of patches of brain",
        paper="https://arxiv.org/abs/2412.11277",
        max_targets=1,
        spatial=(2,),
    )
    training_only: ClassVar[tuple[str, ...]] = ("critic", "patch_critic", "vgg")
    multiple = 8

    def __init__(
        self,
        task: Task,
        *,
        width: int = 64,
        alpha: float = 0.5,
        decoder_slope: float = 0.2,
        mix: bool = False,
        norm: Norm = "none",
        stem_borders: Borders = "reflect",
        pixel_weight: float = 1.0,
        low_weight: float = 1.0,
        high_weight: float = 1.0,
        blur_edges: Edges = "replicate",
        perceptual_weight: float = 1.0,
        vgg: Variant = "torchvision",
        vgg_taps: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
        vgg_input: Input = "imagenet",
        vgg_weights: str = "",
        allow_random: bool = False,
        gan_weight: float = 1.0,
        patch_weight: float = 1.0,
        fake_weight: float = 1.0,
        critic_size: tuple[int, int] | None = None,
        critic_width: int = 128,
        patch_width: int = 32,
        patch_hidden: int = 2048,
        patch_size: int = 128,
        patches: int = 8,
        patch_scale: tuple[float, float] = (0.125, 0.25),
        region: Literal["union", "image"] = "union",
        region_threshold: float = 0.05,
        region_margin: int = 2,
        guard: float = 0.25,
        r1_weight: float = 10.0,
        patch_r1_weight: float = 1.0,
        r1_every: int = 16,
    ) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"width = {width}: the last layer has half of it; give an even number")
        colours = task.out_channels
        self.encoder = OctaveEncoder(task.in_channels, width, alpha, norm, stem_borders, mix)
        self.decoder = OctaveDecoder(colours, width, alpha, norm, decoder_slope)
        rows, columns = critic_size or task.size or (256, 256)
        self.critic = StyleCritic(colours, size=(rows, columns), width=critic_width) if gan_weight else None
        patch_critic = {"size": patch_size, "width": patch_width, "hidden": patch_hidden}
        self.patch_critic = PatchCooccurrence(colours, **patch_critic) if patch_weight else None
        self.vgg = (
            VGG19(variant=vgg, taps=vgg_taps, given=vgg_input, weights=vgg_weights, allow_random=allow_random)
            if perceptual_weight
            else None
        )
        self.weights = {
            "pixel": pixel_weight, "low": low_weight, "high": high_weight, "perceptual": perceptual_weight,
            "adversarial": gan_weight, "patch": patch_weight,
        }  # fmt: skip
        self.blur_edges = blur_edges
        self.fake_weight = fake_weight
        self.crops = Crops(patches, patch_size, patch_scale, guard)
        self.region_threshold = region_threshold
        self.region_margin = region_margin if region == "union" else None
        self.r1_weight, self.patch_r1_weight, self.r1_every = r1_weight, patch_r1_weight, r1_every

    def players(self) -> Players:
        """E and G against D and P."""
        generator: dict[str, nn.Module] = {"encoder": self.encoder, "decoder": self.decoder}
        critics = {"critic": self.critic, "patch_critic": self.patch_critic}
        there = {name: network for name, network in critics.items() if network is not None}
        return {"generator": generator, "critic": there} if there else {"generator": generator}

    def objectives(self, batch: Batch) -> Objectives:
        """One step on E and G, then one on D and P with what E and G make now."""
        y = batch.truth
        if self.critic is not None and tuple(y.shape[2:]) != self.critic.size:
            raise RecipeError(
                f"method.critic_size = {list(self.critic.size)}, but images of {list(y.shape[2:])} voxels "
                "arrived; leave it out, or set it to sampling.size"
            )
        region = self._region(batch)
        terms = self._generator(batch.source, y, region)
        yield "generator", {name: self.weights[name] * value for name, value in terms.items()}
        if self.critic is None and self.patch_critic is None:
            return
        with torch.no_grad():
            fake = self.synthesize(batch.source).image
        lazy = bool(self.r1_every) and batch.step % self.r1_every == 0
        yield "critic", self._critics(y, fake, region, lazy)

    def _generator(
        self, x: Float[Tensor, "B Cin X Y"], y: Float[Tensor, "B C X Y"], region: Region
    ) -> dict[str, Tensor]:
        """The terms of L_E,G before they are weighted."""
        D, P, draw = self.critic, self.patch_critic, self.crops.draw
        fake = self.synthesize(x)
        terms = {"pixel": l1(fake.image, y)}
        if fake.high is not None and fake.low is not None:
            high, low = frequency_targets(y, edges=self.blur_edges)
            terms |= {"low": l1(fake.low, low), "high": l1(fake.high, high)}
        if self.vgg is not None:
            terms["perceptual"] = perceptual(self.vgg, fake.image, y)
        if D is not None:
            terms["adversarial"] = softplus(-D(fake.image).float()).mean()
        if P is not None:
            with torch.no_grad():
                reference = P.describe(draw(y, region))
            scores = P.compare(reference, P.describe(draw(fake.image, region)))
            terms["patch"] = softplus(-scores.float()).mean()
        return terms

    def _critics(
        self, y: Float[Tensor, "B C X Y"], fake: Float[Tensor, "B C X Y"], region: Region, lazy: bool
    ) -> dict[str, Tensor]:
        """The terms of L_D and L_P; all features of P carry gradients here."""
        D, P, draw = self.critic, self.patch_critic, self.crops.draw
        terms = {}
        # The penalty is a gradient of a gradient: bfloat16 is too coarse for it.
        with full_precision(y) if lazy else nullcontext():
            if D is not None:
                real = y.detach().requires_grad_(lazy)
                scores = D(real)
                made = D(fake.to(y.dtype)).float()
                terms["adversarial"] = softplus(-scores.float()).mean() + self.fake_weight * softplus(made).mean()
                if lazy:
                    terms["r1"] = self.r1_weight * self.r1_every * r1_penalty(scores, real)
            if P is not None:
                reference = P.describe(draw(y, region))
                patches = draw(y, region).requires_grad_(lazy)
                scores = P.compare(reference, P.describe(patches))
                made = P.compare(reference, P.describe(draw(fake.to(y.dtype), region)))
                terms["patch"] = softplus(-scores.float()).mean() + softplus(made.float()).mean()
                if lazy:
                    penalty = r1_penalty(scores, patches) / self.crops.count
                    terms["patch_r1"] = self.patch_r1_weight * self.r1_every * penalty
        return terms

    def _region(self, batch: Batch) -> Region:
        """Where the target shows tissue, or the mask says so."""
        shown = (batch.truth.float().amax(dim=1, keepdim=True) + 1) / 2 > self.region_threshold
        return find_region(shown | batch.mask, self.region_margin)

    def synthesize(self, x: Float[Tensor, "B Cin X Y"]) -> Answer:
        """G(E(x)), with the branches; ValueError for a size that is not a multiple of 8, or below 16."""
        if any(n % self.multiple or n < 16 for n in x.shape[2:]):
            raise ValueError(
                f"Macro2Micro halves images three times: {list(x.shape[2:])} are not multiples of 8 from 16 on"
            )
        answer: Answer = self.decoder(self.encoder(x))
        return answer

    def translate(self, batch: Batch) -> Float[Tensor, "B Cout *N"]:
        """ŷ."""
        return self.synthesize(batch.source).image
