"""The games that a generator and a critic play: what each of them minimises.

A critic gives a score to every patch, large for real; nothing squashes it. Each game is a pair of functions
of those scores. All arithmetic is in float32 whatever the precision of the networks; means are over patches.

=============  =========================================  ======================  ========================
game           critic minimises                           generator minimises     from
=============  =========================================  ======================  ========================
`vanilla`      -log σ(r) - log(1 - σ(f))                  -log σ(f)               arXiv 1406.2661, eq. 1
`lsgan`        (r - 1)² + f²                              (f - 1)²                arXiv 1611.04076, eq. 9
`hinge`        max(0, 1 - r) + max(0, 1 + f)              -f                      arXiv 1705.02894, eq. 3
`wasserstein`  f - r                                      -f                      arXiv 1701.07875, alg. 1
=============  =========================================  ======================  ========================

Here r scores a real image and f a fake. The generator of `vanilla` is the non-saturating one. `wasserstein`
needs a critic that is kept Lipschitz by other means, such as :func:`r1_penalty`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu, softplus

Scores = Float[Tensor, "B 1 *M"]
Loss = Float[Tensor, ""]
Gan = Literal["vanilla", "lsgan", "hinge", "wasserstein"]


@dataclass(frozen=True)
class Game:
    """What both players minimise.

    Attributes:
        critic: (scores of real images, scores of fakes) → loss. The two need not be of the same size.
        generator: scores of fakes → loss.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def vanilla_critic(real: Scores, fake: Scores) -> Loss:
    """Binary cross-entropy with logits; -log σ(r) = softplus(-r), and -log(1 - σ(f)) = softplus(f)."""
    return softplus(-real.float()).mean() + softplus(fake.float()).mean()


def vanilla_generator(fake: Scores) -> Loss:
    """The non-saturating form: make fakes be called real, rather than not be called fake."""
    return softplus(-fake.float()).mean()


def lsgan_critic(real: Scores, fake: Scores) -> Loss:
    """Least squares with the labels 1 for real and 0 for fake, without the ½ of the paper."""
    return (real.float() - 1).square().mean() + fake.float().square().mean()


def lsgan_generator(fake: Scores) -> Loss:
    """Least squares to the label of real, without the ½ of the paper."""
    return (fake.float() - 1).square().mean()


def hinge_critic(real: Scores, fake: Scores) -> Loss:
    """Scores beyond the margin, r > 1 or f < -1, are good enough and give no gradient."""
    return relu(1 - real.float()).mean() + relu(1 + fake.float()).mean()


def wasserstein_critic(real: Scores, fake: Scores) -> Loss:
    """Minus the estimate of the distance between both distributions."""
    return fake.float().mean() - real.float().mean()


def linear_generator(fake: Scores) -> Loss:
    """Raise the scores of fakes, without a margin: the generator of `hinge` and of `wasserstein`."""
    return -fake.float().mean()


GAMES: dict[Gan, Game] = {
    "vanilla": Game(vanilla_critic, vanilla_generator),
    "lsgan": Game(lsgan_critic, lsgan_generator),
    "hinge": Game(hinge_critic, linear_generator),
    "wasserstein": Game(wasserstein_critic, linear_generator),
}


def r1_penalty(scores: Scores, images: Float[Tensor, "B C *N"]) -> Loss:
    """½ E‖∇ₓ D(x)‖² at real images x: keeps a critic flat around the data. Weigh it with the paper's γ.

    From Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018), equation 9,
    https://arxiv.org/abs/1801.04406. D(x) is the sum over the patches of an image. The penalty can be
    differentiated again, with respect to the critic.

    Args:
        scores: of ``images``, computed from them.
        images: must have had ``requires_grad`` set before they were scored.
    """
    (gradient,) = torch.autograd.grad(scores.float().sum(), images, create_graph=True)
    return gradient.float().square().flatten(1).sum(dim=1).mean() / 2
