"""Schedules are functions of the step; values by hand."""

import pytest
import torch
from torch import nn

from transmodal.errors import RecipeError
from transmodal.training.optim import OptimizerSettings, clip, optimizer, set_rate


@pytest.mark.parametrize(
    ("settings", "step", "factor"),
    [
        (OptimizerSettings(), 99, 1.0),
        (OptimizerSettings(schedule="linear", hold=0.5), 50, 1.0),
        (OptimizerSettings(schedule="linear", hold=0.5), 75, 0.5),
        (OptimizerSettings(schedule="linear", hold=0.0), 25, 0.75),
        (OptimizerSettings(schedule="cosine", hold=0.0), 50, 0.5),
        (OptimizerSettings(schedule="cosine", hold=0.5), 25, 1.0),
        (OptimizerSettings(schedule="step", step_every=40), 39, 1.0),
        (OptimizerSettings(schedule="step", step_every=40), 80, 0.01),
        (OptimizerSettings(warmup=10), 4, 0.5),
        (OptimizerSettings(warmup=10), 10, 1.0),
    ],
)
def test_factor(settings: OptimizerSettings, step: int, factor: float) -> None:
    assert settings.factor(step, 100) == pytest.approx(factor)


def test_set_rate_reaches_the_optimiser() -> None:
    settings = OptimizerSettings(lr=0.1, schedule="linear", hold=0.0)
    made = optimizer({"weight": nn.Parameter(torch.zeros(1))}, settings)
    assert set_rate(made, settings, 50, 100) == pytest.approx(0.05)
    assert made.param_groups[0]["lr"] == pytest.approx(0.05)


def test_some_parameters_learn_at_another_rate() -> None:
    """Plain gradients of 1: Adam's first step is the learning rate itself."""
    named = {f"net.{name}": nn.Parameter(torch.zeros(1)) for name in ("router.weight", "conv.weight")}
    settings = OptimizerSettings(lr=0.1, rates={"router": 0.4}, schedule="linear", hold=0.0)
    made = optimizer(named, settings)
    assert set_rate(made, settings, 50, 100) == pytest.approx(0.05)
    for parameter in named.values():
        parameter.grad = torch.ones(1)
    made.step()
    assert named["net.router.weight"].item() == pytest.approx(-0.02, rel=1e-5)
    assert named["net.conv.weight"].item() == pytest.approx(-0.05, rel=1e-5)
    with pytest.raises(RecipeError, match="no parameter of this player has 'rooter'"):
        optimizer(named, OptimizerSettings(rates={"rooter": 0.4}))
    with pytest.raises(RecipeError, match="give 0 or more"):
        OptimizerSettings(rates={"router": -1.0})


def test_clip_scales_to_the_norm_and_zero_leaves() -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    clip([weight], 0.0)
    assert weight.grad.tolist() == [3.0, 4.0]
    clip([weight], 1.0)
    assert weight.grad.tolist() == pytest.approx([0.6, 0.8], rel=1e-5)


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"hold": 1.0}, {"step_every": 0}, {"warmup": -1}])
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        OptimizerSettings(**wrong)  # type: ignore[arg-type]
