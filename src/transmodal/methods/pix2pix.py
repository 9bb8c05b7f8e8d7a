"""pix2pix: a U-Net and a critic of patches that sees the source as well.

References:
    Image-to-Image Translation with Conditional Adversarial Networks
    (Isola, Zhu, Zhou, Efros, 2017). https://arxiv.org/abs/1611.07004

Equations::

    (1)  L_cGAN(G, D) = E log D(x, y) + E log(1 - D(x, G(x, z)))
    (3)  L_L1(G)      = E ‖y - G(x, z)‖₁
    (4)  G*           = arg min_G max_D  L_cGAN(G, D) + λ L_L1(G)

x is the source, y the target, z noise in the form of dropout (section 2.2), λ = 100 (section 6.2). As in
section 2.3, G maximises log D(x, G(x, z)) instead of minimising log(1 - D(x, G(x, z))), and the objective of
D is divided by 2.

Deviations: dropout is off in use unless ``test_dropout``; batch normalisation in use takes running averages,
where the paper takes the statistics of the test batch. ``norm = "instance"`` is what that amounts to for
batches of one, and is then the better choice. Several sources and neighbouring slices are channels of x.
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
from transmodal.nn.patchgan import conditional_critic
from transmodal.nn.unet import UNetGenerator


class Pix2Pix(nn.Module):
    """The paper's defaults, for images of 256 voxels.

    Args:
        task: what goes in and what comes out.
        depth: encoders of G; sizes are multiples of ``2 ** depth``.
        width: channels of the first encoder.
        critic_width: channels of the first layer of D.
        critic_layers: strided layers of D: 3 for patches of 70 voxels, 1 for 16.
        norm: normalisation in both networks.
        dropout: z, the probability of dropping a value in the three innermost decoders.
        test_dropout: whether z stays on in use, as in the paper; two translations then differ.
        upsample: ``transpose`` as in the paper, or ``resize``, which leaves no checkerboard.
        output: ``tanh`` as in the paper, for targets in [-1, 1]; ``linear`` for z-scores.
        gan: the game; ``vanilla`` is equation (1).
        l1_weight: λ of equation (4).
        critic_weight: of D's objective; the paper divides it by 2.
    """

    facts: ClassVar[Facts] = Facts(
        summary="U-Net against a critic of patches that also sees the source, plus L1",
        paper="https://arxiv.org/abs/1611.07004",
    )
    training_only: ClassVar[tuple[str, ...]] = ("critic",)

    def __init__(
        self,
        task: Task,
        *,
        depth: int = 8,
        width: int = 64,
        critic_width: int = 64,
        critic_layers: int = 3,
        norm: Norm = "batch",
        dropout: float = 0.5,
        test_dropout: bool = False,
        upsample: Upsample = "transpose",
        output: Output = "tanh",
        gan: Gan = "vanilla",
        l1_weight: float = 100.0,
        critic_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.l1_weight = l1_weight
        self.generator = init.normal(
            UNetGenerator(
                task.in_channels,
                task.out_channels,
                spatial=task.spatial,
                depth=depth,
                width=width,
                norm_kind=norm,
                dropout=dropout,
                always_drop=test_dropout,
                upsample=upsample,
                output=output,
            )
        )
        self.critic = conditional_critic(task, width=critic_width, layers=critic_layers, norm_kind=norm)
        self.adversary = Adversary(self.critic, gan, critic_weight)
        self.multiple = self.generator.multiple

    def players(self) -> Players:
        """G and D."""
        return {"generator": {"generator": self.generator}, "critic": {"critic": self.critic}}

    def objectives(self, batch: Batch) -> Objectives:
        """One step on D, then one on G against the D that has just moved (section 2.3)."""
        x, y = batch.source, batch.truth
        fake = self.generator(x)

        yield "critic", {"adversarial": self.adversary.critics_term(y, fake, x)}

        yield (
            "generator",
            {
                "adversarial": self.adversary.generators_term(fake, x),
                "l1": self.l1_weight * l1(fake, y),
            },
        )

    def translate(self, batch: Batch) -> Float[Tensor, "B Cout *N"]:
        """G(x)."""
        fake: Tensor = self.generator(batch.source)
        return fake
