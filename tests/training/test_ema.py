"""The average against its recursion, and the swap back bit for bit."""

import torch
from torch import nn

from transmodal.training.ema import Average


def test_follows_the_recursion() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    average = Average({"w": weight}, decay=0.5)
    expected = 1.0
    for step, value in enumerate([2.0, 4.0, 8.0]):
        with torch.no_grad():
            weight.fill_(value)
        average.update(step)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * value
    assert torch.allclose(average.values["w"], torch.tensor([expected]))


def test_in_place_gives_the_average_and_returns_the_weights() -> None:
    weight = nn.Parameter(torch.randn(100))
    before = weight.detach().clone()
    average = Average({"w": weight}, decay=0.9)
    average.values["w"].fill_(3.0)
    with average.in_place():
        assert weight.detach().eq(3.0).all()
    assert torch.equal(weight.detach(), before)
