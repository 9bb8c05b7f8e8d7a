"""colorization: an MRI in the colours of a cryosection that lies on it only roughly.

References:
    Structurally Consistent MRI Colorization using Cross-modal Fusion Learning (Mathur, Chaudhary, Gupta, Sharma,
    2025). https://arxiv.org/abs/2412.10452

With m the MRI, c the cryosection of about the same place and s its label map, all in [0, 1]; x = E(m) features,
ĉ = F(x) the coloured MRI and c′ = F′(x) the "pseudo cryosection"; ṁ = G(c) the cryosection as MRI; S a frozen
segmenter; g the mean of the channels; SSIM_w in a Gaussian window of w voxels::

    MW(a, b) = Σ_w 1 - SSIM_w(a, b),   w = 11, 9, 7, 5, 3
    L_gan    = (D_c(ĉ) - 1)² + (D_m(ṁ) - 1)²
    L_rec    = ‖G(ĉ) - m‖₁ + ‖F(E(ṁ)) - c‖₁
    L_ssim   = MW(g(ĉ), m) + MW(c′, c) + MW(ṁ, g(c))
    L_seg    = -log p_S(s | c′)
    L_E,F,G  = L_gan + λ L_rec + L_ssim + L_seg
    L_D      = ½ ((D(real) - 1)² + D(fake)²)       for each of D_c, D_m

F, F′ are ``colour_decoder`` and ``pseudo_decoder``, G is ``reverse``; λ = 10. Nothing compares ĉ with c voxel by
voxel. The paper's text could not be read: this follows its figures and the authors' code, whose second decoder is
the first one again and which leaves out the last term of L_ssim. docs/methods/colorization.md says line by line
what is known, and lists the defects of that code that are not repeated.
"""

from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.data.modality import modality
from transmodal.data.task import Task
from transmodal.errors import RecipeError
from transmodal.losses.adversarial import Gan
from transmodal.losses.adversary import Adversary, Seen
from transmodal.losses.pixel import l1
from transmodal.losses.structural import Padding, window_ssims
from transmodal.methods._method import Facts, Objectives, Players
from transmodal.nn import init
from transmodal.nn.colour_nets import Bottleneck, ColourDecoder, MultiscaleEncoder
from transmodal.nn.convnd import Upsample
from transmodal.nn.history import ImagePool
from transmodal.nn.patchgan import PatchGAN
from transmodal.nn.segmenter import PUBLISHED, Segmenter


