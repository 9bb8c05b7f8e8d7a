"""Adversary: a critic, the game it plays, and the past fakes that it is shown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from transmodal.losses.adversarial import GAMES, Gan, Loss

Seen = Literal["patch", "mean"]
"""What plays: every patch, or the mean score of an image."""


@dataclass(frozen=True, eq=False)
class Adversary:
    """Both sides' terms of one game; holds no weights of its own: the critic and the pool belong to the method.

    Attributes:
        critic: images side by side → scores.
        gan: the game.
        weight: of the critic's objective; ½ in pix2pix and CycleGAN.
        pool: past fakes that take the place of new ones in the critic's turn; None for none.
        scores: what plays.
    """

    critic: nn.Module
    gan: Gan = "vanilla"
    weight: float = 0.5
    pool: Callable[[Tensor], Tensor] | None = None
    scores: Seen = "patch"

    def generators_term(self, fake: Float[Tensor, "B C *N"], *given: Float[Tensor, "B _ *N"]) -> Loss:
        """What a generator minimises; ``given`` is what a conditional critic sees before the image."""
        return GAMES[self.gan].generator(self.score(*given, fake))

    def critics_term(
        self, real: Float[Tensor, "B C *N"], fake: Float[Tensor, "B C *N"], *given: Float[Tensor, "B _ *N"]
    ) -> Loss:
        """What the critic minimises, weighted; no gradient reaches the generator of ``fake``."""
        past = fake.detach() if self.pool is None else self.pool(fake)
        return self.weight * GAMES[self.gan].critic(self.score(*given, real), self.score(*given, past))

    def score(self, *images: Float[Tensor, "B _ *N"]) -> Float[Tensor, "B 1 *M"]:
        """One score for every patch, or for every image."""
        scores: Tensor = self.critic(*images)
        return scores.float().flatten(2).mean(dim=2) if self.scores == "mean" else scores
