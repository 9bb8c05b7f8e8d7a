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
    made = optimizer([nn.Parameter(torch.zeros(1))], settings)
    assert set_rate(made, settings, 50, 100) == pytest.approx(0.05)
    assert made.param_groups[0]["lr"] == pytest.approx(0.05)


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
