"""An adversary gives both sides of its game their terms, with the fakes that its pool hands out."""

import pytest
import torch
from torch import nn

from transmodal.losses.adversarial import GAMES
from transmodal.losses.adversary import Adversary
from transmodal.nn.history import ImagePool
from transmodal.nn.patchgan import PatchGAN


def images(value: float) -> torch.Tensor:
    return torch.full((2, 3, 8, 8), value)


@pytest.fixture
def brightness() -> nn.Module:
    """A critic whose score is the mean of the channels."""
    scores = nn.Conv2d(3, 1, 1, bias=False).requires_grad_(False)
    nn.init.constant_(scores.weight, 1 / 3)
    return scores


def test_golden_values_of_least_squares(brightness):
    for scores in ("patch", "mean"):
        own = Adversary(brightness, "lsgan", 0.25, scores=scores)
        expected = (0.7 - 1) ** 2 + 0.2**2
        assert own.critics_term(images(0.7), images(0.2)).item() == pytest.approx(0.25 * expected, rel=1e-5)
        assert own.generators_term(images(0.2)).item() == pytest.approx((0.2 - 1) ** 2, rel=1e-5)


def test_the_mean_plays_before_the_square(brightness):
    uneven = images(0.2) + torch.linspace(-0.2, 0.2, 8)
    mean, patch = (Adversary(brightness, "lsgan", scores=scores) for scores in ("mean", "patch"))
    even = mean.critics_term(images(0.7), images(0.2)).item()
    assert mean.critics_term(images(0.7), uneven).item() == pytest.approx(even, rel=1e-5)
    variance = torch.linspace(-0.2, 0.2, 8).square().mean().item()
    assert patch.critics_term(images(0.7), uneven).item() == pytest.approx(even + variance / 2, rel=1e-5)


def test_no_gradient_of_the_critics_turn_reaches_the_generator():
    torch.manual_seed(0)
    own = Adversary(PatchGAN(3, layers=1, norm_kind="none"))
    fake = torch.rand(2, 3, 16, 16, requires_grad=True)
    own.critics_term(torch.rand(2, 3, 16, 16), fake).backward()
    assert fake.grad is None
    own.generators_term(fake).backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0


def test_a_conditional_critic_sees_what_is_given_first():
    torch.manual_seed(0)
    critic = PatchGAN(4, layers=1, norm_kind="none")
    x, y, fake = torch.rand(2, 1, 16, 16), torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    game, own = GAMES["vanilla"], Adversary(critic)
    assert torch.equal(own.critics_term(y, fake, x), 0.5 * game.critic(critic(x, y), critic(x, fake)))
    assert torch.equal(own.generators_term(fake, x), game.generator(critic(x, fake)))


def test_past_fakes_take_the_place_of_new_ones(brightness):
    torch.manual_seed(0)
    own = Adversary(brightness, "wasserstein", 1.0, ImagePool(2))
    own.critics_term(images(0.0), images(0.25))
    seen = {round(own.critics_term(images(0.0), images(0.75)).item(), 4) for _ in range(12)}
    assert seen >= {0.5, 0.75}
