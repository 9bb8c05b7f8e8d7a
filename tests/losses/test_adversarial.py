import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transmodal.losses.adversarial import GAMES, r1_penalty

REAL = torch.tensor([2.0, -0.5]).view(2, 1, 1, 1)
FAKE = torch.tensor([-3.0, 0.5]).view(2, 1, 1, 1)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


GOLDEN = {
    "vanilla": (
        -(math.log(sigmoid(2)) + math.log(sigmoid(-0.5)) + math.log(1 - sigmoid(-3)) + math.log(1 - sigmoid(0.5)))
        / 2,
        -(math.log(sigmoid(-3)) + math.log(sigmoid(0.5))) / 2,
    ),
    "lsgan": ((1 + 2.25) / 2 + (9 + 0.25) / 2, (16 + 0.25) / 2),
    "hinge": ((0 + 1.5) / 2 + (0 + 1.5) / 2, 1.25),
    "wasserstein": (-1.25 - 0.75, 1.25),
}


@pytest.mark.parametrize("name", list(GAMES))
def test_golden_values(name):
    critic, generator = GOLDEN[name]
    assert GAMES[name].critic(REAL, FAKE).item() == pytest.approx(critic, rel=1e-6)
    assert GAMES[name].generator(FAKE).item() == pytest.approx(generator, rel=1e-6)


def test_vanilla_is_cross_entropy_with_logits():
    torch.manual_seed(0)
    real, fake = torch.randn(2, 1, 5, 5), torch.randn(2, 1, 5, 5)
    bce = F.binary_cross_entropy_with_logits
    expected = bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))
    torch.testing.assert_close(GAMES["vanilla"].critic(real, fake), expected)
    torch.testing.assert_close(GAMES["vanilla"].generator(fake), bce(fake, torch.ones_like(fake)))


@pytest.mark.parametrize("name", list(GAMES))
def test_a_better_score_is_a_smaller_loss(name):
    """The critic wants real up and fake down; the generator wants fake up."""
    real, fake = torch.zeros(1, 1, 2, 2, requires_grad=True), torch.zeros(1, 1, 2, 2, requires_grad=True)
    GAMES[name].critic(real, fake).backward()
    assert (real.grad < 0).all()
    if name == "lsgan":
        assert not fake.grad.any(), "0 is where it wants a fake"
    else:
        assert (fake.grad > 0).all()
    fake.grad = None
    GAMES[name].generator(fake).backward()
    assert (fake.grad < 0).all()


def test_hinge_has_no_margin_for_the_generator():
    far = torch.full((1, 1, 1, 1), 5.0, requires_grad=True)
    GAMES["hinge"].generator(far).backward()
    assert far.grad.item() == -1
    far.grad = None
    GAMES["hinge"].critic(far, -far).backward()
    assert far.grad.item() == 0


@pytest.mark.parametrize("name", list(GAMES))
def test_arithmetic_is_in_float32_and_survives_large_scores(name):
    low = torch.full((1, 1, 2, 2), -90.0, dtype=torch.bfloat16)
    values = GAMES[name].critic(low, -low), GAMES[name].generator(low)
    assert all(v.dtype == torch.float32 and v.isfinite() and v.ndim == 0 for v in values)
    precise = GAMES[name].generator(low.float())
    torch.testing.assert_close(values[1], precise, rtol=0, atol=0)


def test_r1_of_a_linear_critic_is_half_its_squared_weights():
    torch.manual_seed(0)
    critic = nn.Conv2d(2, 1, 4, bias=False)
    images = torch.randn(3, 2, 4, 4, requires_grad=True)
    penalty = r1_penalty(critic(images), images)
    torch.testing.assert_close(penalty, critic.weight.square().sum() / 2)
    (gradient,) = torch.autograd.grad(penalty, critic.weight)
    torch.testing.assert_close(gradient, critic.weight.detach())


@pytest.mark.parametrize("shape", [(3, 1, 4, 5), (2, 1, 3, 4, 5)])
def test_r1_of_a_quadratic_critic_is_half_the_squared_images(shape):
    torch.manual_seed(0)
    images = torch.randn(shape, requires_grad=True)
    penalty = r1_penalty(images.square() / 2, images)
    torch.testing.assert_close(penalty, images.square().sum() / shape[0] / 2)