class Colorization(nn.Module):
    """What the figures show, with two decoders and all three structural terms.

    Args:
        task: what goes in and what comes out.
        labels: the code of every class in the label maps, in the segmenter's order; any other is an error.
        segmenter: folder of the run that trained S with the method ``segmentation``.
        segmenter_width: channels of S at full size.
        train_segmenter: whether S is trained along, on cryosections, after every step of the generators.
        allow_random: train with a random S where none is given; every output then says so.
        width: channels of the first layer of E; four times as many in the end.
        blocks: of F, F′ and of the decoder of G.
        bottleneck: what a block adds to its shortcut. ``gate`` is what the authors' code runs, ``gate+conv`` what
            it seems to have been meant to; ``none`` leaves blocks out.
        reduction: of the gates.
        multiscale: whether E and the encoder of G see the image at half and quarter size, too.
        decoders: ``separate`` as in the figure, ``tied`` (c′ = ĉ) as in the authors' code, or ``single``: no c′,
            so that pseudo_weight and segmentation_weight count nothing and no segmenter may be given.
        upsample: ``transpose`` as published, or ``resize``, which leaves no checkerboard.
        initial: weights as torch draws them, or from N(0, 0.02²).
        critic_width: channels of the first layer of D_c and D_m; twice as many further on.
        critic_layers: their strided layers: 3 for patches of 70 voxels.
        critic_scores: ``mean``: one score for an image, before the game; ``patch``: each patch plays.
        gan: the game.
        gan_weight: of L_gan; 0 for no critics.
        cycle_weight: λ.
        structure_weight: of MW(g(ĉ), m).
        pseudo_weight: of MW(c′, c).
        radiometric_weight: of MW(ṁ, g(c)); 0 as in the authors' code.
        segmentation_weight: of L_seg; 0 needs no S.
        windows: w; odd, from 3 on.
        window_edges: what a window sees outside the image.
        critic_weight: of L_D.
        pool: past fakes that each critic is shown again; 0 for none.
        generator_turns: updates of the generators in a step.
    """

    facts: ClassVar[Facts] = Facts(
        summary="MRI in the colours of a loosely registered cryosection: two decoders, cycle, segmenter as judge",
        paper="https://arxiv.org/abs/2412.10452",
        max_targets=1,
        needs_labels=True,
        spatial=(2,),
        registered=False,
        unit_range=True,
        not_reproduced="the Visible Korean Human, on which the paper trains, is not public; the numbers of its "
        "table (SSIM 0.863, MS-SSIM 0.866, STSIM 0.901) were not verified, nor were its baselines measured again",
    )
    training_only: ClassVar[tuple[str, ...]] = (
        "pseudo_decoder", "reverse", "critic", "reverse_critic", "segmenter", "pool", "reverse_pool",
    )  # fmt: skip
    multiple = MultiscaleEncoder.multiple

    def __init__(
        self,
        task: Task,
        *,
        labels: tuple[int, ...] = PUBLISHED,
        segmenter: str = "",
        segmenter_width: int = 64,
        train_segmenter: bool = False,
        allow_random: bool = False,
        width: int = 128,
        blocks: int = 9,
        bottleneck: Bottleneck = "gate",
        reduction: int = 16,
        multiscale: bool = True,
        decoders: Literal["separate", "tied", "single"] = "separate",
        upsample: Upsample = "transpose",
        initial: Literal["framework", "normal"] = "framework",
        critic_width: int = 64,
        critic_layers: int = 3,
        critic_scores: Seen = "mean",
        gan: Gan = "lsgan",
        gan_weight: float = 1.0,
        cycle_weight: float = 10.0,
        structure_weight: float = 1.0,
        pseudo_weight: float = 1.0,
        radiometric_weight: float = 1.0,
        segmentation_weight: float = 1.0,
        windows: tuple[int, ...] = (11, 9, 7, 5, 3),
        window_edges: Padding = "zeros",
        critic_weight: float = 0.5,
        pool: int = 0,
        generator_turns: int = 1,
    ) -> None:
        super().__init__()
        if not windows or generator_turns < 1 or any(n < 3 or n % 2 == 0 for n in windows):
            raise ValueError(
                f"windows = {list(windows)}, generator_turns = {generator_turns}: at least one of each, and "
                "windows that are odd, from 3 on"
            )
        if decoders == "single" and (segmenter or train_segmenter):
            raise ValueError(
                "decoders = 'single' makes no c′, and only c′ is shown to a segmenter: leave out segmenter and "
                "train_segmenter, or take decoders = 'separate'"
            )
        self.generator_turns, self.windows, self.window_edges = generator_turns, windows, window_edges
        colours, channels = task.out_channels, modality(task.sources[0]).channels
        self.first = slice(task.neighbours // 2 * channels, (task.neighbours // 2 + 1) * channels)
        pseudo = decoders != "single" and bool(pseudo_weight or segmentation_weight)
        self.tied = pseudo and decoders == "tied"
        self.weights = {
            "adversarial": gan_weight, "reverse_adversarial": gan_weight, "cycle": cycle_weight,
            "reverse_cycle": cycle_weight, "structure": structure_weight, "radiometric": radiometric_weight,
            "pseudo_structure": pseudo_weight if pseudo else 0.0,
            "segmentation": segmentation_weight if pseudo else 0.0,
        }  # fmt: skip

        def decoder(cout: int) -> ColourDecoder:
            return ColourDecoder(cout, width, blocks, bottleneck, reduction, upsample)

        def critic(cin: int) -> PatchGAN | None:
            own = PatchGAN(cin, width=critic_width, layers=critic_layers, norm_kind="instance", widest=2)
            return own if gan_weight else None

        self.encoder = MultiscaleEncoder(task.in_channels, width, multiscale)
        self.colour_decoder = decoder(colours)
        self.pseudo_decoder = decoder(colours) if pseudo and not self.tied else None
        self.reverse = (
            nn.Sequential(MultiscaleEncoder(colours, width, multiscale), decoder(task.in_channels))
            if gan_weight or cycle_weight or radiometric_weight
            else None
        )
        self.critic, self.reverse_critic = critic(colours), critic(task.in_channels)
        if initial == "normal":
            init.normal(self)
        self.segmenter = (
            Segmenter(colours, labels, segmenter_width, segmenter, allow_random, train_segmenter)
            if self.weights["segmentation"]
            else None
        )
        self.needs_labels = self.segmenter is not None
        self.pool, self.reverse_pool = ImagePool(pool), ImagePool(pool)
        judges = (self.critic, self.pool), (self.reverse_critic, self.reverse_pool)
        self.adversaries = {
            name: Adversary(judge, gan, critic_weight, past, critic_scores)
            for name, (judge, past) in zip(("adversarial", "reverse_adversarial"), judges, strict=True)
            if judge is not None
        }

    def players(self) -> Players:
        """All generators are one player, both critics the other; S is one where it is trained along."""
        there = dict(self.named_children())
        generators = ("encoder", "colour_decoder", "pseudo_decoder", "reverse")
        players = {"generator": {name: there[name] for name in generators if name in there}}
        if self.segmenter is not None and self.segmenter.trained:
            players["segmenter"] = {"segmenter": self.segmenter}
        if self.adversaries:
            players["critic"] = {name: there[name] for name in ("critic", "reverse_critic")}
        return players

    def objectives(self, batch: Batch) -> Objectives:
        """Steps on E, F, F′ and G, then one on S where it is trained, then one on D_c and D_m.

        Raises:
            RecipeError: MRI and cryosection are not of one place.
            InputError: a code of the label map that ``labels`` does not have.
        """
        if not batch.paired:
            raise RecipeError("colorization is trained on slices of one place; unpaired batches are for cyclegan")
        m, c = (batch.source + 1) / 2, (batch.truth + 1) / 2
        for _ in range(self.generator_turns):
            if self.segmenter is not None:
                self.segmenter.eval()
            coloured, pseudo = self.colour(m)
            radiometric = None if self.reverse is None else self.reverse(c)
            terms = self._generators(batch, m, c, coloured, pseudo, radiometric)
            yield "generator", {name: self.weights[name] * value for name, value in terms.items()}
        if self.segmenter is not None and self.segmenter.trained and batch.labels is not None:
            self.segmenter.train()
            yield "segmenter", {"cross_entropy": self.segmenter.cross_entropy(c, batch.labels)}
        if self.adversaries and radiometric is not None:
            pairs = {"adversarial": (c, coloured), "reverse_adversarial": (m, radiometric)}
            yield "critic", {name: own.critics_term(*pairs[name]) for name, own in self.adversaries.items()}

    def colour(self, m: Float[Tensor, "B Cin X Y"]) -> tuple[Tensor, Tensor | None]:
        """ĉ and c′ in [0, 1]; None where nothing asks for c′."""
        x = self.encoder(m)
        coloured = self.colour_decoder(x)
        return coloured, coloured if self.tied else None if self.pseudo_decoder is None else self.pseudo_decoder(x)

    def _generators(
        self, batch: Batch, m: Tensor, c: Tensor, coloured: Tensor,
        pseudo: Tensor | None, radiometric: Tensor | None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The terms of L_E,F,G that have a weight, before they are weighted."""
        alike = {"structure": (_grey(coloured), _grey(m[:, self.first]))}
        terms: dict[str, Tensor] = {}
        if self.reverse is not None and radiometric is not None:
            alike["radiometric"] = _grey(radiometric[:, self.first]), _grey(c)
            fakes = {"adversarial": coloured, "reverse_adversarial": radiometric}
            terms |= {name: own.generators_term(fakes[name]) for name, own in self.adversaries.items()}
            if self.weights["cycle"]:
                terms["cycle"] = l1(self.reverse(coloured), m)
                terms["reverse_cycle"] = l1(self.colour_decoder(self.encoder(radiometric)), c)
        if pseudo is not None:
            alike["pseudo_structure"] = pseudo, c
            if self.segmenter is not None:
                if batch.labels is None:
                    raise ValueError("this batch has no label maps, and segmentation_weight is not 0")
                terms["segmentation"] = self.segmenter.cross_entropy(pseudo, batch.labels)
        return terms | {name: self._windows(*pair) for name, pair in alike.items() if self.weights[name]}

    def _windows(self, a: Float[Tensor, "B C X Y"], b: Float[Tensor, "B C X Y"]) -> Float[Tensor, ""]:
        """MW(a, b), from 0 to about twice the number of windows."""
        return (1 - window_ssims(a, b, data_range=1.0, windows=self.windows, padding=self.window_edges)).sum()

    def translate(self, batch: Batch) -> Float[Tensor, "B Cout *N"]:
        """ĉ, without c′."""
        coloured: Tensor = self.colour_decoder(self.encoder((batch.source + 1) / 2))
        return 2 * coloured - 1


def _grey(image: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B 1 X Y"]:
    """The mean of the channels, not their brightness to the eye."""
    return image.mean(dim=1, keepdim=True)
