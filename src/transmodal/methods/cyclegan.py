"""CycleGAN: two generators that undo each other, two critics, and no pairs.

References:
    Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks
    (Zhu, Park, Isola, Efros, 2017). https://arxiv.org/abs/1703.10593

Equations::

    (1)  L_GAN(G, D_Y) = E (D_Y(y) - 1)² + E D_Y(G(x))²           least squares, section 4
    (2)  L_cyc(G, F)   = E ‖F(G(x)) - x‖₁ + E ‖G(F(y)) - y‖₁
    (3)  L(G, F, D_X, D_Y) = L_GAN(G, D_Y) + L_GAN(F, D_X) + λ L_cyc(G, F)
    (5.2)  L_identity(G, F) = E ‖G(y) - y‖₁ + E ‖F(x) - x‖₁       weighted by 0.5 λ, "Photo generation"

x is the source and y a target of anybody. G: X → Y is ``generator``, F: Y → X is ``reverse``, D_Y is
``critic`` and D_X is ``reverse_critic``; λ = 10. The objective of each critic is divided by 2 and its fakes
come from a pool of the last 50 (section 4).

Deviations: the identity term is on by default, as in the authors' code and as brightness should be kept in a
scan; it is left out where source and target differ in channels, because G(y) does not exist then. Several
sources or neighbouring slices are channels of one domain X.
"""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from transmodal.data.batch import Batch
from transmodal.data.task import Task
from transmodal.losses.adversarial import Gan
from transmodal.losses.adversary import Adversary
from transmodal.losses.pixel import l1
from transmodal.methods._method import Facts, Objectives, Players
from transmodal.nn import init
from transmodal.nn.convnd import Norm, Output, Upsample
from transmodal.nn.history import ImagePool
from transmodal.nn.patchgan import PatchGAN
from transmodal.nn.resnet import ResNetGenerator


class CycleGAN(nn.Module):
    """The paper's defaults.

    Args:
        task: what goes in and what comes out.
        blocks: residual blocks of G and F: 9 for images of 256 voxels, 6 for 128.
        width: channels of the first layer of G and F.
        critic_width: channels of the first layer of D_X and D_Y.
        critic_layers: strided layers of D_X and D_Y: 3 for patches of 70 voxels.
        norm: normalisation in all networks.
        upsample: ``transpose`` as in the paper, or ``resize``, which leaves no checkerboard.
        output: ``tanh`` as in the paper, for images in [-1, 1]; ``linear`` for z-scores.
        gan: the game; ``lsgan`` is the paper's.
        cycle_weight: λ of equation (3).
        identity_weight: of the identity term, as a fraction of λ; has no effect where source and target
            differ in channels.
        critic_weight: of the critics' objectives; the paper divides them by 2.
        pool: past fakes that each critic is shown again; 0 for none.
    """

    facts: ClassVar[Facts] = Facts(
        summary="two ResNet generators that undo each other, two critics; learns without pairs",
        paper="https://arxiv.org/abs/1703.10593",
        paired=False,
        max_targets=1,
    )
    training_only: ClassVar[tuple[str, ...]] = ("reverse", "critic", "reverse_critic", "pool", "reverse_pool")

    def __init__(
        self,
        task: Task,
        *,
        blocks: int = 9,
        width: int = 64,
        critic_width: int = 64,
        critic_layers: int = 3,
        norm: Norm = "instance",
        upsample: Upsample = "transpose",
        output: Output = "tanh",
        gan: Gan = "lsgan",
        cycle_weight: float = 10.0,
        identity_weight: float = 0.5,
        critic_weight: float = 0.5,
        pool: int = 50,
    ) -> None:
        super().__init__()
        self.cycle_weight = cycle_weight
        self.identity_weight = identity_weight if task.in_channels == task.out_channels else 0.0

        def generator(cin: int, cout: int) -> ResNetGenerator:
            return init.normal(
                ResNetGenerator(
                    cin,
                    cout,
                    spatial=task.spatial,
                    width=width,
                    blocks=blocks,
                    norm_kind=norm,
                    upsample=upsample,
                    output=output,
                )
            )

        def critic(cin: int) -> PatchGAN:
            return init.normal(
                PatchGAN(cin, spatial=task.spatial, width=critic_width, layers=critic_layers, norm_kind=norm)
            )

        self.generator = generator(task.in_channels, task.out_channels)
        self.reverse = generator(task.out_channels, task.in_channels)
        self.critic = critic(task.out_channels)
        self.reverse_critic = critic(task.in_channels)
        self.pool = ImagePool(pool)
        self.reverse_pool = ImagePool(pool)
        self.adversary = Adversary(self.critic, gan, critic_weight, self.pool)
        self.reverse_adversary = Adversary(self.reverse_critic, gan, critic_weight, self.reverse_pool)
        self.multiple = self.generator.multiple

    def players(self) -> Players:
        """Both generators are one player, both critics the other."""
        return {
            "generator": {"generator": self.generator, "reverse": self.reverse},
            "critic": {"critic": self.critic, "reverse_critic": self.reverse_critic},
        }

    def objectives(self, batch: Batch) -> Objectives:
        """One step on G and F, then one on D_X and D_Y with fakes from the pools."""
        G, F, D_X, D_Y = self.generator, self.reverse, self.reverse_adversary, self.adversary
        x, y = batch.source, batch.truth
        fake_y, fake_x = G(x), F(y)

        terms = {
            "adversarial": D_Y.generators_term(fake_y),
            "reverse_adversarial": D_X.generators_term(fake_x),
            "cycle": self.cycle_weight * l1(F(fake_y), x),
            "reverse_cycle": self.cycle_weight * l1(G(fake_x), y),
        }
        if self.identity_weight:
            weight = self.identity_weight * self.cycle_weight
            terms["identity"] = weight * l1(G(y), y)
            terms["reverse_identity"] = weight * l1(F(x), x)
        yield "generator", terms

        yield (
            "critic",
            {
                "adversarial": D_Y.critics_term(y, fake_y),
                "reverse_adversarial": D_X.critics_term(x, fake_x),
            },
        )

    def translate(self, batch: Batch) -> Float[Tensor, "B Cout *N"]:
        """G(x)."""
        fake: Tensor = self.generator(batch.source)
        return fake
